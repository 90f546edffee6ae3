"""One POST over HTTP/1.1 without TLS. Standard library only.

``http.client`` imports ``ssl`` and ``email``: a fifth of the CPU time of an agent, for a request
whose answer is one status. For ``https`` the agent uses ``http.client``.
"""

import socket
import time
from collections.abc import Mapping
from typing import Final

STATUS_BYTES: Final = 1024  # more than any status line has
READ_BYTES: Final = 512


def post(
    address: tuple[str, int],
    authority: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    seconds: float,
) -> int:
    """Send a request and return the status of its answer.

    Args:
        address: host and port of the server.
        authority: value of the ``Host`` header.
        path: of the resource.
        body: the content.
        headers: further headers.
        seconds: for the whole request.

    Raises:
        OSError: there is no answer in time, or it is not one of HTTP.
        ValueError: a header has a line end.
    """
    fields = {
        "Host": authority,
        "Content-Length": str(len(body)),
        "Connection": "close",
        **headers,
    }
    if not all(text.isprintable() for item in fields.items() for text in item):
        raise ValueError("a header has characters that cannot be printed")
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    head = "".join(f"{line}\r\n" for line in (*lines, ""))
    until = time.monotonic() + seconds
    with connect(address, seconds) as sock:
        sock.sendall(head.encode("ascii") + body)
        return _status(_first_line(sock, until))


def connect(address: tuple[str, int], seconds: float) -> socket.socket:
    """A TCP connection; the host is ASCII.

    Raises:
        OSError: there is none within some seconds for each address of the host.
    """
    host, port = address
    # As bytes: for text, the look-up imports the tables of international names.
    return socket.create_connection((host.encode("ascii"), port), seconds)  # type: ignore[arg-type]


def _first_line(sock: socket.socket, until: float) -> bytes:
    data = b""
    while b"\n" not in data:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        sock.settimeout(left)
        part = sock.recv(READ_BYTES)
        if not part:
            raise ConnectionError("the server closed the connection without an answer")
        data += part
        if len(data) > STATUS_BYTES and b"\n" not in data:
            break
    return data.partition(b"\n")[0]


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if not version.startswith(b"HTTP/1.") or len(code) != 3 or not code.isdigit():
        raise ConnectionError(f"the answer is not HTTP: {line[:40]!r}")
    return int(code)
