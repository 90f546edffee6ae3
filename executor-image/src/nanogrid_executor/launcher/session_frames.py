"""Frames of a session on the socket of :mod:`nanogrid_executor.launcher.frames`.

The agent's first frame is ``frames.SESSION``. After it, every payload begins with the number of an
execution (8 bytes; 0: of no execution). A message longer than ``PART_BYTES`` is sent as ``PART``
frames of its number, followed by a frame of its own kind with the rest. Frames that batch jobs also
have keep their names from :mod:`frames`.

From the agent:
SESSION    {"cwd": str, "lock": str, "liveMemory": bool}, without a number; lock: a file that the
           launcher keeps locked; liveMemory: whether to send MEMORY
RUN        {"code": str, "encoding": str, "context": str|null, "shell": bool, "env": {str: str},
            "stdin": str, "keepProcesses": bool, "timeoutSeconds": float, "graceSeconds": float}
CANCEL     no payload: interrupt the execution of that number
DROP       {"context": str}: end that context's process
CLOSE      no payload: end all processes; the launcher exits with 0

From the launcher:
READY      {"processFd": bool}, without a number; true: a pidfd of the launcher comes too
STARTED    {"startMillis": int}
STDOUT, STDERR  raw bytes
DISPLAY    {MIME type: str}, as the user's process wrote it: not validated yet
EXITED     {"exitCode": int, "signal": str|null, "timedOut": bool, "interrupted": bool,
            "oomKilled": bool, "contextLost": bool, "contextNew": bool, "durationMillis": int,
            "cpuMillis": int, "peakMemoryBytes": int, "memorySource": str, "error": str|null,
            "errorCause": str|null}
CONTEXTS   [{"name": str, "executions": int, "busy": bool, "ageSeconds": float,
            "memoryBytes": int|null}], whenever a context starts, ends, or changes its state
MEMORY     {"memoryBytes": int} of the whole sandbox, number 0; at most once per second
"""

import json
import socket
import struct
from typing import Any, Final

from nanogrid_executor.launcher import frames

READY: Final = b"Y"
DISPLAY: Final = b"D"
CONTEXTS: Final = b"L"
DROP: Final = b"K"
CLOSE: Final = b"Q"

NUMBER: Final = struct.Struct("!Q")
PART: Final = b"P"
PART_BYTES: Final = 512 * 1024
PART_COST: Final = 128  # bytes of memory that an empty part takes
MAX_MESSAGE: Final = 16 * 1024 * 1024
MAX_BUNDLE: Final = 4 * 1024 * 1024  # one rich result, as JSON
MAX_CONTEXTS: Final = 8

Message = tuple[bytes, int, bytes]


def send(
    sock: socket.socket,
    kind: bytes,
    number: int,
    payload: bytes = b"",
    *,
    max_bytes: int = MAX_MESSAGE,
) -> None:
    """Send a message of up to ``max_bytes``; blocks until the socket has accepted all of it.

    Raises:
        ValueError: it is longer.
        OSError: the peer is gone, or accepted nothing within the socket's timeout.
    """
    if len(payload) > max_bytes:
        raise ValueError(f"the message has {len(payload)} bytes; the maximum is {max_bytes}")
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
    """Joins the parts of messages."""

    def __init__(self, sock: socket.socket, max_bytes: int = MAX_MESSAGE) -> None:
        self._sock = sock
        self._max_bytes = max_bytes
        self._parts: dict[int, bytearray] = {}
        self._pending = 0  # bytes of all parts

    def receive(self) -> Message | None:
        """Read one frame: the message that it completes, or an empty ``PART``; None: closed.

        Raises:
            ProtocolError: it is not a frame, or messages that are not complete have more than
                ``max_bytes`` together, where an empty part has ``PART_COST``.
        """
        frame = frames.receive(self._sock)
        if frame is None:
            return None
        kind, payload = frame
        if len(payload) < NUMBER.size:
            raise frames.ProtocolError(f"frame {kind!r} has no number")
        (number,) = NUMBER.unpack_from(payload)
        payload = payload[NUMBER.size :]
        if kind == PART:
            self._pending += len(payload) + PART_COST
            if self._pending > self._max_bytes:
                raise frames.ProtocolError(f"the message has more than {self._max_bytes} bytes")
            self._parts.setdefault(number, bytearray()).extend(payload)
            return PART, number, b""
        if number in self._parts:
            start = self._parts.pop(number)
            self._pending = sum(len(each) + PART_COST for each in self._parts.values())
            payload = bytes(start) + payload
        return kind, number, payload
