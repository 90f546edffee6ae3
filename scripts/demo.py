"""Run two real jobs on the cluster and show their results, for `make demo`.

The first job is `examples/hello.yaml`. For the sales job, code and CSV are uploaded to S3 and a
subscriber waits on Redis; then the job runs, and its total is compared with one computed here.
Exit code 1: a job failed or a result is wrong. Exit code 2: the demo could not run.
"""

import argparse
import csv
import io
import json
import os
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

import yaml
from botocore.exceptions import BotoCoreError, ClientError
from redis.exceptions import RedisError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # by default Python adds only scripts/

from examples.sales import generate  # noqa: E402
from nanogrid import names  # noqa: E402
from nanogrid.client.jobs.packing import zip_directory  # noqa: E402
from nanogrid.tenancy import default_root  # noqa: E402
from scripts import demo_report as report  # noqa: E402
from scripts.devaccess import (  # noqa: E402
    NAMESPACE,
    RELEASE,
    AccessError,
    DevAccess,
    dev_access,
    kubectl,
)
from scripts.jobrun import JobRun, run_job  # noqa: E402

# Below the root of the namespace.
CODE_KEY: Final = "functions/sales/v1.zip"
INPUT_PREFIX: Final = "demo/sales/input/"
TOTAL_LINE: Final = "총 매출: {:,}원"


class DemoFailed(Exception):
    """A job failed or a result is wrong; the details are already shown."""


class Demo:
    """The demo, one method per section."""

    def __init__(self, access: DevAccess, options: argparse.Namespace, out: report.Output) -> None:
        self.access = access
        self.options = options
        self.namespace: str = options.job_namespace
        self.root = default_root(self.namespace)
        self.out = out
        self.id = secrets.token_hex(3)
        self.jobs: list[str] = []
        self.summary: dict[str, Any] = {}  # for -o json

    def hello(self) -> None:
        """Run the shortest job."""
        self.out.title("1. An inline job of 8 lines: examples/hello.yaml")
        run = self.run(ROOT / "examples/hello.yaml")
        self.out.line(f"   stdout: {run.result['stdout'].rstrip()}")
        self.summary["hello"] = {
            "name": run.name,
            "finishedSeconds": run.finished_seconds,
            "timings": run.result.get("timings"),
        }

    def sales(self) -> None:
        """Run the sales job, from the upload to the check of its total."""
        data = generate.csv_bytes()
        self.upload(data)
        self.out.title("3. The sales job: examples/sales.yaml")
        request_id = f"demo-{self.id}"
        run = self.run(ROOT / "examples/sales.yaml", request_id)
        self.out.title("4. The result in the job's status")
        report.show_result(self.out, run, self.jobs)
        message = self.message(run)
        self.out.title("6. The job's files in S3")
        files = report.list_files(self.out, self.access, self.root, request_id)
        self.out.title("7. Timings")
        report.show_timings(self.out, run)
        self.summary["sales"] = {
            "name": run.name,
            "namespace": run.namespace,
            "podName": run.pod,
            "requestId": request_id,
            "messageSeconds": run.message_seconds,
            "finishedSeconds": run.finished_seconds,
            "message": message,
            "inputs": run.status.get("inputs"),
            "delivery": run.status.get("delivery"),
            "files": files,
        }
        self.compare(run, request_id, data)

    def upload(self, data: bytes) -> None:
        """Upload code and input to S3.

        Raises:
            AccessError: the input prefix contains other files.
        """
        s3, bucket = self.access.s3, self.access.bucket
        self.out.title(f"2. Upload of code and input to S3, bucket {bucket}")
        input_prefix = self.root + INPUT_PREFIX
        input_key = input_prefix + generate.FILE_NAME
        code = zip_directory(ROOT / "examples/sales/function")
        for key, body, kind in (
            (self.root + CODE_KEY, code, "application/zip"),
            (input_key, data, "text/csv"),
        ):
            started = time.monotonic()
            s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=kind)
            millis = (time.monotonic() - started) * 1000
            self.out.line(f"   {key:<46} {len(body):>8,} bytes  {millis:>4.0f} ms")
        listing = s3.list_objects_v2(Bucket=bucket, Prefix=input_prefix).get("Contents", [])
        if others := [item["Key"] for item in listing if item["Key"] != input_key]:
            raise AccessError(
                f"s3://{bucket}/{input_prefix} contains other files, which would change the total; "
                f"remove them: {', '.join(others[:5])}"
            )

    def run(self, file: Path, request_id: str | None = None) -> JobRun:
        """Run an example under a unique name.

        Raises:
            DemoFailed: the job did not succeed.
        """
        manifest = yaml.safe_load(file.read_text(encoding="utf-8"))
        manifest["metadata"]["name"] += f"-{self.id}"
        if request_id:
            manifest["spec"]["requestId"] = request_id
        _move_keys(manifest["spec"], self.root)
        timeout = self.options.timeout
        run = run_job(manifest, self.namespace, self.access, timeout, self.out.step)
        self.jobs.append(run.name)
        if not run.succeeded:
            report.show_failure(self.out, run, timeout)
            raise DemoFailed(
                f"job {run.name} did not succeed; see the operator's log: "
                f"kubectl -n {self.options.namespace} logs deploy/{self.options.release}"
            )
        return run

    def message(self, run: JobRun) -> dict[str, Any]:
        """Show and return the result as the subscriber received it.

        Raises:
            DemoFailed: the subscriber received no message.
        """
        self.out.title("5. The message that the Redis subscriber received (long values shortened)")
        if run.message is None:
            delivery = json.dumps(run.status.get("delivery"), ensure_ascii=False)
            raise DemoFailed(f"the subscriber received no message; status.delivery is {delivery}")
        message: dict[str, Any] = json.loads(run.message)
        report.show_message(self.out, message)
        return message

    def compare(self, run: JobRun, request_id: str, data: bytes) -> None:
        """Check the total, and that all copies of the result are equal.

        Raises:
            DemoFailed: a check failed.
        """
        self.out.title("8. Checks")
        sales_report = json.loads(self.fetch(f"{names.outputs_prefix(request_id)}report.json"))
        total, expected = sales_report["total"], expected_total(data)
        self.out.line(f"   {total:>13,}원  total in the job's report.json")
        self.out.line(f"   {expected:>13,}원  total computed here: sum of 수량 × 단가 of all rows")
        in_redis = self.access.redis().get(self.access.area(self.namespace).result_key(request_id))
        in_s3 = self.fetch(names.result_object(request_id)).decode()
        checks = {
            "the two totals are equal": total == expected,
            "stdout contains this total": TOTAL_LINE.format(total) in run.result["stdout"],
            "the key in Redis has the bytes of the message": in_redis == run.message,
            "result.json in S3 has the bytes of the message": in_s3 == run.message,
        }
        for text, passed in checks.items():
            self.out.line(f"   {'yes' if passed else 'NO':<3}  {text}")
        self.summary |= {"total": total, "expectedTotal": expected, "checks": checks}
        if failed := [text for text, passed in checks.items() if not passed]:
            raise DemoFailed(f"these checks failed: {'; '.join(failed)}")

    def fetch(self, key: str) -> bytes:
        """Get an object below the root of the namespace."""
        found = self.access.s3.get_object(Bucket=self.access.bucket, Key=self.root + key)
        return found["Body"].read()

    def end(self) -> None:
        """Show the next commands, or delete the jobs."""
        prefix, jobs = f"kubectl -n {self.namespace}", " ".join(self.jobs)
        if not self.options.keep:
            kubectl("-n", self.namespace, "delete", names.SHORT_NAME, *self.jobs, "--wait=false")
            self.out.line(f"\nDeleted the jobs {jobs}. Their files remain in S3.")
            return
        sales = self.summary["sales"]
        dev = f"{os.path.relpath(sys.executable)} scripts/devaccess.py"
        self.out.title("Next: inspect the jobs, then delete them")
        self.out.block(
            'eval "$(make -s cluster-env)"    # use this cluster and its kubectl\n'
            f"{prefix} get {names.SHORT_NAME} {sales['name']} -o yaml\n"
            f"{prefix} logs {sales['podName']} --all-containers\n"
            f"{dev} get {self.root}outputs/{sales['requestId']}/categories.csv\n"
            f"{prefix} delete {names.SHORT_NAME} {jobs}"
        )


