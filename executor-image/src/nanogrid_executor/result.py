"""From what happened to what is reported: pure functions, no input or output."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from nanogrid import wire
from nanogrid.reasons import CHILD_OOM_KILLED, Reason, sentence
from nanogrid_executor.capture import shorten_text
from nanogrid_executor.execution import Execution, Exited
from nanogrid_executor.tip import optimization_tip

MESSAGE_CAP_BYTES = 2048
REPORT_ROOM_BYTES = 4096  # for what the operator may add to the result
SIGKILL = "SIGKILL"


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of the output files."""

    files: list[wire.OutputFile] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    millis: int | None = None
    stream_urls: dict[str, str] = field(default_factory=dict)  # of stdout, stderr in full
    lost_streams: list[str] = field(default_factory=list)


class Verdict(NamedTuple):
    """How a job ended, in the words of the result."""

    status: str
    reason: Reason
    detail: str = ""


def judge(exited: Exited, stored: Stored, timeout_seconds: float) -> Verdict:
    """Status and reason of an execution that ended; the first cause that applies."""
    if exited.error is not None:
        return Verdict(wire.STATUS_FAILED, Reason.ENTRYPOINT_NOT_FOUND, exited.error)
    if exited.timed_out:
        detail = f"It was stopped after {timeout_seconds:g} s"
        return Verdict(wire.STATUS_TIMEOUT, Reason.EXECUTION_TIMEOUT, detail)
    if exited.oom_killed and exited.signal == SIGKILL:
        return Verdict(wire.STATUS_FAILED, Reason.OOM_KILLED)
    if exited.cancelled:
        return Verdict(wire.STATUS_FAILED, Reason.TERMINATED, "The code was running")
    if exited.signal is not None:
        return Verdict(wire.STATUS_FAILED, Reason.SIGNALED, exited.signal)
    if exited.exit_code != 0:
        detail = f"Exit code {exited.exit_code}"
        if exited.oom_killed:
            detail = f"{detail}. {CHILD_OOM_KILLED}"
        return Verdict(wire.STATUS_FAILED, Reason.NON_ZERO_EXIT, detail)
    if stored.failed:
        return Verdict(wire.STATUS_FAILED, Reason.OUTPUT_UPLOAD_FAILED, listed(stored.failed))
    return Verdict(wire.STATUS_SUCCESS, Reason.COMPLETED)


def build(
    task: wire.Task,
    execution: Execution,
    stored: Stored,
    inputs: wire.InputReport | None,
    *,
    stopped: bool = False,
) -> wire.Report:
    """The report of an execution.

    It is not final when the launcher went before it could tell, unless that is because the pod was
    told to stop (``stopped``).
    """
    exited = execution.exited
    if exited is None:
        lost = Reason.TERMINATED if stopped else Reason.SANDBOX_LOST
        verdict = Verdict(wire.STATUS_FAILED, lost, execution.lost)
    else:
        verdict = judge(exited, stored, task.execution_timeout_seconds)
    result = _blank(task, verdict, _message(verdict, stored))
    result = replace(
        result,
        stdout=execution.stdout.text(),
        stderr=execution.stderr.text(),
        stdout_bytes=execution.stdout.count,
        stderr_bytes=execution.stderr.count,
        stdout_truncated=execution.stdout.truncated,
        stderr_truncated=execution.stderr.truncated,
        output_files=[file.url for file in stored.files],
        outputs=stored.files,
        stdout_url=stored.stream_urls.get("stdout"),
        stderr_url=stored.stream_urls.get("stderr"),
        timings=_timings(execution, stored, inputs),
    )
    if exited is not None:
        result = _with_usage(task, result, exited)
    final = exited is not None or stopped
    report = wire.Report(attempt=task.attempt, result=result, inputs=inputs, final=final)
    return with_fewer_outputs(report)


def _timings(execution: Execution, stored: Stored, inputs: wire.InputReport | None) -> wire.Timings:
    return wire.Timings(
        sync_millis=inputs.duration_millis if inputs else None,
        start_millis=execution.started.start_millis if execution.started else None,
        execution_millis=execution.exited.duration_millis if execution.exited else None,
        upload_millis=stored.millis,
    )


