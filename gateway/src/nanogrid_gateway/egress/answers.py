"""What the proxy answers. Many clients show only the status line, so it has the reason. Pure."""

from typing import Final

from nanogrid_gateway.metrics import EgressRefusal

ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
REALM: Final = 'Basic realm="nanogrid egress proxy"'

_HEADERS: Final = {
    405: "Allow: CONNECT",
    407: f"Proxy-Authenticate: {REALM}",
    429: "Retry-After: 1",
}


class Refused(Exception):
    """The request gets an answer, and no tunnel.

    Args:
        status: of HTTP.
        reason: short and constant, without any text of the client.
        kind: for metrics.
    """

    def __init__(self, status: int, reason: str, kind: EgressRefusal) -> None:
        super().__init__(reason)
        self.status = status
        self.kind = kind
        self.reason = reason


def answer(refused: Refused) -> bytes:
    """A whole HTTP answer, after which the connection ends."""
    data = f"{refused.reason}.\n".encode()
    more = _HEADERS.get(refused.status)
    lines = [
        f"HTTP/1.1 {refused.status} {refused.reason}",
        "Connection: close",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(data)}",
        *([more] if more else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + data


def probe_answer(healthy: bool) -> bytes:
    """The answer of a probe."""
    status, text = ("200 OK", b"ok\n") if healthy else ("503 Draining", b"draining\n")
    lines = [f"HTTP/1.1 {status}", "Connection: close", f"Content-Length: {len(text)}"]
    return "\r\n".join([*lines, "", ""]).encode() + text
