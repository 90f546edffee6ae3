"""From the end of an attempt to its spans. Pure.

Kubernetes gives times in whole seconds. A report gives durations in milliseconds, and its arrival
is exact, so the stages of an attempt are found backwards from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nanogrid import names, wire
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason
from nanogrid.traces.context import TraceContext
from nanogrid.traces.spans import Span, Value
from nanogrid_operator.decision.outcome import Outcome
from nanogrid_operator.decision.snapshot import Snapshot
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import Pod
from nanogrid_operator.model.trace import JobTrace, Stage

NAME: Final = "nanogrid.job"
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
                attributes=_stage_attributes(stage, end) | error_type(error),
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
    for stage, wanted in ends:
        until = _between(at, wanted, end)
        found.append((stage, at, until))
        at = until
    return found


def _attempt_attributes(job: Job, end: AttemptEnd, pod: Pod) -> Attributes:
    found: Attributes = {
        "k8s.namespace.name": job.namespace,
        "k8s.pod.name": pod.name,
        "k8s.pod.uid": pod.uid,
        "nanogrid.attempt": end.number,
        "nanogrid.reason": end.reason,
    }
    return found | ({} if end.succeeded else error_type(end.reason))


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


def error_type(reason: str) -> Attributes:
    """The attribute of a span with an error; none without a reason."""
    return {"error.type": reason} if reason else {}


def _name(stage: Stage) -> str:
    return f"{NAME}.{stage.value}"


def _of(millis: int | None) -> float:
    return (millis or 0) / 1000


def _between(low: float, value: float, high: float) -> float:
    return min(max(low, value), high)
