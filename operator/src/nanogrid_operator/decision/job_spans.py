"""From the end of an attempt, of a job or of a delivery to the spans of the job's trace. Pure.

Kubernetes gives times in whole seconds. A report gives durations in milliseconds, and its arrival
is exact, so the stages of an attempt are found backwards from it. Attributes have names, numbers
and reasons, and nothing that a user wrote into the spec or printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nanogrid import names, wire
from nanogrid.job_function import function_of
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason
from nanogrid.traces.context import TraceContext
from nanogrid.traces.spans import Kind, Span, SpanEvent, Value
from nanogrid.types import Json
from nanogrid_operator.decision.outcome import Outcome
from nanogrid_operator.decision.snapshot import Snapshot
from nanogrid_operator.kube.objects import seconds
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import Pod
from nanogrid_operator.model.trace import JobTrace, Stage

NAME: Final = "nanogrid.job"
DELETED: Final = "Deleted"  # the error of a job that was deleted before its end
_UPLOAD_REASONS: Final = frozenset({Reason.OUTPUT_UPLOAD_FAILED})

Attributes = dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """An attempt that has ended.

    ``ended`` and ``reported`` are in seconds since the epoch; ``reported`` is None without a
    report. ``ran``: its status has shown that the code runs. ``sync_failed``: the inputs are not
    complete.
    """

    number: int
    pod: Pod | None
    reason: str
    succeeded: bool
    ended: float
    reported: float | None = None
    ran: bool = False
    sync_failed: bool = False
    timings: wire.Timings
    exit_code: int | None = None
    peak_memory_bytes: int | None = None
    inputs: wire.InputReport | None = None
    outputs: int = 0

    @classmethod
    def of(
        cls, snapshot: Snapshot, outcome: Outcome, sync_failed: bool, now: float
    ) -> "AttemptEnd":
        """The current attempt, which ends now with this outcome."""
        result = outcome.result
        return cls(
            number=snapshot.job.attempt,
            pod=snapshot.known_pod,
            reason=outcome.reason.value,
            succeeded=outcome.succeeded,
            ended=now,
            reported=snapshot.reported_at,
            ran=snapshot.job.status.get("phase") == Phase.RUNNING.value,
            sync_failed=sync_failed,
            timings=result.timings,
            exit_code=result.exit_code,
            peak_memory_bytes=result.peak_memory_bytes,
            inputs=outcome.inputs,
            outputs=len(result.outputs),
        )


def attempt_spans(job: Job, trace: JobTrace, end: AttemptEnd) -> list[Span]:
    """The spans of an attempt: the time in the queue, the attempt, and its stages."""
    waited_from = job.attempts[-1].ended if job.attempts else None
    since = waited_from if waited_from is not None else job.created
    started = end.pod.created if end.pod is not None else end.ended
    queue = Span(
        name=_name(Stage.QUEUE),
        context=trace.stage(end.number, Stage.QUEUE),
        parent=trace.root,
        start=min(since, end.ended),
        end=_between(since, started, end.ended),
        attributes={"nanogrid.attempt": end.number},
        error="" if end.pod is not None or end.succeeded else end.reason,
    )
    if end.pod is None:
        return [queue]
    parent = trace.stage(end.number, Stage.ATTEMPT)
    whole = Span(
        name=_name(Stage.ATTEMPT),
        context=parent,
        parent=trace.root,
        start=min(started, end.ended),
        end=end.ended,
        attributes=_attempt_attributes(job, end, end.pod),
        error="" if end.succeeded else end.reason,
    )
    return [queue, whole, *_stages(trace, parent, end, end.pod)]


def _stages(trace: JobTrace, parent: TraceContext, end: AttemptEnd, pod: Pod) -> list[Span]:
    failed = None if end.succeeded else _failed_stage(end)
    spans = []
    for stage, start, until in _times(end, pod):
        error = end.reason if stage is failed else ""
        spans.append(
            Span(
                name=_name(stage),
                context=trace.stage(end.number, stage),
                parent=parent,
                start=start,
                end=until,
                attributes=_stage_attributes(stage, end) | _error(error),
                error=error,
            )
        )
    return spans


def _failed_stage(end: AttemptEnd) -> Stage:
    """The stage in which an attempt failed that had a pod."""
    if end.sync_failed:
        return Stage.SYNC
    if end.reason in _UPLOAD_REASONS:
        return Stage.UPLOAD
    if end.timings.execution_millis is not None or end.ran:
        return Stage.EXECUTION
    return Stage.START


def _times(end: AttemptEnd, pod: Pod) -> list[tuple[Stage, float, float]]:
    """The stages of an attempt in their order, with begin and end; those that did not happen lack.

    All times are between the pod's creation and the attempt's end, in any case.
    """
    timings = end.timings
    synced = pod.container(names.CONTAINER_SYNC).ended
    sync_at = synced.at if synced is not None else None
    if end.sync_failed:
        until = sync_at or end.ended
        began = pod.scheduled_at or pod.created
        return _ordered(pod.created, end.ended, [(Stage.START, began), (Stage.SYNC, until)])
    ran = timings.execution_millis is not None or end.ran
    until = end.reported or end.ended
    code_ended = until - _of(timings.upload_millis)
    # Without a report only the end of the attempt is known.
    code_began = code_ended - _of(timings.execution_millis) if timings.execution_millis else None
    launched = (code_began or code_ended) - _of(timings.start_millis)
    found: list[tuple[Stage, float]] = []
    if timings.sync_millis is not None:
        # The kubelet cuts the fraction of the second.
        ready = launched if sync_at is None else min(sync_at + 1.0, launched)
        found += [(Stage.START, ready - _of(timings.sync_millis)), (Stage.SYNC, ready)]
        found += [(Stage.LAUNCH, code_began or launched)] if ran else []
    elif not ran:
        found.append((Stage.START, until))
    elif code_began is not None:
        found.append((Stage.START, code_began))
    else:
        found.append((Stage.START, sync_at or pod.scheduled_at or pod.created))
    if ran:
        found.append((Stage.EXECUTION, code_ended))
    if timings.upload_millis is not None:
        found.append((Stage.UPLOAD, until))
    return _ordered(pod.created, end.ended, found)


def _ordered(
    begin: float, end: float, ends: list[tuple[Stage, float]]
) -> list[tuple[Stage, float, float]]:
    """Stages with begin and end, from their ends: each begins where the one before it ends."""
    found = []
    at = min(begin, end)
    for stage, until in ends:
        until = _between(at, until, end)
        found.append((stage, at, until))
        at = until
    return found


def job_span(
    body: Json, job: Job, trace: JobTrace, reason: str, succeeded: bool, now: float
) -> Span:
    """The span of a whole job that ends now.

    Args:
        body: The job with its terminal status, or as it was when it was deleted.
        job: Its facts before the end.
        trace: Its trace.
        reason: Why it ended.
        succeeded: Whether it is Complete.
        now: Seconds since the epoch.
    """
    status = body.get("status") or {}
    function = function_of(body)
    attributes: Attributes = {
        "k8s.namespace.name": job.namespace,
        "nanogrid.job.name": job.name,
        "nanogrid.job.uid": job.uid,
        "nanogrid.job.mode": (body.get("spec") or {}).get("mode") or names.MODE_BATCH,
        "nanogrid.job.reason": reason,
        "nanogrid.job.attempts": len(status.get("attempts") or ()),
        "faas.invocation_id": status.get("requestId") or job.uid,
    }
    if function:
        attributes["faas.name"] = function
        version = (status.get("function") or {}).get("version")
        attributes |= {"faas.version": str(version)} if version is not None else {}
    return Span(
        name=NAME,
        context=trace.root,
        parent=trace.parent,
        start=min(job.created, now),
        end=now,
        kind=Kind.CONSUMER,
        attributes=attributes | ({} if succeeded else _error(reason)),
        events=tuple(
            _retry(one, now) for one in status.get("attempts") or () if _retried(one, job)
        ),
        error="" if succeeded else reason,
    )


def _retried(attempt: Json, job: Job) -> bool:
    """Whether another attempt followed this one."""
    return int(attempt["number"]) < job.attempt


def _retry(attempt: Json, now: float) -> SpanEvent:
    return SpanEvent(
        name="nanogrid.retry",
        at=seconds(attempt.get("completionTime")) or now,
        attributes={
            "nanogrid.attempt": attempt["number"],
            "nanogrid.reason": attempt["reason"],
            "nanogrid.attempt.counted": bool(attempt.get("counted")),
        },
    )


def delivery_span(
    trace: JobTrace, target: str, start: float, end: float, *, error: str = "", tries: int = 1
) -> Span:
    """The span of a delivery of the result, also one after the job's end.

    Args:
        trace: The job's trace.
        target: redis, s3 or webhook.
        start: When the result was known, in seconds since the epoch.
        end: When the target had it, or had refused it for good.
        error: Why it was refused; empty if it was not.
        tries: Requests that it took, as far as they are counted.
    """
    attributes: Attributes = {
        "nanogrid.delivery.target": target,
        "nanogrid.delivery.tries": tries,
    }
    return Span(
        name=f"{NAME}.delivery",
        context=trace.delivery(target),
        parent=trace.root,
        start=min(start, end),
        end=end,
        kind=Kind.PRODUCER if target == "redis" else Kind.CLIENT,
        attributes=attributes | _error(error),
        error=error,
    )


def _attempt_attributes(job: Job, end: AttemptEnd, pod: Pod) -> Attributes:
    found: Attributes = {
        "k8s.namespace.name": job.namespace,
        "k8s.pod.name": pod.name,
        "k8s.pod.uid": pod.uid,
        "nanogrid.attempt": end.number,
        "nanogrid.reason": end.reason,
    }
    return found | ({} if end.succeeded else _error(end.reason))


def _stage_attributes(stage: Stage, end: AttemptEnd) -> Attributes:
    found: Mapping[str, Value | None] = {}
    if stage is Stage.SYNC and end.inputs is not None:
        found = {
            "nanogrid.input.files": end.inputs.files,
            "nanogrid.input.bytes": end.inputs.bytes,
            "nanogrid.input.retries": end.inputs.retries,
        }
    elif stage is Stage.EXECUTION:
        found = {
            "process.exit.code": end.exit_code,
            "nanogrid.memory.peak_bytes": end.peak_memory_bytes,
        }
    elif stage is Stage.UPLOAD:
        found = {"nanogrid.output.files": end.outputs}
    return {key: value for key, value in found.items() if value is not None}


def _error(reason: str) -> Attributes:
    return {"error.type": reason} if reason else {}


def _name(stage: Stage) -> str:
    return f"{NAME}.{stage.value}"


def _of(millis: int | None) -> float:
    return (millis or 0) / 1000


def _between(low: float, value: float, high: float) -> float:
    return min(max(low, value), high)
