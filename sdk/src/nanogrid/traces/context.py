"""W3C Trace Context: reads, writes and derives it. Pure, standard library only.

https://www.w3.org/TR/trace-context/ has the rules. An invalid ``traceparent`` is ignored, with its
``tracestate``. An invalid ``tracestate`` alone is dropped, and the trace goes on.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nanogrid import names
from nanogrid.types import Json

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
ENV_TRACEPARENT: Final = "TRACEPARENT"
ENV_TRACESTATE: Final = "TRACESTATE"

SAMPLED: Final = 0x01
RANDOM: Final = 0x02  # of level 2 of the standard: the trace id is random
_KNOWN_FLAGS: Final = SAMPLED | RANDOM  # senders of version 00 set all others to 0
_VERSION_INVALID: Final = "ff"
_VERSION: Final = "00"

MAX_PARENT_CHARACTERS: Final = 512  # a later version may be longer than version 00
STATE_CHARACTERS: Final = 512  # that a system has to pass on
STATE_MEMBERS: Final = 32
LARGE_MEMBER: Final = 128  # characters; longer members are removed first
MAX_STATE_CHARACTERS: Final = 8192  # more is not read at all

_PARENT: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<rest>-[\x20-\x7e]*)?"
)
_MEMBER: Final = re.compile(
    r"[a-z0-9][a-z0-9_\-*/@]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceContext:
    """A span as other processes know it: ids in lower-case hex, flags, and ``tracestate``."""

    trace_id: str
    span_id: str
    flags: int = 0
    state: str = ""

    @property
    def sampled(self) -> bool:
        """Whether the caller records the trace."""
        return bool(self.flags & SAMPLED)

    def header(self) -> str:
        """The value of ``traceparent``."""
        return f"{_VERSION}-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def child(self, span_id: str) -> "TraceContext":
        """A span of the same trace, with the same decision about sampling."""
        return TraceContext(
            trace_id=self.trace_id, span_id=span_id, flags=self.flags, state=self.state
        )


def parse(parent: str | None, state: str | None = None) -> TraceContext | None:
    """The caller's span, from the values of ``traceparent`` and ``tracestate``; None if invalid."""
    text = (parent or "")[: MAX_PARENT_CHARACTERS + 1].strip(" \t")
    found = _PARENT.fullmatch(text) if len(text) <= MAX_PARENT_CHARACTERS else None
    if found is None or found["version"] == _VERSION_INVALID:
        return None
    if found["version"] == _VERSION and found["rest"] is not None:
        return None
    if not (found["trace"].strip("0") and found["span"].strip("0")):
        return None
    return TraceContext(
        trace_id=found["trace"],
        span_id=found["span"],
        flags=int(found["flags"], 16) & _KNOWN_FLAGS,
        state=kept_state(state or ""),
    )


def from_headers(parents: Sequence[str], states: Iterable[str] = ()) -> TraceContext | None:
    """The caller's span, from all values of the two headers; None if it is missing or invalid."""
    return parse(parents[0], ",".join(states)) if len(parents) == 1 else None


def kept_state(text: str) -> str:
    """What is passed on of a ``tracestate``: valid, without empty members, within the limits.

    Empty if it is invalid, or has too many members. Of one that is too long, members above 128
    characters are removed first, and then the last ones: these are the oldest.
    """
    if len(text) > MAX_STATE_CHARACTERS:
        return ""
    members = [member for one in text.split(",") if (member := one.strip(" \t"))]
    keys = {member.partition("=")[0] for member in members}
    valid = all(_MEMBER.fullmatch(member) for member in members)
    if not valid or len(keys) != len(members) or len(members) > STATE_MEMBERS:
        return ""
    while members and len(",".join(members)) > STATE_CHARACTERS:
        large = [number for number, one in enumerate(members) if len(one) > LARGE_MEMBER]
        del members[large[-1] if large else -1]
    return ",".join(members)


def headers_of(context: TraceContext | None) -> dict[str, str]:
    """The headers that pass a span on; none without one."""
    if context is None:
        return {}
    return {TRACEPARENT: context.header()} | ({TRACESTATE: context.state} if context.state else {})


def env_of(context: TraceContext | None) -> dict[str, str]:
    """The environment variables that pass a span on; none without one."""
    variables = {TRACEPARENT: ENV_TRACEPARENT, TRACESTATE: ENV_TRACESTATE}
    return {variables[name]: value for name, value in headers_of(context).items()}


def from_env(environ: Mapping[str, str]) -> TraceContext | None:
    """The span that environment variables name; None if there is none, or it is invalid."""
    return parse(environ.get(ENV_TRACEPARENT), environ.get(ENV_TRACESTATE))


def annotations_of(context: TraceContext | None) -> dict[str, str]:
    """The annotations of a job with this parent; none without one."""
    keys = {TRACEPARENT: names.ANNOTATION_TRACEPARENT, TRACESTATE: names.ANNOTATION_TRACESTATE}
    return {keys[name]: value for name, value in headers_of(context).items()}


def of_metadata(metadata: Json) -> TraceContext | None:
    """The parent that the annotations of a job name; None if there is none, or it is invalid."""
    found = metadata.get("annotations") or {}
    parent, state = (
        found.get(key) for key in (names.ANNOTATION_TRACEPARENT, names.ANNOTATION_TRACESTATE)
    )
    return parse(parent, state)


def derived_trace_id(uid: str) -> str:
    """The trace id of a job without a parent: the same in each process that has the uid."""
    return _derived(f"nanogrid trace {uid}", 32)


def derived_span_id(uid: str, *stage: str) -> str:
    """The id of a job's span: the same in each process that has the uid.

    Args:
        uid: of the job.
        *stage: what the span is about, such as the number of the attempt and a stage of it.
    """
    return _derived(" ".join(("nanogrid span", uid, *stage)), 16)


def _derived(text: str, characters: int) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:characters]
    return digest if digest.strip("0") else digest[:-1] + "1"
