"""The final report of a session. Pure."""

from dataclasses import dataclass, replace
from typing import Any

from nanogrid import wire
from nanogrid.reasons import Reason, sentence
from nanogrid.rightsizing import optimization_tip
from nanogrid_executor.agent.result import (
    MESSAGE_CAP_BYTES,
    Verdict,
    listed,
    not_run,
    with_fewer_outputs,
)
from nanogrid_executor.capture import shorten_text
from nanogrid_executor.outputs.stored import Stored


def judge(reason: Reason, stored: Stored) -> Verdict:
    """Status and reason of the session; lost outputs make it a failure, as in a batch job."""
    if reason is Reason.TERMINATED:
        return Verdict(wire.STATUS_FAILED, reason, "The session was stopped from outside")
    if reason is Reason.NETWORK_NOT_ENFORCED:
        return Verdict(wire.STATUS_FAILED, reason, "The log of the agent has the details")
    if stored.failed:
        detail = f"{listed(stored.failed)}. The session had ended with {reason.value}"
        return Verdict(wire.STATUS_FAILED, Reason.OUTPUT_UPLOAD_FAILED, detail)
    return Verdict(wire.STATUS_SUCCESS, reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTotals:
    """The executions of a session, in total.

    ``last`` is the answer of the last execution. ``unrecorded`` is the number of records that S3
    does not have. ``peak_memory_bytes`` is that of the execution that needed most, CPU time is the
    sum of all.
    """

    last: dict[str, Any] | None
    executions: int
    unrecorded: int
    seconds: float
    cpu_millis: int | None
    peak_memory_bytes: int | None

    @property
    def peak_memory_mb(self) -> int | None:
        """The peak in MiB, rounded up."""
        peak = self.peak_memory_bytes
        return None if peak is None else -(-peak // (1024 * 1024))


def build(
    task: wire.PodTask,
    reason: Reason,
    stored: Stored,
    inputs: wire.InputReport | None,
    totals: SessionTotals,
) -> wire.Report:
    """The final report.

    Args:
        task: the session's.
        reason: why it ended.
        stored: which artifacts were stored.
        inputs: what was copied before it started.
        totals: its executions.
    """
    verdict = judge(reason, stored)
    result = replace(
        _blank(task, verdict, _message(verdict, stored, totals)),
        exit_code=0 if verdict.status == wire.STATUS_SUCCESS else None,
        duration_millis=int(totals.seconds * 1000),
        cpu_millis=totals.cpu_millis,
        peak_memory_bytes=totals.peak_memory_bytes,
        peak_memory_mb=totals.peak_memory_mb,
        executions=totals.executions,
        optimization_tip=_tip(task, totals.peak_memory_bytes),
        output_files=[file.url for file in stored.files],
        outputs=stored.files,
        output_bytes=stored.total_bytes,
        outputs_note=stored.note,
        timings=wire.Timings(
            sync_millis=inputs.duration_millis if inputs else None,
            execution_millis=int(totals.seconds * 1000),
            upload_millis=stored.millis,
        ),
    )
    if totals.last is not None:
        result = _with_last_execution(result, totals.last)
    report = wire.Report(attempt=task.attempt, result=result, inputs=inputs)
    return with_fewer_outputs(report)


def _blank(task: wire.PodTask, verdict: Verdict, message: str) -> wire.Result:
    unrun = not_run(task, verdict.reason, verdict.detail).result
    message = shorten_text(message, MESSAGE_CAP_BYTES)
    return replace(unrun, status=verdict.status, message=message)


def _with_last_execution(result: wire.Result, last: dict[str, Any]) -> wire.Result:
    """The session's output is that of its last execution."""
    return replace(
        result,
        stdout=last["stdout"],
        stderr=last["stderr"],
        stdout_bytes=len(last["stdout"].encode()),
        stderr_bytes=len(last["stderr"].encode()),
        stdout_truncated=last["stdoutTruncated"],
        stderr_truncated=last["stderrTruncated"],
        stdout_encoding=last["stdoutEncoding"] or wire.ENCODING_TEXT,
        stderr_encoding=last["stderrEncoding"] or wire.ENCODING_TEXT,
        memory_source=last["memorySource"],
    )


def _tip(task: wire.PodTask, peak: int | None) -> str:
    return "" if peak is None else optimization_tip(task.memory_limit_bytes, peak, oom_killed=False)


def _message(verdict: Verdict, stored: Stored, totals: SessionTotals) -> str:
    failed = [] if verdict.reason is Reason.OUTPUT_UPLOAD_FAILED else stored.failed
    problems = {
        "Artifacts not stored": listed(failed),
        "Artifacts left out": listed(stored.skipped),
        "Records not stored": str(totals.unrecorded or ""),
    }
    parts = [sentence(verdict.reason, verdict.detail), f"Executions: {totals.executions}."]
    parts += [f"{name}: {text}." for name, text in problems.items() if text]
    return " ".join([*parts, stored.note] if stored.note else parts)
