"""From the observed execution to its report: pure functions."""

from collections.abc import Iterator
from typing import NamedTuple

from nanogrid import result_auth, wire
from nanogrid.reasons import CHILD_OOM_KILLED, Reason, sentence
from nanogrid.record import replace
from nanogrid.result_bounds import MESSAGE_BYTES
from nanogrid.rightsizing import optimization_tip
from nanogrid_executor.agent.execution import Execution, Exited
from nanogrid_executor.agent.output_hint import output_hint
from nanogrid_executor.agent.start_reasons import reason_of
from nanogrid_executor.capture import shorten_text
from nanogrid_executor.outputs.stored import Stored

MESSAGE_CAP_BYTES = MESSAGE_BYTES
REPORT_ROOM_BYTES = 4096  # the operator may add to the result
SYNC_MESSAGE_CAP = 1024  # characters, as in the operator's outcome of an init container
SIGKILL = "SIGKILL"
NOT_STARTED = "It had not started"
ONLY_SANDBOX_STOPPED = "SIGTERM, which only the sandbox got"


class Verdict(NamedTuple):
    """How a job ended: status, reason and detail of its result."""

    status: str
    reason: Reason
    detail: str = ""


def judge(exited: Exited, stored: Stored, timeout_seconds: float, *, stopped: bool) -> Verdict:
    """Status and reason of an execution that ended; the first cause that applies wins.

    ``stopped``: the agent got a SIGTERM. Only then the launcher's own SIGTERM is the kubelet's.
    """
    if exited.error is not None:
        return Verdict(wire.STATUS_FAILED, reason_of(exited.error_cause), exited.error)
    if exited.timed_out:
        detail = f"It was stopped after {timeout_seconds:g} s"
        return Verdict(wire.STATUS_TIMEOUT, Reason.EXECUTION_TIMEOUT, detail)
    if exited.oom_killed and exited.signal == SIGKILL:
        return Verdict(wire.STATUS_FAILED, Reason.OOM_KILLED)
    if exited.cancelled and stopped:
        return Verdict(wire.STATUS_FAILED, Reason.TERMINATED, "The code was running")
    if exited.cancelled:
        return Verdict(wire.STATUS_FAILED, Reason.SIGNALED, ONLY_SANDBOX_STOPPED)
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
    task: wire.PodTask,
    execution: Execution,
    stored: Stored,
    inputs: wire.InputReport | None,
    *,
    stopped: bool = False,
) -> wire.Report:
    """The report of an execution.

    It is not final when the connection to the launcher was lost, unless the pod is being stopped
    (``stopped``): the agent got a SIGTERM.
    """
    exited = execution.exited
    if exited is None:
        lost = Reason.TERMINATED if stopped else Reason.SANDBOX_LOST
        verdict = Verdict(wire.STATUS_FAILED, lost, execution.lost)
    else:
        verdict = judge(exited, stored, task.execution_timeout_seconds, stopped=stopped)
        verdict = _explained(verdict, execution, task.outputs.path)
    result = _blank(task, verdict, _message(verdict, stored))
    result = replace(
        result,
        stdout=execution.stdout.text(),
        stderr=execution.stderr.text(),
        stdout_bytes=execution.stdout.count,
        stderr_bytes=execution.stderr.count,
        stdout_truncated=execution.stdout.truncated,
        stderr_truncated=execution.stderr.truncated,
        stdout_encoding=execution.stdout.encoding,
        stderr_encoding=execution.stderr.encoding,
        output_files=[file.url for file in stored.files],
        outputs=stored.files,
        output_bytes=stored.total_bytes,
        outputs_note=stored.note,
        stdout_url=stored.stream_urls.get("stdout"),
        stderr_url=stored.stream_urls.get("stderr"),
        timings=_timings(execution, stored, inputs),
    )
    if exited is not None:
        result = _with_usage(task, result, exited)
    final = exited is not None or stopped
    report = wire.Report(attempt=task.attempt, result=result, inputs=inputs, final=final)
    return with_fewer_outputs(report)


