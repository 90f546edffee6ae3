"""Sends the spans of jobs when their attempts, they themselves and their deliveries have ended.

The operator sends them all: it knows the times of each stage, so pods need no way to a collector.
It is best effort: what a process has not sent when it is killed is lost.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from nanogrid import names, wire
from nanogrid.logs import OncePerMinute, about
from nanogrid.reasons import Reason
from nanogrid.traces.export import Tracing
from nanogrid.traces.settings import Sampler
from nanogrid.traces.spans import Span
from nanogrid.types import Json
from nanogrid_operator.decision.attempt_spans import AttemptEnd, attempt_spans
from nanogrid_operator.decision.job_spans import DELETED, delivery_span, job_span
from nanogrid_operator.decision.outcome import Delivery, Outcome
from nanogrid_operator.decision.snapshot import Snapshot
from nanogrid_operator.kube.objects import seconds
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.pod_facts import Pod
from nanogrid_operator.model.targets import REDIS
from nanogrid_operator.model.trace import job_trace
from nanogrid_operator.status.conditions import sync_failed

log = logging.getLogger("nanogrid.traces")

PENDING, DELIVERED = "Pending", "Delivered"  # states of status.delivery
MAX_STARTED: Final = 10_000  # jobs with a pod whose deletion makes spans
_METADATA: Final = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


@dataclass(slots=True, kw_only=True)
class JobTraces:
    """All methods return at once and never raise: a job does not depend on its trace."""

    tracing: Tracing
    clock: Callable[[], float]
    _started: OrderedDict[str, tuple[Json, Pod]] = field(default_factory=OrderedDict, init=False)
    _failed: OncePerMinute = field(default_factory=OncePerMinute, init=False)

    @property
    def sampler(self) -> Sampler | None:
        """Decides which traces are recorded; None: traces are off."""
        return self.tracing.sampler

    def started(self, body: Json | None, pod: Pod) -> None:
        """An attempt of a job has its pod."""
        if self.sampler is None or body is None:
            return
        self._started[body["metadata"]["uid"]] = (_small(body), pod)
        while len(self._started) > MAX_STARTED:
            self._started.popitem(last=False)

    def deleted(self, uid: str) -> None:
        """A job is gone; one that had a pod and no end gets its spans now."""
        known = self._started.pop(uid, None)
        if known is not None:
            self._emit(uid, lambda sampler: self._deleted_spans(sampler, *known))

    def retried(self, snapshot: Snapshot, outcome: Outcome, at: float, body: Json) -> None:
        """An attempt has ended ``at`` this time, and another one follows."""
        self._started.pop(snapshot.job.uid, None)

        def spans(sampler: Sampler) -> list[Span]:
            end = AttemptEnd.of(snapshot, outcome, sync_failed(outcome), at)
            return attempt_spans(snapshot.job, job_trace(body["metadata"], sampler), end)

        self._emit(snapshot.job.uid, spans)

    def finished(
        self,
        snapshot: Snapshot,
        outcome: Outcome,
        delivery: Delivery,
        published: tuple[float, float],
        body: Json,
    ) -> None:
        """A job has ended.

        Args:
            snapshot: before the end.
            outcome: of the last attempt.
            delivery: to Redis.
            published: when that began and ended, in seconds since the epoch.
            body: the job with its terminal status.
        """
        now = self.clock()
        self._started.pop(snapshot.job.uid, None)

        def spans(sampler: Sampler) -> list[Span]:
            job, trace = snapshot.job, job_trace(body["metadata"], sampler)
            end = AttemptEnd.of(snapshot, outcome, sync_failed(outcome), now)
            found = [job_span(body, job, trace, end.reason, end.succeeded, now)]
            found += attempt_spans(job, trace, end)
            if delivery.state != PENDING:
                began = min(snapshot.reported_at or published[0], published[0])
                error = "" if delivery.state == DELIVERED else Reason.REQUEST_ID_CONFLICT.value
                found.append(delivery_span(trace, REDIS, began, published[1], error=error))
            return found

        self._emit(snapshot.job.uid, spans)

    def delivered(self, body: Json | None, target: str, *, error: str = "", tries: int = 1) -> None:
        """A target has the result of a finished job, or has refused it for good."""
        if body is None:
            return
        now = self.clock()

        def spans(sampler: Sampler) -> list[Span]:
            trace = job_trace(body["metadata"], sampler)
            return [delivery_span(trace, target, _ended(body, now), now, error=error, tries=tries)]

        self._emit(body["metadata"]["uid"], spans)

    def _deleted_spans(self, sampler: Sampler, body: Json, pod: Pod) -> list[Span]:
        job, now = job_facts(body), self.clock()
        trace = job_trace(body["metadata"], sampler)
        end = AttemptEnd(
            number=job.attempt,
            pod=pod,
            reason=DELETED,
            succeeded=False,
            ended=now,
            timings=wire.Timings(),
        )
        return [job_span(body, job, trace, DELETED, False, now), *attempt_spans(job, trace, end)]

    def _emit(self, uid: str, spans: Callable[[Sampler], Iterable[Span]]) -> None:
        if self.sampler is None:
            return
        try:
            self.tracing.emit(spans(self.sampler))
        except Exception:
            if self._failed.now():
                with about({"uid": uid}):
                    log.exception("the trace of the job is not complete")


def _small(body: Json) -> Json:
    """What a trace needs of a job that has not ended: no code, no variables.

    Other annotations are not kept: users write them, and kubectl writes the whole spec into one.
    """
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    version = (status.get("function") or {}).get("version")
    annotations = names.ANNOTATION_TRACEPARENT, names.ANNOTATION_TRACESTATE
    return {
        "metadata": _some(meta, *_METADATA)
        | {
            "labels": _some(meta.get("labels") or {}, names.LABEL_FUNCTION),
            "annotations": _some(meta.get("annotations") or {}, *annotations),
        },
        "spec": _some(spec, "mode", "functionId", "functionRef"),
        "status": _some(status, "attempts", "requestId") | {"function": {"version": version}},
    }


def _some(data: Json, *keys: str) -> Json:
    return {key: data[key] for key in keys if key in data}


def _ended(body: Json, now: float) -> float:
    """When a finished job ended, in seconds since the epoch."""
    status = body.get("status") or {}
    created = seconds(body["metadata"].get("creationTimestamp"))
    millis = (status.get("timings") or {}).get("totalMillis")
    if created is not None and millis is not None:
        return created + int(millis) / 1000
    return seconds(status.get("completionTime")) or now
