"""Where operators and gateways of tests send their spans."""

from collections.abc import Iterable

from nanogrid.traces.settings import Sampler
from nanogrid.traces.spans import Span


class SpanRecorder:
    """A Tracing that keeps the sampled spans in memory."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.sampler: Sampler | None = sampler or Sampler()
        self.spans: list[Span] = []
        self.failure: Exception | None = None  # what emit raises

    def emit(self, spans: Iterable[Span]) -> None:
        found = list(spans)
        if self.failure is not None:
            raise self.failure
        self.spans += [span for span in found if span.context.sampled]

    def close(self) -> None:
        """Nothing is open."""

    @property
    def names(self) -> list[str]:
        """The names of the spans, without the part that all have."""
        return [span.name.removeprefix("nanogrid.job.") for span in self.spans]

    def named(self, name: str) -> Span:
        """The only span of this name."""
        (found,) = (span for span in self.spans if span.name == name)
        return found


def connected(spans: Iterable[Span]) -> bool:
    """Whether all spans but one have their parent among them, in one trace, around them in time."""
    known = {span.context.span_id: span for span in spans}
    roots = [s for s in known.values() if s.parent is None or s.parent.span_id not in known]
    return len(roots) == 1 and len({span.context.trace_id for span in known.values()}) == 1
