"""The trace of a job: its parent, its sampling, and the ids of its spans. Pure.

The ids follow from the uid of the job. So the pod can have the id of the span of its execution
before that span exists, and a process that sends a span once more sends the same one.
"""

from dataclasses import dataclass
from enum import StrEnum

from nanogrid.traces.context import (
    TraceContext,
    derived_span_id,
    derived_trace_id,
    env_of,
    of_metadata,
)
from nanogrid.traces.settings import Sampler
from nanogrid.types import Json


class Stage(StrEnum):
    """What the spans of an attempt are about; the value is the end of the span's name."""

    ATTEMPT = "attempt"
    QUEUE = "queue"  # without a pod
    START = "start"  # from the pod's creation to the work of its containers
    SYNC = "sync"
    LAUNCH = "launch"  # from the end of the sync to the code
    EXECUTION = "execution"
    UPLOAD = "upload"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTrace:
    """The trace that a job belongs to; ``flags`` has the decision about sampling."""

    uid: str
    parent: TraceContext | None
    trace_id: str
    flags: int

    @property
    def root(self) -> TraceContext:
        """The span of the whole job."""
        return self._span("job")

    def stage(self, attempt: int, stage: Stage) -> TraceContext:
        """A span of an attempt."""
        return self._span(str(attempt), stage.value)

    def delivery(self, target: str) -> TraceContext:
        """The span of a delivery of the result."""
        return self._span("delivery", target)

    def _span(self, *about: str) -> TraceContext:
        return TraceContext(
            trace_id=self.trace_id,
            span_id=derived_span_id(self.uid, *about),
            flags=self.flags,
            state=self.parent.state if self.parent is not None else "",
        )


def job_trace(metadata: Json, sampler: Sampler) -> JobTrace:
    """The trace of the job with this metadata."""
    uid, parent = metadata["uid"], of_metadata(metadata)
    trace_id = parent.trace_id if parent is not None else derived_trace_id(uid)
    flags = sampler.flags(trace_id, parent)
    return JobTrace(uid=uid, parent=parent, trace_id=trace_id, flags=flags)


def code_env(metadata: Json, attempt: int, sampler: Sampler | None) -> dict[str, str]:
    """The variables that tell user code which span it runs in.

    Without a sampler traces are off, and the code gets what the job's annotations name.
    """
    if sampler is None:
        return env_of(of_metadata(metadata))
    return env_of(job_trace(metadata, sampler).stage(attempt, Stage.EXECUTION))
