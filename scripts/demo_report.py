"""The text output of the demo: steps, results, timings, and the state of a failed job."""

import json
import textwrap
from dataclasses import dataclass
from typing import IO, Any, Final

from nanogrid import names
from scripts.devaccess import DevAccess, kubectl
from scripts.jobrun import JobRun

MAX_VALUE_CHARS: Final = 66
PHASES: Final = {
    "startMillis": "start of the code",
    "executionMillis": "run of the code",
    "uploadMillis": "upload of the output files",
}


@dataclass
class Output:
    """Text for people; with -o json it goes to stderr, because stdout carries the JSON."""

    stream: IO[str]

    def line(self, text: str = "") -> None:
        """Print a line and flush."""
        print(text, file=self.stream, flush=True)

    def title(self, text: str) -> None:
        """Print the title of a section."""
        self.line(f"\n== {text}")

    def block(self, text: str) -> None:
        """Print indented lines."""
        self.line(textwrap.indent(text.rstrip("\n"), "   "))

    def step(self, seconds: float, text: str) -> None:
        """Print a step with its time."""
        self.line(f"   {seconds:5.2f} s  {text}")


def show_failure(out: Output, run: JobRun, timeout: float) -> None:
    """Show what Kubernetes knows about a job that did not succeed."""
    out.title(f"Job {run.name} did not succeed. Its state:")
    if run.finished_seconds is None:
        out.line(f"   It did not finish within {timeout:g} s.")
    status = run.status
    if status:
        summary = f"{status.get('phase')}, {status.get('reason')}: {status.get('message')}"
        out.line(f"   {summary.rstrip(': ')}")
    else:
        out.line("   The operator has not written a status yet.")
    for c in status.get("conditions", []):
        message = "" if c["message"] == status.get("message") else c["message"]
        out.line(f"   {c['type']:<16} {c['status']:<8} {c['reason']:<20} {message}".rstrip())
    if stderr := run.result.get("stderr"):
        out.block(f"\nstderr of the code:\n{stderr}")
    if pod := run.pod or status.get("podName"):
        get = ("-n", run.namespace, "get")
        selector = f"--field-selector=involvedObject.name={pod}"
        out.line()
        out.block(kubectl(*get, "pod", pod, "-o", "wide", "--ignore-not-found"))
        out.line()
        out.block(kubectl(*get, "events", selector, "--sort-by=.lastTimestamp"))
    else:
        out.line("   There is no pod. Check that the operator is running.")


def show_result(out: Output, run: JobRun, jobs: list[str]) -> None:
    """Show the jobs as kubectl does, and the stdout of the sales job."""
    args = ["-n", run.namespace, "get", names.SHORT_NAME, *jobs]
    out.line(f"   $ kubectl {' '.join(args)}")
    out.block(kubectl(*args))
    out.line("\n   stdout of the sales job:")
    out.block(textwrap.indent(run.result["stdout"], "  "))


def show_message(out: Output, message: dict[str, Any]) -> None:
    """Show each field of a message; long values are shortened."""
    for key, value in message.items():
        text = json.dumps(value, ensure_ascii=False)
        if len(text) > MAX_VALUE_CHARS:
            text = f"{text[:MAX_VALUE_CHARS]}…"
        out.line(f"   {key:<16} {text}")


def list_files(out: Output, access: DevAccess, root: str, request_id: str) -> list[dict[str, Any]]:
    """Show and return the files of a run in S3, below the root of its namespace."""
    s3, bucket = access.s3, access.bucket
    files: list[dict[str, Any]] = []
    for prefix in (names.outputs_prefix(request_id), names.result_object(request_id)):
        listing = s3.list_objects_v2(Bucket=bucket, Prefix=root + prefix)
        for item in listing.get("Contents", []):
            kind = s3.head_object(Bucket=bucket, Key=item["Key"])["ContentType"]
            out.line(f"   {item['Key']:<46} {item['Size']:>8,} bytes  {kind}")
            files.append({"key": item["Key"], "bytes": item["Size"], "contentType": kind})
    return files


def show_timings(out: Output, run: JobRun) -> None:
    """Show the time of each phase, and of the whole run."""
    inputs = run.status.get("inputs") or {}
    size = f"{inputs.get('files')} files, {inputs.get('bytes', 0):,} bytes"
    phases = {"syncMillis": f"sync of code and input ({size}), before the code starts"} | PHASES
    timings = run.result.get("timings", {})
    for key, text in phases.items():
        if timings.get(key) is not None:
            out.line(f"   {timings[key]:>6,} ms  {text}")
    for seconds, text in (
        (run.message_seconds, "from kubectl apply to the message at the subscriber"),
        (run.finished_seconds, "from kubectl apply to the final status"),
    ):
        if seconds is not None:
            out.line(f"   {seconds * 1000:>6,.0f} ms  {text}")
