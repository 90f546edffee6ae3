"""A span that has ended, before OpenTelemetry has it. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from nanogrid.traces.context import TraceContext

Value = str | int | float | bool


class Kind(Enum):
    """What a span is to its neighbours, as OpenTelemetry defines it."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanEvent:
    """Something that happened at one moment; ``at`` is in seconds since the epoch."""

    name: str
    at: float
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span; times are in seconds since the epoch. ``error`` is the reason of a failure."""

    name: str
    context: TraceContext
    parent: TraceContext | None
    start: float
    end: float
    kind: Kind = Kind.INTERNAL
    attributes: Mapping[str, Value] = field(default_factory=dict)
    events: tuple[SpanEvent, ...] = ()
    error: str = ""
