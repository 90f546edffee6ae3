"""Run two real jobs on the cluster and show what came out of them, as `make demo` does.

First `examples/hello.yaml`, then the sales job: code and CSV go to S3, a subscriber waits on Redis,
the job runs, and its total is compared with one computed here. Exit code 1 means that a job failed
or that something it gave is wrong, 2 that the demo could not run.
"""

import argparse
import csv
import io
import json
import os
import secrets
import signal
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import yaml
from botocore.exceptions import BotoCoreError, ClientError
from redis.exceptions import RedisError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # Python puts only scripts/ there

from examples.sales import generate  # noqa: E402
from nanogrid import names  # noqa: E402
from scripts.devaccess import (  # noqa: E402
    NAMESPACE,
    RELEASE,
    AccessError,
    DevAccess,
    dev_access,
    kubectl,
    zip_folder,
)
from scripts.jobrun import JobRun, run_job  # noqa: E402

CODE_KEY: Final = "functions/sales/v1.zip"
INPUT_PREFIX: Final = "demo/sales/input/"
TOTAL_LINE: Final = "총 매출: {:,}원"
SHOWN_LETTERS: Final = 66


class DemoFailed(Exception):
    """A job did not do what it should; the text has been shown with its reasons."""


@dataclass
class Output:
    """Where people read; with -o json that is stderr, because stdout is for programs."""

    stream: IO[str]

    def line(self, text: str = "") -> None:
        """Show a line at once."""
        print(text, file=self.stream, flush=True)

    def title(self, text: str) -> None:
        """Show where a part begins."""
        self.line(f"\n== {text}")

    def block(self, text: str) -> None:
        """Show text of several lines, indented."""
        self.line(textwrap.indent(text.rstrip("\n"), "   "))


