"""Port-forward by WebSocket, as API server and kubelet answer it: to ports of this machine."""

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Final

GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PROTOCOL: Final = "v4.channel.k8s.io"


@dataclass
class ForwardedPods:
    """The ports behind pods, and faults of the forwarding."""

    ports: dict[str, int] = field(default_factory=dict)  # pod to a port of this machine
    opened: list[str] = field(default_factory=list)  # paths
    piece: int = 1 << 15  # bytes of a frame to the client
    pings: bool = False  # a ping before each frame
    cut_after: int | None = None  # bytes to the client; then the connection ends, once


def frame(opcode: int, payload: bytes) -> bytes:
    """A frame of a server, without a mask."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def read_frame(read: Callable[[int], bytes]) -> tuple[int, bytes] | None:
    """A frame of a client, which has a mask; None at the end."""
    head = read(2)
    if len(head) < 2:
        return None
    size = head[1] & 0x7F
    assert head[1] & 0x80, "a client masks its frames"
    if size == 126:
        size = struct.unpack("!H", read(2))[0]
    elif size == 127:
        size = struct.unpack("!Q", read(8))[0]
    mask, data = read(4), read(size)
    return head[0] & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))


def serve(handler: BaseHTTPRequestHandler, pods: ForwardedPods, pod: str, port: int) -> None:
    """Answer a request for a port-forward, and forward until one side ends."""
    pods.opened.append(handler.path)
    headers = handler.headers
    assert headers["Upgrade"] == "websocket"
    assert headers["Connection"] == "Upgrade"
    assert headers["Sec-WebSocket-Version"] == "13"
    assert PROTOCOL in headers["Sec-WebSocket-Protocol"]
    digest = hashlib.sha1((headers["Sec-WebSocket-Key"] + GUID).encode()).digest()
    number = struct.pack("<H", port)
    answer = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}\r\n"
        f"Sec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n"
    ).encode()
    # The channels begin in the same packet as the answer.
    handler.connection.sendall(answer + frame(2, b"\x00" + number) + frame(2, b"\x01" + number))
    handler.close_connection = True
    try:
        target = socket.create_connection(("127.0.0.1", pods.ports[pod]))
    except OSError as e:
        text = f"error forwarding port {port} to pod {pod}: {e}".encode()
        handler.connection.sendall(frame(2, b"\x01" + text) + frame(8, b""))
        return
    with target:
        back = threading.Thread(target=_back, args=(handler, pods, target), daemon=True)
        back.start()
        with contextlib.suppress(OSError):
            while (found := read_frame(handler.rfile.read)) is not None and found[0] != 8:
                if found[0] == 2:
                    assert found[1][:1] == b"\x00"
                    target.sendall(found[1][1:])
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
        back.join()


def _back(handler: BaseHTTPRequestHandler, pods: ForwardedPods, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := target.recv(pods.piece):
            if pods.cut_after is not None:
                data, pods.cut_after = data[: pods.cut_after], None
                handler.connection.sendall(frame(2, b"\x00" + data))
                break
            ping = frame(9, b"alive") if pods.pings else b""
            handler.connection.sendall(ping + frame(2, b"\x00" + data))
        handler.connection.sendall(frame(8, b""))
        handler.connection.shutdown(socket.SHUT_RDWR)
