"""Frames that a hostile launcher in a job's own image sends instead of an honest end."""

import json
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from nanogrid_executor.launcher import frames, session_frames

HONEST_END: dict[str, Any] = {
    "exitCode": 0,
    "signal": None,
    "timedOut": False,
    "cancelled": False,
    "oomKilled": False,
    "durationMillis": 5,
    "cpuMillis": 5,
    "peakMemoryBytes": 1 << 20,
    "memorySource": "cgroup2",
    "error": None,
}
DEEP = b"[" * 100_000
LONG_NUMBER = b'{"exitCode": ' + b"9" * 9000 + b"}"
OLD_END = HONEST_END | {"interrupted": False, "contextLost": False, "contextNew": False}


def ended(**changes: Any) -> bytes:
    """The payload of ``EXITED``; changes are JSON keys. Also of a session: unknown keys are ok."""
    return json.dumps(OLD_END | changes).encode()


ENDS: dict[str, bytes] = {
    "exit code 2^70": ended(exitCode=2**70),
    "exit code -2^70": ended(exitCode=-(2**70)),
    "exit code 256": ended(exitCode=256),
    "exit code true": ended(exitCode=True),
    "exit code 0.0": ended(exitCode=0.0),
    "exit code NaN": ended(exitCode=float("nan")),
    "exit code Infinity": ended(exitCode=float("inf")),
    "exit code of 9000 digits": LONG_NUMBER,
    "peak 10^30": ended(peakMemoryBytes=10**30),
    "peak -1": ended(peakMemoryBytes=-1),
    "duration -10^30": ended(durationMillis=-(10**30)),
    "duration 10^30": ended(durationMillis=10**30),
    "CPU time 10^30": ended(cpuMillis=10**30),
    "a signal name of 900 KB": ended(signal="S" * 900_000),
    "a signal name with a line break": ended(signal="SIG\nFORGED"),
    "half a surrogate pair as signal": ended(signal="\ud800"),
    "a source of 900 KB of NUL": ended(memorySource="\x00" * 150_000),
    "an error of 900 KB": ended(error="e" * 900_000),
    "an error of surrogates and escapes": ended(error="\udfff\x1b[2J" * 9000),
    "a text as flag": ended(timedOut="yes"),
    "without keys": b"{}",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "not JSON": b"\xff\xfe",
    "nested 100,000 times": DEEP,
}


@dataclass(frozen=True)
class Play:
    """Bytes that a hostile launcher sends after ``RUN``, in pieces, before it disconnects."""

    name: str
    pieces: Callable[[], Iterator[bytes]]


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """A frame of a batch job."""
    return frames.HEADER.pack(kind, len(payload)) + payload


def message(kind: bytes, number: int, payload: bytes = b"") -> bytes:
    """A message of a session."""
    return frame(kind, session_frames.NUMBER.pack(number) + payload)


def _ends() -> Iterator[Play]:
    for name, payload in ENDS.items():
        yield Play(name, lambda payload=payload: iter([frame(frames.EXITED, payload)]))  # type: ignore[misc]


HONEST = frame(frames.EXITED, ended())
MEMORY = frame(frames.MEMORY, b'{"memoryBytes": 1%s, "peakMemoryBytes": -1}' % (b"0" * 30))
STARTED = frame(frames.STARTED, b'{"pid": 7, "startMillis": 1}')
BATCH_PLAYS = (
    *_ends(),
    Play("a frame of 4 GiB", lambda: iter([struct.pack("!cI", frames.STDOUT, 2**32 - 1)])),
    Play("half a frame", lambda: iter([frame(frames.EXITED, ENDS["exit code 256"])[:20]])),
    Play("an unknown frame", lambda: iter([frame(b"?", b"x")])),
    Play("no frame at all", lambda: iter([])),
    Play("10,000 starts", lambda: iter([STARTED] * 10_000)),
    Play("a start at 10^30", lambda: iter([frame(b"S", b'{"pid":1,"startMillis":%d}' % 10**30)])),
    Play("100,000 empty outputs", lambda: iter([frame(frames.STDOUT)] * 100_000)),
    Play("memory that is not one", lambda: iter([frame(frames.MEMORY, DEEP), HONEST])),
    Play("100,000 memory frames", lambda: iter([*[MEMORY] * 100_000, HONEST])),
    Play("memory before the start and after the end", lambda: iter([MEMORY, HONEST, MEMORY])),
    Play("frames of a session", lambda: iter([message(session_frames.CONTEXTS, 0, b"[]")])),
)

CONTEXT: dict[str, Any] = {
    "name": "a",
    "executions": 1,
    "busy": False,
    "ageSeconds": 1.0,
    "memoryBytes": 1,
}


def contexts(**changes: Any) -> bytes:
    """A ``CONTEXTS`` message with one context."""
    return message(session_frames.CONTEXTS, 0, json.dumps([CONTEXT | changes]).encode())


# Of a session, while execution 1 runs.
SESSION_PLAYS = (
    *(
        Play(name, lambda payload=payload: iter([message(frames.EXITED, 1, payload)]))  # type: ignore[misc]
        for name, payload in ENDS.items()
    ),
    Play("contexts: a number", lambda: iter([message(session_frames.CONTEXTS, 0, b"7")])),
    Play("contexts: null", lambda: iter([message(session_frames.CONTEXTS, 0, b"null")])),
    Play("contexts: deep", lambda: iter([message(session_frames.CONTEXTS, 0, DEEP)])),
    Play("contexts: an age of 400 digits", lambda: iter([contexts(ageSeconds=10**400)])),
    Play("contexts: not JSON", lambda: iter([message(session_frames.CONTEXTS, 0, b"\xff")])),
    Play("a start that is a text", lambda: iter([message(b"S", 1, b'{"startMillis": "x"}')])),
    Play("a start that is a list", lambda: iter([message(b"S", 1, b"[]")])),
    Play("memory: deep", lambda: iter([message(frames.MEMORY, 0, DEEP)])),
    Play("memory: 100,000", lambda: iter([message(frames.MEMORY, 0, b"{}")] * 100_000)),
    Play("memory of an execution", lambda: iter([message(frames.MEMORY, 1, b"{}")])),
    Play("two starts", lambda: iter([message(b"S", 1, b'{"startMillis": 1}')] * 2)),
    Play("a message without number", lambda: iter([frame(frames.EXITED, b"x")])),
    Play("an unknown message", lambda: iter([message(b"?", 1)])),
    Play("parts of a message without end", lambda: _parts(iter([1] * 40))),
    Play("parts of many messages", lambda: _parts(iter(range(1, 41)))),
    Play(
        "empty parts of many messages",
        lambda: (message(session_frames.PART, number) for number in range(200_000)),
    ),
)


def _parts(numbers: Iterator[int]) -> Iterator[bytes]:
    half = bytes(session_frames.PART_BYTES)
    return (message(session_frames.PART, number, half) for number in numbers)


def play(sock: socket.socket, pieces: Iterator[bytes]) -> None:
    """Send the pieces; the agent may hang up at any time."""
    try:
        for piece in pieces:
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    except OSError:
        return  # the agent has given this launcher up