class Demo:
    """The demo, one method for each part of it."""

    def __init__(self, access: DevAccess, options: argparse.Namespace, out: Output) -> None:
        self.access = access
        self.options = options
        self.namespace: str = options.job_namespace
        self.out = out
        self.id = secrets.token_hex(3)
        self.jobs: list[str] = []
        self.report: dict[str, Any] = {}

    def hello(self) -> None:
        """The shortest job there is."""
        self.out.title("1. An inline job of 8 lines: examples/hello.yaml")
        run = self.run(ROOT / "examples/hello.yaml")
        self.out.line(f"   stdout: {run.result['stdout'].rstrip()}")
        self.report["hello"] = {
            "name": run.name,
            "finishedSeconds": run.finished_seconds,
            "timings": run.result.get("timings"),
        }

    def sales(self) -> None:
        """The sales job, from the upload to the proof that its total is right."""
        data = generate.csv_bytes()
        self.upload(data)
        self.out.title("3. The sales job: examples/sales.yaml")
        request_id = f"demo-{self.id}"
        run = self.run(ROOT / "examples/sales.yaml", request_id)
        self.show(run)
        message = self.message(run)
        files = self.files(request_id)
        self.timings(run)
        self.report["sales"] = {
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
        """Code and input go to S3.

        Raises:
            AccessError: other files lie where the input goes.
        """
        s3, bucket = self.access.s3, self.access.bucket
        self.out.title(f"2. Code and input go to S3, bucket {bucket}")
        input_key = INPUT_PREFIX + generate.FILE_NAME
        code = zip_folder(ROOT / "examples/sales/function")
        for key, body, kind in (
            (CODE_KEY, code, "application/zip"),
            (input_key, data, "text/csv"),
        ):
            started = time.monotonic()
            s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=kind)
            took = (time.monotonic() - started) * 1000
            self.out.line(f"   {key:<38} {len(body):>8,} bytes  {took:>4.0f} ms")
        found = s3.list_objects_v2(Bucket=bucket, Prefix=INPUT_PREFIX).get("Contents", [])
        if others := [item["Key"] for item in found if item["Key"] != input_key]:
            raise AccessError(
                f"s3://{bucket}/{INPUT_PREFIX} holds other files, which would change the total; "
                f"remove them: {', '.join(others[:5])}"
            )

    def run(self, file: Path, request_id: str | None = None) -> JobRun:
        """Run an example under a name of its own.

        Raises:
            DemoFailed: it did not succeed.
        """
        manifest = yaml.safe_load(file.read_text(encoding="utf-8"))
        manifest["metadata"]["name"] += f"-{self.id}"
        if request_id:
            manifest["spec"]["requestId"] = request_id
        run = run_job(manifest, self.namespace, self.access, self.options.timeout, self.step)
        self.jobs.append(run.name)
        if not run.succeeded:
            self.explain(run)
            raise DemoFailed(
                f"job {run.name} did not succeed; the operator's log: "
                f"kubectl -n {self.options.namespace} logs deploy/{self.options.release}"
            )
        return run

    def step(self, at: float, text: str) -> None:
        """Show what happened when."""
        self.out.line(f"   {at:5.2f} s  {text}")

    def explain(self, run: JobRun) -> None:
        """Show why a job did not succeed, as far as Kubernetes knows."""
        self.out.title(f"Job {run.name} did not succeed; what is known of it")
        if run.finished_seconds is None:
            self.out.line(f"   It has not ended within {self.options.timeout:g} s.")
        status = run.status
        if status:
            summary = f"{status.get('phase')}, {status.get('reason')}: {status.get('message')}"
            self.out.line(f"   {summary.rstrip(': ')}")
        else:
            self.out.line("   The operator has written no status yet.")
        for c in status.get("conditions", []):
            said = "" if c["message"] == status.get("message") else c["message"]
            self.out.line(f"   {c['type']:<16} {c['status']:<8} {c['reason']:<20} {said}".rstrip())
        if stderr := run.result.get("stderr"):
            self.out.block(f"\nstderr of the code:\n{stderr}")
        if pod := run.pod or status.get("podName"):
            here = ("-n", run.namespace, "get")
            its = f"--field-selector=involvedObject.name={pod}"
            self.out.line()
            self.out.block(kubectl(*here, "pod", pod, "-o", "wide", "--ignore-not-found"))
            self.out.line()
            self.out.block(kubectl(*here, "events", its, "--sort-by=.lastTimestamp"))
        else:
            self.out.line("   There is no pod: does the operator run?")

    def show(self, run: JobRun) -> None:
        """The result as it stands on the job."""
        self.out.title("4. The result on the job")
        words = ["-n", run.namespace, "get", names.SHORT_NAME, *self.jobs]
        self.out.line(f"   $ kubectl {' '.join(words)}")
        self.out.block(kubectl(*words))
        self.out.line("\n   stdout of the sales job:")
        self.out.block(textwrap.indent(run.result["stdout"], "  "))

    def message(self, run: JobRun) -> dict[str, Any]:
        """The result as the subscriber received it.

        Raises:
            DemoFailed: it did not.
        """
        self.out.title("5. The message that the Redis subscriber received (long values cut)")
        if run.message is None:
            delivery = json.dumps(run.status.get("delivery"), ensure_ascii=False)
            raise DemoFailed(f"the subscriber got no message; status.delivery is {delivery}")
        message: dict[str, Any] = json.loads(run.message)
        for key, value in message.items():
            text = json.dumps(value, ensure_ascii=False)
            if len(text) > SHOWN_LETTERS:
                text = f"{text[:SHOWN_LETTERS]}…"
            self.out.line(f"   {key:<16} {text}")
        return message

    def files(self, request_id: str) -> list[dict[str, Any]]:
        """What the job left in S3."""
        self.out.title("6. The job's files in S3")
        s3, bucket = self.access.s3, self.access.bucket
        files: list[dict[str, Any]] = []
        for prefix in (names.outputs_prefix(request_id), names.result_object(request_id)):
            listing = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
            for item in listing.get("Contents", []):
                kind = s3.head_object(Bucket=bucket, Key=item["Key"])["ContentType"]
                self.out.line(f"   {item['Key']:<38} {item['Size']:>8,} bytes  {kind}")
                files.append({"key": item["Key"], "bytes": item["Size"], "contentType": kind})
        return files

    def timings(self, run: JobRun) -> None:
        """How long what took."""
        self.out.title("7. Timings")
        inputs = run.status.get("inputs") or {}
        amount = f"{inputs.get('files')} files, {inputs.get('bytes', 0):,} bytes"
        phases = {
            "syncMillis": f"sync of code and input ({amount}), before any code ran",
            "startMillis": "start of the code, once everything was in place",
            "executionMillis": "the code itself",
            "uploadMillis": "upload of the output files",
        }
        timings = run.result.get("timings", {})
        for key, text in phases.items():
            if timings.get(key) is not None:
                self.out.line(f"   {timings[key]:>6,} ms  {text}")
        for seconds, text in (
            (run.message_seconds, "from kubectl apply to the subscriber's message"),
            (run.finished_seconds, "from kubectl apply to the final status"),
        ):
            if seconds is not None:
                self.out.line(f"   {seconds * 1000:>6,.0f} ms  {text}")

    def compare(self, run: JobRun, request_id: str, data: bytes) -> None:
        """Whether the total is right, and every reader gets the same result.

        Raises:
            DemoFailed: it is not.
        """
        self.out.title("8. Is it right?")
        report = json.loads(self.fetch(f"{names.outputs_prefix(request_id)}report.json"))
        total, expected = report["total"], expected_total(data)
        self.out.line(f"   {total:>13,}원  total in the job's report.json")
        self.out.line(f"   {expected:>13,}원  total computed here: 수량 × 단가 of each row, summed")
        later = self.access.redis().get(names.result_key(request_id))
        stored = self.fetch(names.result_object(request_id)).decode()
        checks = {
            "the two totals are equal": total == expected,
            "stdout says this total": TOTAL_LINE.format(total) in run.result["stdout"],
            "who reads Redis later gets the message's bytes": later == run.message,
            "result.json in S3 has the message's bytes": stored == run.message,
        }
        for text, right in checks.items():
            self.out.line(f"   {'yes' if right else 'NO':<3}  {text}")
        self.report |= {"total": total, "expectedTotal": expected, "checks": checks}
        if wrong := [text for text, right in checks.items() if not right]:
            raise DemoFailed(f"this is not so: {'; '.join(wrong)}")

    def fetch(self, key: str) -> bytes:
        """An object of the bucket."""
        return self.access.s3.get_object(Bucket=self.access.bucket, Key=key)["Body"].read()

    def end(self) -> None:
        """What to do next; or remove the jobs."""
        here, jobs = f"kubectl -n {self.namespace}", " ".join(self.jobs)
        if not self.options.keep:
            kubectl("-n", self.namespace, "delete", names.SHORT_NAME, *self.jobs, "--wait=false")
            self.out.line(f"\nDeleted the jobs {jobs}; their files stay in S3.")
            return
        sales = self.report["sales"]
        python = os.path.relpath(sys.executable)
        self.out.title("Look further, and clean up")
        self.out.block(
            'eval "$(make -s cluster-env)"    # this cluster, and its kubectl\n'
            f"{here} get {names.SHORT_NAME} {sales['name']} -o yaml\n"
            f"{here} logs {sales['podName']} --all-containers\n"
            f"{python} scripts/devaccess.py get outputs/{sales['requestId']}/categories.csv\n"
            f"{here} delete {names.SHORT_NAME} {jobs}"
        )


