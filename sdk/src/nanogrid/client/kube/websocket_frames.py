"""Frames of the WebSocket protocol (RFC 6455), as a client writes and reads them. Pure."""

import base64
import hashlib
import os
import struct
from collections.abc import Callable
from typing import Final

CONTINUATION: Final = 0x0
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
LARGEST: Final = 16 << 20
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FINAL: Final = 0x80
_MASKED: Final = 0x80


class BadFrame(OSError):
    """The server does not follow the protocol."""


def new_key() -> str:
    """A value for Sec-WebSocket-Key."""
    return base64.b64encode(os.urandom(16)).decode()


def accept_of(key: str) -> str:
    """The Sec-WebSocket-Accept that a server answers."""
    # The protocol defines SHA-1 here; it protects nothing.
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def frame(opcode: int, payload: bytes, mask: bytes | None = None) -> bytes:
    """A whole message in one frame; a client masks it.

    Args:
        opcode: kind of the frame.
        payload: content.
        mask: four bytes; default is random.
    """
    key = os.urandom(4) if mask is None else mask
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", _FINAL | opcode, _MASKED | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", _FINAL | opcode, _MASKED | 126, size)
    else:
        head = struct.pack("!BBQ", _FINAL | opcode, _MASKED | 127, size)
    return head + key + _xor(payload, key)


def read_frame(read: Callable[[int], bytes]) -> tuple[int, bytes] | None:
    """Opcode and payload of the next frame; None when the stream has ended.

    Args:
        read: returns exactly this number of bytes, and fewer only at the end.

    Raises:
        BadFrame: the frame is masked, too large, or incomplete.
    """
    head = read(2)
    if len(head) < 2:
        return None
    first, size = head
    if size & _MASKED:
        raise BadFrame("the server masks a WebSocket frame")
    if size == 126:
        size = struct.unpack("!H", _exactly(read, 2))[0]
    elif size == 127:
        size = struct.unpack("!Q", _exactly(read, 8))[0]
    if size > LARGEST:
        raise BadFrame(f"a WebSocket frame has {size} bytes; at most {LARGEST} are allowed")
    return first & 0x0F, _exactly(read, size)


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = read(size)
    if len(data) < size:
        raise BadFrame("the connection ended within a WebSocket frame")
    return data


def _xor(data: bytes, key: bytes) -> bytes:
    # One operation on large integers is faster than a loop over bytes.
    size = len(data)
    repeated = (key * (size // 4 + 1))[:size]
    mixed = int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")
    return mixed.to_bytes(size, "little")
