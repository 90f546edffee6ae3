"""The launcher's messages of a session, read within their bounds. Pure.

A job's own image can contain a hostile launcher: a message may be anything.
"""

import math
from typing import Final

from nanogrid import json_text, wire
from nanogrid import result_bounds as bounds
from nanogrid.record import Record
from nanogrid_executor.launcher import frames
from nanogrid_executor.session.sandbox_protocol import ContextInfo, ExecutionEnd

MAX_CONTEXTS: Final = 64  # the launcher's own limit is lower
MAX_SECONDS: Final = bounds.MAX_MILLIS / 1000
MEMORY_BYTES: Final = 256  # more than any MEMORY message has


class _Started(Record):
    start_millis: int


def read_started(payload: bytes) -> int:
    """The milliseconds of a ``STARTED`` message.

    Raises:
        ProtocolError: it is not one.
    """
    try:
        return bounds.millis(wire.loads(_Started, payload).start_millis)
    except ValueError as error:
        raise frames.ProtocolError(f"STARTED: {error}") from None


class _Memory(Record):
    memory_bytes: int


def read_memory(payload: bytes) -> int | None:
    """The bytes of a ``MEMORY`` message; None if it is not one: it is worth no sandbox."""
    if len(payload) > MEMORY_BYTES:
        return None
    try:
        return bounds.count(wire.loads(_Memory, payload).memory_bytes)
    except ValueError:
        return None


def read_end(payload: bytes) -> ExecutionEnd:
    """An ``EXITED`` message.

    Raises:
        ProtocolError: it is not one.
    """
    try:
        end = wire.loads(ExecutionEnd, payload)
    except ValueError as error:
        raise frames.ProtocolError(f"EXITED: {error}") from None
    return ExecutionEnd(
        exit_code=bounds.optional(bounds.exit_code, end.exit_code),
        signal=bounds.optional(bounds.signal_name, end.signal),
        timed_out=end.timed_out,
        interrupted=end.interrupted,
        oom_killed=end.oom_killed,
        sandbox_lost=end.sandbox_lost,
        context_lost=end.context_lost,
        context_new=end.context_new,
        duration_millis=bounds.millis(end.duration_millis),
        cpu_millis=bounds.optional(bounds.millis, end.cpu_millis),
        peak_memory_bytes=bounds.optional(bounds.count, end.peak_memory_bytes),
        memory_source=bounds.optional(bounds.word, end.memory_source),
        error=bounds.optional(bounds.message, end.error),
        error_cause=bounds.optional(bounds.word, end.error_cause),
    )


def read_contexts(payload: bytes) -> list[ContextInfo]:
    """A ``CONTEXTS`` message: its first ``MAX_CONTEXTS`` entries.

    Raises:
        ProtocolError: it is not one.
    """
    try:
        entries = json_text.parse(payload)
        if not isinstance(entries, list):
            raise ValueError("it is not a list")
        return [_context(wire.from_dict(ContextInfo, each)) for each in entries[:MAX_CONTEXTS]]
    except ValueError as error:
        raise frames.ProtocolError(f"CONTEXTS: {error}") from None


def _context(read: ContextInfo) -> ContextInfo:
    age = read.age_seconds
    return ContextInfo(
        name=bounds.word(read.name),
        executions=bounds.count(read.executions),
        busy=read.busy,
        age_seconds=0.0 if math.isnan(age) else max(0.0, min(age, MAX_SECONDS)),
        memory_bytes=bounds.optional(bounds.count, read.memory_bytes),
    )