def expected_total(data: bytes) -> int:
    """The total in won, from quantity and price: not from the column that the function adds up."""
    rows = csv.DictReader(io.StringIO(data.decode(generate.ENCODING), newline=""))
    return sum(int(row["수량"]) * int(row["단가"]) for row in rows)


def options_of(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Run two real jobs on the cluster and show what came out of them."
    )
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text",
                        help="json: one document on stdout, progress on stderr")  # fmt: skip
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True,
                        help="keep the two jobs at the end, to look at them")  # fmt: skip
    parser.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS",
                        help="how long one job may take (default: 120)")  # fmt: skip
    parser.add_argument("--job-namespace", default="default", metavar="NAME",
                        help="where the jobs run (default: default)")  # fmt: skip
    parser.add_argument("--namespace", default=NAMESPACE, metavar="NAME",
                        help=f"where the operator runs (default: {NAMESPACE})")  # fmt: skip
    parser.add_argument("--release", default=RELEASE, metavar="NAME",
                        help=f"its Helm release (default: {RELEASE})")  # fmt: skip
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, out: Output) -> dict[str, Any]:
    """The whole demo; the report for programs."""
    started = time.monotonic()
    with dev_access(options.release, options.namespace) as access:
        took = time.monotonic() - started
        out.line(
            f"Operator {options.release} in namespace {options.namespace}; its S3 and Redis are "
            f"reached by kubectl port-forward ({took:.1f} s)."
        )
        demo = Demo(access, options, out)
        demo.hello()
        demo.sales()
        demo.end()
    demo.report["seconds"] = round(time.monotonic() - started, 2)
    out.line(f"\nThe demo took {demo.report['seconds']:.1f} s.")
    return demo.report


def main() -> int:
    """Run, and turn everything that can go wrong into a line and an exit code."""
    options = options_of(sys.argv[1:])
    # So that the port-forwards end with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    out = Output(sys.stderr if options.output == "json" else sys.stdout)
    try:
        report = run(options, out)
    except DemoFailed as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except (AccessError, BotoCoreError, ClientError, RedisError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndemo: stopped; jobs that were applied go on", file=sys.stderr)
        return 130
    if options.output == "json":
        print(json.dumps(report, ensure_ascii=False, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
