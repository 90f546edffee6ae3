"""The span of each request: the caller's trace goes on, and so does that of what it starts.

Only requests of callers that are known get a span: others could fill the queue of the exporter.
Without an exporter a valid context of the caller is passed on as it is.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from multidict import MultiMapping

from nanogrid.settings import SettingsError
from nanogrid.traces.context import RANDOM, TRACEPARENT, TRACESTATE, TraceContext, from_headers
from nanogrid.traces.export import Tracing, open_tracing
from nanogrid.traces.settings import TraceSettings
from nanogrid.traces.spans import Kind, Span, Value
from nanogrid_gateway.metrics import CLIENT_CLOSED_REQUEST, METHODS

log = logging.getLogger("nanogrid.tracing")

# https://opentelemetry.io/docs/specs/semconv/http/http-spans/: other methods have another name.
OTHER_METHOD: Final = "_OTHER"
SERVER_ERROR: Final = 500

_current: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


def current_trace() -> TraceContext | None:
    """The parent of what the request of this task starts; None if it has no trace."""
    return _current.get()


def start_tracing(service: str) -> Tracing:
    """The exporter of a process, from its environment.

    Raises:
        SystemExit: code 2, a setting is wrong.
    """
    try:
        return open_tracing(service, TraceSettings.from_env())
    except SettingsError as e:
        log.critical("a setting is wrong: %s", e)
        raise SystemExit(2) from None


@dataclass(slots=True)
class RequestSpan:
    """A request while it is answered; what is known at its end is set until then.

    Attributes:
        context: of this span; without an exporter the caller's. None if there is no trace.
        known: whether the caller is known, so that the span is sent.
        route: the pattern of the path, never the path.
        status: of the answer.
        attributes: further ones.
    """

    context: TraceContext | None
    parent: TraceContext | None
    method: str
    began: float
    known: bool = False
    route: str = ""
    status: int = 0
    attributes: dict[str, Value] = field(default_factory=dict)
    calls: list[Span] = field(default_factory=list)

    @contextmanager
    def call(self, name: str, attributes: Mapping[str, Value]) -> Iterator[TraceContext | None]:
        """A request to another server, as a span of its own; gives its context."""
        own = self.context
        if own is None or own is self.parent:
            yield own
            return
        made, began, error = own.child(secrets.token_hex(8)), time.time(), ""
        try:
            yield made
        except BaseException as e:
            error = type(e).__name__
            raise
        finally:
            self.calls.append(
                Span(
                    name=name,
                    context=made,
                    parent=own,
                    start=began,
                    end=time.time(),
                    kind=Kind.CLIENT,
                    attributes=attributes,
                    error=error,
                )
            )


@contextmanager
def request_span(
    tracing: Tracing, method: str, headers: MultiMapping[str], attributes: Mapping[str, Value]
) -> Iterator[RequestSpan]:
    """The span of a request; it is sent at the end of the block.

    Args:
        tracing: where it goes.
        method: of the request.
        headers: of the request.
        attributes: of the span.
    """
    parent = from_headers(headers.getall(TRACEPARENT, []), headers.getall(TRACESTATE, []))
    name = method if method in METHODS else OTHER_METHOD
    span = RequestSpan(_own(tracing, parent), parent, name, time.time())
    token = _current.set(span.context)
    try:
        yield span
    except (asyncio.CancelledError, ConnectionError):
        span.status = CLIENT_CLOSED_REQUEST
        raise
    finally:
        _current.reset(token)
        if tracing.sampler is not None and span.known:
            tracing.emit([_ended(span, attributes), *span.calls])


def _own(tracing: Tracing, parent: TraceContext | None) -> TraceContext | None:
    if tracing.sampler is None:
        return parent
    trace_id = parent.trace_id if parent is not None else secrets.token_hex(16)
    flags = tracing.sampler.flags(trace_id, parent)
    return TraceContext(
        trace_id=trace_id,
        span_id=secrets.token_hex(8),
        flags=flags if parent is not None else flags | RANDOM,
        state=parent.state if parent is not None else "",
    )


def _ended(span: RequestSpan, attributes: Mapping[str, Value]) -> Span:
    assert span.context is not None  # noqa: S101 with a sampler there is one
    failed = span.status >= SERVER_ERROR
    found: dict[str, Value] = {
        **attributes,
        "http.request.method": span.method,
        **({"http.route": span.route} if span.route else {}),
        **({"http.response.status_code": span.status} if span.status else {}),
        **({"error.type": str(span.status)} if failed else {}),
        **span.attributes,
    }
    return Span(
        name=f"{span.method} {span.route}".strip(),
        context=span.context,
        parent=span.parent,
        start=span.began,
        end=time.time(),
        kind=Kind.SERVER,
        attributes=found,
        error=str(span.status) if failed else "",
    )
