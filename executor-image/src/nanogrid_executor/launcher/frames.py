"""Frames on the Unix socket between agent and launcher: kind (1 byte), length (4), payload.

Standard library only and cheap to import, because every job imports this in the launcher. The
agent sends ``RUN`` (JSON) and, at any later time, ``CANCEL``. The launcher answers with ``STARTED``
(JSON), any number of ``STDOUT`` and ``STDERR`` (raw bytes) and one ``EXITED`` (JSON). If ``RUN``
asks for it, ``MEMORY`` (JSON) follows ``STARTED``, at most once per second. An older agent does not
ask, and an older launcher does not answer. In a pool's pod the launcher sends one ``READY`` (no
payload) before the first ``RUN``: an interpreter waits, or it is known that none will.

Before ``RUN`` the agent may send ``HOLD`` (no payload): calls that would give the code a network
socket shall wait. The launcher answers with ``HELD`` (JSON). After an error the agent sends ``RUN``
only when the network is proven. Else it sends ``RUN`` at once, and later ``OPEN`` (no payload).

RUN      {"argv": [str], "cwd": str, "env": {str: str}, "stdin": str, "timeoutSeconds": float,
          "graceSeconds": float, "liveMemory": bool}
HELD     {"error": str}                        empty: they will wait
STARTED  {"pid": int, "startMillis": int}      startMillis: RUN received to process started
MEMORY   {"memoryBytes": int, "peakMemoryBytes": int}
EXITED   {"exitCode": int, "signal": str|null, "timedOut": bool, "cancelled": bool,
          "oomKilled": bool, "durationMillis": int, "cpuMillis": int, "peakMemoryBytes": int,
          "memorySource": str, "error": str|null, "errorCause": str|null, "heldMillis": int}
          error: why the process could not be started; errorCause: see start_failure
          heldMillis: how long calls have waited for OPEN
"""

from __future__ import annotations

import json
import socket
import struct

TYPE_CHECKING = False  # see nanogrid_executor.launcher.values
if TYPE_CHECKING:
    from typing import Any, Final

RUN: Final = b"R"
CANCEL: Final = b"C"
STARTED: Final = b"S"
STDOUT: Final = b"O"
STDERR: Final = b"E"
EXITED: Final = b"X"
MEMORY: Final = b"U"
READY: Final = b"Y"
HOLD: Final = b"H"
HELD: Final = b"D"
OPEN: Final = b"N"
SESSION: Final = b"M"  # the first frame of a session: session_frames defines the rest

HEADER: Final = struct.Struct("!cI")
MAX_PAYLOAD: Final = 1024 * 1024


class ProtocolError(Exception):
    """The peer sent bytes that are not a valid frame."""


def send(sock: socket.socket, kind: bytes, payload: bytes = b"") -> None:
    """Send one frame; blocks until the socket has accepted all of it."""
    sock.sendall(HEADER.pack(kind, len(payload)) + payload)


def send_json(sock: socket.socket, kind: bytes, value: Any) -> None:
    """Send one frame with a JSON payload."""
    send(sock, kind, json.dumps(value).encode())


def receive(sock: socket.socket) -> tuple[bytes, bytes] | None:
    """The next frame's kind and payload, or None when the peer closed the socket.

    Raises:
        ProtocolError: the frame is longer than ``MAX_PAYLOAD``, or incomplete.
    """
    header = _read_exactly(sock, HEADER.size)
    if header is None:
        return None
    kind, length = HEADER.unpack(header)
    if length > MAX_PAYLOAD:
        raise ProtocolError(f"the frame has {length} bytes; the maximum is {MAX_PAYLOAD}")
    payload = _read_exactly(sock, length) if length else b""
    if payload is None:
        raise ProtocolError("the connection ended inside a frame")
    return kind, payload


def _read_exactly(sock: socket.socket, count: int) -> bytes | None:
    parts: list[bytes] = []
    missing = count
    while missing:
        part = sock.recv(missing)
        if not part:
            if parts:
                raise ProtocolError("the connection ended inside a frame")
            return None
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
