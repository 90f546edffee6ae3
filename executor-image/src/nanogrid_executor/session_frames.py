"""Frames of a session on the socket of :mod:`nanogrid_executor.frames`. Standard library only.

The agent's first frame is ``frames.SESSION``; from then on every payload begins with the number of
an execution (8 bytes, 0: of none). A message that is longer than a frame comes as ``PART`` frames
of its number, then as a frame of its own kind with the rest.

From the agent:
SESSION    {"cwd": str, "lock": str}, without a number; lock: a file that the launcher keeps locked
RUN        {"code": str, "context": str|null, "shell": bool, "env": {str: str}, "stdin": str,
            "timeoutSeconds": float, "graceSeconds": float}
INTERRUPT  nothing: the execution of that number is asked to stop
DROP       {"context": str}: that context's process is ended
CLOSE      nothing: everything ends, and the launcher exits with 0

From the launcher:
READY      {"processFd": bool}, without a number; with a pidfd of the launcher, if there are any
STARTED    {"startMillis": int}
STDOUT, STDERR  raw bytes
DISPLAY    {MIME type: str}, as user code's process wrote it: nobody has looked at it
EXITED     {"exitCode": int, "signal": str|null, "timedOut": bool, "interrupted": bool,
            "oomKilled": bool, "contextLost": bool, "contextNew": bool, "durationMillis": int,
            "cpuMillis": int, "peakMemoryBytes": int, "memorySource": str, "error": str|null}
CONTEXTS   [{"name": str, "executions": int, "busy": bool, "ageSeconds": float,
            "memoryBytes": int|null}], whenever one of them begins, ends, or changes its state
"""

import json
import socket
import struct
from typing import Any, Final

from nanogrid_executor import frames

RUN: Final = frames.RUN
STARTED: Final = frames.STARTED
STDOUT: Final = frames.STDOUT
STDERR: Final = frames.STDERR
EXITED: Final = frames.EXITED
INTERRUPT: Final = frames.CANCEL
READY: Final = b"Y"
DISPLAY: Final = b"D"
CONTEXTS: Final = b"L"
DROP: Final = b"K"
CLOSE: Final = b"Q"
PART: Final = b"P"

NUMBER: Final = struct.Struct("!Q")
PART_BYTES: Final = 512 * 1024
MAX_MESSAGE: Final = 16 * 1024 * 1024
MAX_BUNDLE: Final = 4 * 1024 * 1024  # one rich result, as JSON

Message = tuple[bytes, int, bytes]


def send(sock: socket.socket, kind: bytes, number: int, payload: bytes = b"") -> None:
    """Send a message of any length up to ``MAX_MESSAGE``; blocks until the socket took it all.

    Raises:
        ValueError: it is longer.
        OSError: the peer is gone, or took nothing for the socket's timeout.
    """
    if len(payload) > MAX_MESSAGE:
        raise ValueError(f"a message of {len(payload)} bytes, at most {MAX_MESSAGE} are allowed")
    prefix = NUMBER.pack(number)
    at = 0
    while len(payload) - at > PART_BYTES:
        frames.send(sock, PART, prefix + payload[at : at + PART_BYTES])
        at += PART_BYTES
    frames.send(sock, kind, prefix + payload[at:])


def send_json(sock: socket.socket, kind: bytes, number: int, value: Any) -> None:
    """Send a message with a JSON payload."""
    send(sock, kind, number, json.dumps(value).encode())


class Receiver:
    """Puts messages together again."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._parts: dict[int, bytearray] = {}

    def take(self) -> Message | None:
        """Read one frame: the message that it ends, or an empty ``PART``; None: the peer closed.

        Raises:
            ProtocolError: it is no frame, or the message is longer than ``MAX_MESSAGE``.
        """
        frame = frames.receive(self._sock)
        if frame is None:
            return None
        kind, payload = frame
        if len(payload) < NUMBER.size:
            raise frames.ProtocolError(f"frame {kind!r} without a number")
        (number,) = NUMBER.unpack_from(payload)
        payload = payload[NUMBER.size :]
        if kind == PART:
            parts = self._parts.setdefault(number, bytearray())
            parts += payload
            if len(parts) > MAX_MESSAGE:
                raise frames.ProtocolError(f"a message of over {MAX_MESSAGE} bytes")
            return PART, number, b""
        if number in self._parts:
            payload = bytes(self._parts.pop(number)) + payload
        return kind, number, payload