def with_fewer_outputs(report: wire.Report) -> wire.Report:
    """The report with as many outputs as its readers take; the message says that there are more.

    Thousands of presigned URLs are megabytes. The files are stored all the same.
    """
    result, count = report.result, len(report.result.outputs)
    kept = count
    while len(wire.dumps(report).encode()) > wire.REPORT_CAP_BYTES - REPORT_ROOM_BYTES and kept:
        kept //= 2
        said = f"{result.message} Only {kept} of {count} stored outputs are listed.".strip()
        fewer = replace(
            result,
            message=shorten_text(said, MESSAGE_CAP_BYTES),
            outputs=result.outputs[:kept],
            output_files=result.output_files[:kept],
        )
        report = replace(report, result=fewer)
    return report


def not_run(task: wire.Task, reason: Reason, detail: str, *, final: bool = True) -> wire.Report:
    """The report of a job whose code never ran."""
    verdict = Verdict(wire.STATUS_FAILED, reason, detail)
    result = _blank(task, verdict, sentence(reason, detail))
    return wire.Report(attempt=task.attempt, result=result, final=final)


def to_termination(report: wire.Report) -> str:
    """The report in at most ``TERMINATION_CAP_BYTES``, the kubelet's limit.

    What people need most is given up last: first the list of outputs, then more and more of
    stdout and stderr, at last the tip and the message.
    """
    for candidate in _ever_shorter(report):
        text = wire.dumps(candidate)
        if len(text.encode()) <= wire.TERMINATION_CAP_BYTES:
            return text
    raise ValueError("the identity of the job alone is longer than a termination message")


def _ever_shorter(report: wire.Report) -> Iterator[wire.Report]:
    yield report
    result = replace(report.result, outputs=[])
    yield replace(report, result=result)
    for cap in (1500, 1000, 700, 400, 200, 130, 0):
        stdout, stderr = shorten_text(result.stdout, cap), shorten_text(result.stderr, cap)
        shorter = replace(
            result,
            stdout=stdout,
            stderr=stderr,
            stdout_truncated=result.stdout_truncated or stdout != result.stdout,
            stderr_truncated=result.stderr_truncated or stderr != result.stderr,
            output_files=[],
            message=shorten_text(result.message, 600),
        )
        yield replace(report, result=shorter)
    bare = replace(shorter, message="", optimization_tip="")
    yield replace(report, result=bare)


def _blank(task: wire.Task, verdict: Verdict, message: str) -> wire.Result:
    """A result without anything that an execution adds."""
    return wire.blank_result(
        request_id=task.request_id,
        function_id=task.function_id,
        status=verdict.status,
        reason=verdict.reason.value,
        job=wire.JobRef(namespace=task.namespace, name=task.job, uid=task.uid),
        attempt=task.attempt,
        message=shorten_text(message, MESSAGE_CAP_BYTES),
    )


def _with_usage(task: wire.Task, result: wire.Result, exited: Exited) -> wire.Result:
    peak = exited.peak_memory_bytes
    oom = result.reason == Reason.OOM_KILLED.value
    return replace(
        result,
        exit_code=exited.exit_code,
        signal=exited.signal,
        duration_millis=exited.duration_millis,
        cpu_millis=exited.cpu_millis,
        peak_memory_bytes=peak,
        peak_memory_mb=-(-peak // (1024 * 1024)),
        memory_source=exited.memory_source,
        optimization_tip=optimization_tip(task.memory_limit_bytes, peak, oom_killed=oom),
    )


def _message(verdict: Verdict, stored: Stored) -> str:
    parts = []
    if verdict.reason is not Reason.COMPLETED:
        parts.append(sentence(verdict.reason, verdict.detail))
    if stored.failed and verdict.reason is not Reason.OUTPUT_UPLOAD_FAILED:
        parts.append(f"Outputs not stored: {listed(stored.failed)}.")
    if stored.skipped:
        parts.append(f"Outputs left out: {listed(stored.skipped)}.")
    if stored.lost_streams:
        parts.append(f"Full text not stored: {listed(stored.lost_streams)}.")
    return " ".join(parts)


def listed(items: list[str], most: int = 5) -> str:
    """The first of many, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more