def _explained(verdict: Verdict, execution: Execution, output_path: str) -> Verdict:
    """The verdict with a hint, if stderr shows a cause that the code's author cannot know."""
    if verdict.reason is not Reason.NON_ZERO_EXIT:
        return verdict
    hint = output_hint(execution.stderr.text(), output_path)
    return verdict._replace(detail=f"{verdict.detail}. {hint}") if hint else verdict


def _timings(execution: Execution, stored: Stored, inputs: wire.InputReport | None) -> wire.Timings:
    return wire.Timings(
        sync_millis=inputs.duration_millis if inputs else None,
        start_millis=execution.started.start_millis if execution.started else None,
        execution_millis=execution.exited.duration_millis if execution.exited else None,
        upload_millis=stored.millis,
    )


def with_fewer_outputs(report: wire.Report) -> wire.Report:
    """The report with as many outputs as its readers accept; the message says how many are listed.

    Thousands of presigned URLs are megabytes. All files are stored in any case.
    """
    result, count = report.result, len(report.result.outputs)
    kept = count
    while len(wire.dumps(report).encode()) > wire.REPORT_CAP_BYTES - REPORT_ROOM_BYTES and kept:
        kept //= 2
        message = f"{result.message} Only {kept} of {count} stored outputs are listed.".strip()
        fewer = replace(
            result,
            message=shorten_text(message, MESSAGE_CAP_BYTES),
            outputs=result.outputs[:kept],
            output_files=result.output_files[:kept],
        )
        report = replace(report, result=fewer)
    return report


def not_run(task: wire.PodTask, reason: Reason, detail: str, *, final: bool = True) -> wire.Report:
    """The report of a job whose code never ran."""
    verdict = Verdict(wire.STATUS_FAILED, reason, detail)
    result = _blank(task, verdict, sentence(reason, detail))
    return wire.Report(attempt=task.attempt, result=result, final=final)


def sync_failed(task: wire.PodTask, failure: wire.SyncFailure) -> wire.Report:
    """The report of a failed input sync.

    Its result is the one that the operator makes of the same failure of an init container.
    """
    reason = Reason(failure.reason)
    report = not_run(task, reason, failure.message)
    message = sentence(reason, failure.message)[:SYNC_MESSAGE_CAP]
    return replace(report, result=replace(report.result, message=message))


def to_termination(report: wire.Report, key: str) -> str:
    """The report in at most ``TERMINATION_CAP_BYTES``, the kubelet's limit, signed with ``key``.

    The report loses first the list of outputs and the notes of the sync, then more and more of
    stdout and stderr, and last the tip and the message, which people need most.
    """
    for candidate in _shorter_and_shorter(report):
        text = wire.dumps(result_auth.sign_report(candidate, key))
        if len(text.encode()) <= wire.TERMINATION_CAP_BYTES:
            return text
    raise ValueError("the identity of the job alone exceeds a termination message")


def _shorter_and_shorter(report: wire.Report) -> Iterator[wire.Report]:
    yield report
    if report.inputs is not None:
        report = replace(report, inputs=replace(report.inputs, notes=[]))
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
    bare = replace(shorter, message="", outputs_note="", optimization_tip="")
    yield replace(report, result=bare)


def _blank(task: wire.PodTask, verdict: Verdict, message: str) -> wire.Result:
    """A result before the fields of an execution are added."""
    return wire.blank_result(
        request_id=task.request_id,
        function_id=task.function_id,
        status=verdict.status,
        reason=verdict.reason.value,
        job=wire.JobRef(namespace=task.namespace, name=task.job, uid=task.uid),
        attempt=task.attempt,
        message=shorten_text(message, MESSAGE_CAP_BYTES),
    )


def _with_usage(task: wire.PodTask, result: wire.Result, exited: Exited) -> wire.Result:
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
    if stored.note:
        parts.append(stored.note)
    if stored.lost_streams:
        parts.append(f"Full text not stored: {listed(stored.lost_streams)}.")
    return " ".join(parts)


def listed(items: list[str], most: int = 5) -> str:
    """The first items, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more
