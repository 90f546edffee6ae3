"""From a session's end to its final report: pure."""

from dataclasses import replace
from typing import Any

from nanogrid import wire
from nanogrid.reasons import Reason, sentence
from nanogrid_executor.capture import shorten_text
from nanogrid_executor.result import MESSAGE_CAP_BYTES, Stored, Verdict, listed, with_fewer_outputs
from nanogrid_executor.tip import optimization_tip


def judge(reason: Reason, stored: Stored) -> Verdict:
    """Status and reason of the session; outputs that are lost make it a failure, as for a batch."""
    if reason is Reason.TERMINATED:
        return Verdict(wire.STATUS_FAILED, reason, "The session was stopped from outside")
    if stored.failed:
        detail = f"{listed(stored.failed)}. The session had ended with {reason.value}"
        return Verdict(wire.STATUS_FAILED, Reason.OUTPUT_UPLOAD_FAILED, detail)
    return Verdict(wire.STATUS_SUCCESS, reason)


def build(
    task: wire.Task,
    reason: Reason,
    stored: Stored,
    inputs: wire.InputReport | None,
    *,
    last: dict[str, Any] | None,
    executions: int,
    unrecorded: int,
    seconds: float,
    cpu_millis: int | None,
    peak_memory_bytes: int | None,
    memory_source: str | None,
) -> wire.Report:
    """The final report.

    Args:
        task: the session's.
        reason: why it ended.
        stored: what became of its artifacts.
        inputs: what was copied before it began.
        last: the answer of its last execution, if there was one.
        executions: how many there were.
        unrecorded: how many records S3 does not have.
        seconds: how long it lived.
        cpu_millis: CPU time of all executions together.
        peak_memory_bytes: of the execution that needed most.
        memory_source: how that was measured.
    """
    verdict = judge(reason, stored)
    blank = wire.blank_result(
        request_id=task.request_id,
        function_id=task.function_id,
        status=verdict.status,
        reason=verdict.reason.value,
        job=wire.JobRef(namespace=task.namespace, name=task.job, uid=task.uid),
        attempt=task.attempt,
        message=shorten_text(_message(verdict, stored, executions, unrecorded), MESSAGE_CAP_BYTES),
    )
    success = verdict.status == wire.STATUS_SUCCESS
    peak = peak_memory_bytes
    result = replace(
        blank,
        exit_code=0 if success else None,
        stdout=last["stdout"] if last else "",
        stderr=last["stderr"] if last else "",
        stdout_bytes=len(last["stdout"].encode()) if last else 0,
        stderr_bytes=len(last["stderr"].encode()) if last else 0,
        stdout_truncated=bool(last and last["stdoutTruncated"]),
        stderr_truncated=bool(last and last["stderrTruncated"]),
        duration_millis=int(seconds * 1000),
        cpu_millis=cpu_millis,
        peak_memory_bytes=peak,
        peak_memory_mb=None if peak is None else -(-peak // (1024 * 1024)),
        memory_source=memory_source,
        executions=executions,
        optimization_tip=_tip(task, peak),
        output_files=[file.url for file in stored.files],
        outputs=stored.files,
        timings=wire.Timings(
            sync_millis=inputs.duration_millis if inputs else None,
            execution_millis=int(seconds * 1000),
            upload_millis=stored.millis,
        ),
    )
    report = wire.Report(attempt=task.attempt, result=result, inputs=inputs)
    return with_fewer_outputs(report)


def _tip(task: wire.Task, peak: int | None) -> str:
    return "" if peak is None else optimization_tip(task.memory_limit_bytes, peak, oom_killed=False)


def _message(verdict: Verdict, stored: Stored, executions: int, unrecorded: int) -> str:
    parts = [sentence(verdict.reason, verdict.detail), f"Executions: {executions}."]
    if stored.failed and verdict.reason is not Reason.OUTPUT_UPLOAD_FAILED:
        parts.append(f"Artifacts not stored: {listed(stored.failed)}.")
    if stored.skipped:
        parts.append(f"Artifacts left out: {listed(stored.skipped)}.")
    if unrecorded:
        parts.append(f"Records not stored: {unrecorded}.")
    return " ".join(parts)