def _move_keys(spec: dict[str, Any], root: str) -> None:
    """Give the keys of an example the root of another namespace than default."""
    sources = [spec["code"].get("s3", {}), *(item["s3"] for item in spec.get("inputs", []))]
    for source in sources:
        for field in source.keys() & {"key", "prefix"}:
            source[field] = root + source[field].removeprefix(default_root("default"))


def expected_total(data: bytes) -> int:
    """The total in won, from quantity and price; the function itself sums another column."""
    rows = csv.DictReader(io.StringIO(data.decode(generate.ENCODING), newline=""))
    return sum(int(row["수량"]) * int(row["단가"]) for row in rows)


def options_of(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Run two real jobs on the cluster and show their results."
    )
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text",
                        help="json: one document on stdout, progress on stderr")  # fmt: skip
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True,
                        help="keep the two jobs at the end (default: keep)")  # fmt: skip
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS",
                        help="timeout of each job (default: 120)")  # fmt: skip
    parser.add_argument("--job-namespace", default="default", metavar="NAME",
                        help="namespace of the jobs (default: default)")  # fmt: skip
    parser.add_argument("--namespace", default=NAMESPACE, metavar="NAME",
                        help=f"namespace of the operator (default: {NAMESPACE})")  # fmt: skip
    parser.add_argument("--release", default=RELEASE, metavar="NAME",
                        help=f"Helm release of the operator (default: {RELEASE})")  # fmt: skip
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, out: report.Output) -> dict[str, Any]:
    """Run the whole demo; returns the summary for -o json."""
    started = time.monotonic()
    with dev_access(options.release, options.namespace) as access:
        seconds = time.monotonic() - started
        out.line(
            f"Operator {options.release} in namespace {options.namespace}. "
            f"kubectl port-forward to its S3 and Redis is ready ({seconds:.1f} s)."
        )
        demo = Demo(access, options, out)
        demo.hello()
        demo.sales()
        demo.end()
    demo.summary["seconds"] = round(time.monotonic() - started, 2)
    out.line(f"\nThe demo took {demo.summary['seconds']:.1f} s.")
    return demo.summary


def main() -> int:
    """Run the demo; an error becomes one line and an exit code."""
    options = options_of(sys.argv[1:])
    # On SIGTERM the port-forwards end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    out = report.Output(sys.stderr if options.output == "json" else sys.stdout)
    try:
        summary = run(options, out)
    except DemoFailed as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except (AccessError, BotoCoreError, ClientError, RedisError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndemo: stopped; created jobs continue", file=sys.stderr)
        return 130
    if options.output == "json":
        print(json.dumps(summary, ensure_ascii=False, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
