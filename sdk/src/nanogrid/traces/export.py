"""Sends spans to a collector with OpenTelemetry's SDK: OTLP over HTTP.

The SDK is imported when traces are on. A thread of its own sends the spans, in batches, from a
queue that drops spans when it is full. So a collector that is away, slow or hostile costs no more
than lost spans, some memory and one line of the log per minute.
"""

import logging
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from nanogrid.logs import OncePerMinute
from nanogrid.settings import SettingsError
from nanogrid.traces.context import TraceContext
from nanogrid.traces.settings import Sampler, TraceSettings
from nanogrid.traces.spans import Span, SpanEvent

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

log = logging.getLogger("nanogrid.traces")

SCOPE: Final = "nanogrid"
SDK_LOGGER: Final = "opentelemetry"
HEADERS_LOGGER: Final = "opentelemetry.util.re"  # it reads OTEL_EXPORTER_OTLP_HEADERS
HEADERS_HINT: Final = (
    "traces: a header in OTEL_EXPORTER_OTLP_HEADERS is ignored: "
    "write NAME=VALUE,NAME=VALUE, with URL encoding in the values"
)
CLOSE_SECONDS: Final = 3.0  # for the last spans, when the process stops
ATTRIBUTE_CHARACTERS: Final = 1024
_NANOSECONDS: Final = 1_000_000_000


class Tracing(Protocol):
    """Where spans go."""

    @property
    def sampler(self) -> Sampler | None:
        """Decides which traces are recorded; None: none is, and callers' contexts pass through."""

    def emit(self, spans: Iterable[Span]) -> None:
        """Take in spans that have ended; those that are not sampled are dropped. Never waits."""

    def close(self) -> None:
        """Send what is left, for a bounded time."""


class NoTracing:
    """Traces are off."""

    sampler: Sampler | None = None

    def emit(self, spans: Iterable[Span]) -> None:
        """See :class:`Tracing`."""

    def close(self) -> None:
        """See :class:`Tracing`."""


def open_tracing(service: str, settings: TraceSettings) -> Tracing:
    """The exporter of a process; it connects with the first spans.

    Args:
        service: ``service.name`` of the spans, unless OTEL_SERVICE_NAME gives another one.
        settings: of the process.

    Raises:
        SettingsError: a variable that OpenTelemetry's SDK reads itself has a wrong value.
    """
    if not settings.enabled:
        return NoTracing()
    try:
        tracing = OtelTracing(service, settings.sampler)
    except ValueError as e:
        raise SettingsError(f"a variable OTEL_… of traces is wrong: {e}") from e
    log.info("traces: sending to a collector, sampler %s", settings.sampler_name)
    return tracing


def check_imports() -> None:
    """Fail if the image lacks what the export needs, instead of weeks later in a crash loop."""
    OtelTracing("check", Sampler()).close()


class OtelTracing:
    """Sends spans with OpenTelemetry's SDK. One thread calls :meth:`emit`."""

    def __init__(self, service: str, sampler: Sampler) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON

        limit_log_rate(SDK_LOGGER)
        self.sampler: Sampler | None = sampler
        self._ids = _given_ids()
        # Without the SDK's own detectors, which look for installed packages.
        resource = Resource({"service.name": service}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False, id_generator=self._ids
        )
        exporter = OTLPSpanExporter(session=_bounded_session())
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SCOPE)
        self._failed = OncePerMinute()

    def emit(self, spans: Iterable[Span]) -> None:
        """See :class:`Tracing`."""
        for span in spans:
            try:
                if span.context.sampled:
                    self._emit(span)
            except Exception:
                if self._failed.now():
                    log.exception("traces: span %s is dropped", span.name)

    def _emit(self, span: Span) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import (
            NonRecordingSpan,
            SpanKind,
            Status,
            StatusCode,
            set_span_in_context,
        )

        self._ids.next = (int(span.context.trace_id, 16), int(span.context.span_id, 16))
        around = Context()
        if span.parent is not None:
            around = set_span_in_context(NonRecordingSpan(_span_context(span.parent)), around)
        made = self._tracer.start_span(
            span.name,
            context=around,
            kind=SpanKind[span.kind.value],
            attributes=_bounded(span.attributes),
            start_time=_nanoseconds(span.start),
        )
        for event in span.events:
            _add(made, event)
        if span.error:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(_nanoseconds(span.end))

    def close(self) -> None:
        """See :class:`Tracing`."""
        # The SDK waits longer than a process may take to stop.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True, name="traces-close")
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive():
            log.warning("traces: the collector is too slow; the last spans are lost")


def _given_ids() -> Any:
    """An IdGenerator of the SDK; ``next`` has the ids of the span that is started next."""
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class GivenIds(IdGenerator):
        next = (0, 0)

        def generate_trace_id(self) -> int:
            return self.next[0]

        def generate_span_id(self) -> int:
            return self.next[1]

    return GivenIds()


class LogRate(logging.Filter):
    """Passes one line per minute of each place in the code that logs."""

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[tuple[str, int], OncePerMinute] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is logged."""
        place = (record.pathname, record.lineno)
        return self._places.setdefault(place, OncePerMinute()).now()


def limit_log_rate(name: str) -> None:
    """Let a library's loggers log little: its lines reach only a handler with a filter."""
    logger = logging.getLogger(name)
    if any(isinstance(handler, _Forward) for handler in logger.handlers):
        return
    forward = _Forward()
    forward.addFilter(LogRate())
    logger.addHandler(forward)
    logger.propagate = False


class _Forward(logging.Handler):
    """Gives lines to the handlers of the root logger, without the headers of the collector."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == HEADERS_LOGGER:  # it repeats the text, which has credentials
            record.msg, record.args = HEADERS_HINT, None
        logging.getLogger().handle(record)


def _bounded_session() -> Any:
    """A session of requests that reads no body of an answer: it could be endless."""
    import requests

    class Session(requests.Session):
        def request(self, *args: Any, **keywords: Any) -> requests.Response:
            response = super().request(*args, **keywords | {"stream": True})
            response.close()
            return response

    return Session()


def _span_context(context: TraceContext) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    members = [member.partition("=") for member in context.state.split(",") if member]
    return SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(context.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(context.flags),
        trace_state=TraceState([(key, value) for key, _, value in members]),
    )


def _add(span: Any, event: SpanEvent) -> None:
    span.add_event(event.name, _bounded(event.attributes), _nanoseconds(event.at))


def _bounded(attributes: Any) -> dict[str, Any]:
    return {
        key: value[:ATTRIBUTE_CHARACTERS] if isinstance(value, str) else value
        for key, value in attributes.items()
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * _NANOSECONDS)
