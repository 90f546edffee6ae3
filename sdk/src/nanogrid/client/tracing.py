"""The trace of the caller's program: jobs and requests of the client belong to it.

The client imports no OpenTelemetry. It uses what the program has imported itself; else the
variables TRACEPARENT and TRACESTATE, which CI systems and sandboxes set.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from nanogrid.client.errors import InvalidRequest
from nanogrid.traces.context import (
    RANDOM,
    SAMPLED,
    TraceContext,
    annotations_of,
    from_env,
    kept_state,
    of_metadata,
    parse,
)
from nanogrid.types import Json

API: Final = "opentelemetry.trace"
TRACER: Final = "nanogrid"


def current_trace() -> TraceContext | None:
    """The program's current span, or the one of its environment; None if there is none."""
    api = sys.modules.get(API)
    found = None if api is None else _context_of(api.get_current_span())
    return found or from_env(os.environ)


@contextmanager
def submitting(name: str) -> Iterator[None]:
    """A span around the creation of a job, if the program has set up OpenTelemetry."""
    api: Any = sys.modules.get(API)
    if api is None:
        yield
        return
    around, given = None, from_env(os.environ)
    if given is not None and _context_of(api.get_current_span()) is None:
        around = api.set_span_in_context(api.NonRecordingSpan(_span_context(api, given)))
    kind = api.SpanKind.PRODUCER
    with api.get_tracer(TRACER).start_as_current_span(name, context=around, kind=kind):
        yield


def traced(manifest: Json) -> Json:
    """The manifest of a job in the current trace; a parent that it names stays."""
    metadata = manifest["metadata"]
    trace = None if of_metadata(metadata) is not None else current_trace()
    if trace is None:
        return manifest
    annotations = {**(metadata.get("annotations") or {}), **annotations_of(trace)}
    return manifest | {"metadata": metadata | {"annotations": annotations}}


def trace_annotations(parent: str | None, state: str | None) -> dict[str, str]:
    """The annotations for a parent in a trace.

    Raises:
        InvalidRequest: it is not as W3C Trace Context writes it.
    """
    if parent is None and state is None:
        return {}
    found = parse(parent, state)
    if found is None:
        hint = "Give traceparent as 00-TRACE_ID-SPAN_ID-FLAGS, with 32, 16 and 2 hex digits."
        raise InvalidRequest(f"traceparent {parent!r} is not valid.", hint)
    return annotations_of(found)


def _context_of(span: Any) -> TraceContext | None:
    found = span.get_span_context()
    if not found.is_valid:
        return None
    return TraceContext(
        trace_id=f"{found.trace_id:032x}",
        span_id=f"{found.span_id:016x}",
        flags=int(found.trace_flags) & (SAMPLED | RANDOM),
        state=kept_state(found.trace_state.to_header()),
    )


def _span_context(api: Any, given: TraceContext) -> Any:
    return api.SpanContext(
        trace_id=int(given.trace_id, 16),
        span_id=int(given.span_id, 16),
        is_remote=True,
        trace_flags=api.TraceFlags(given.flags),
        trace_state=api.TraceState.from_header([given.state]),
    )
