"""The HTTP server in front of the application: cheroot, which streams requests and answers."""

import socket
from collections.abc import Callable
from typing import Any, Final

from cheroot import wsgi
from cheroot.server import HTTPConnection, HTTPRequest

from nanogrid_executor.session.core import WAITING

# Every request that waits has a thread of its own; these many more always answer at once.
THREADS: Final = WAITING + 16
UNREAD_BYTES: Final = 64 * 1024
SOCKET_SECONDS: Final = 30
STOP_SECONDS: Final = 2
HEADER_BYTES: Final = 64 * 1024


class _Request(HTTPRequest):
    """Closes the connection under a body that nobody read, rather than reading it to its end.

    Otherwise a refused request of any length would be read into memory, and the rest of a chunked
    one would be taken for the next request.
    """

    def send_headers(self) -> None:
        if self.chunked_read or getattr(self.rfile, "remaining", 0) > UNREAD_BYTES:
            self.close_connection = True
        super().send_headers()


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request


class _Server(wsgi.Server):
    ConnectionClass = _Connection


def make_server(app: Callable[..., Any], port: int) -> wsgi.Server:
    """A server on all addresses of the pod that has its threads, and serves when it is told to."""
    host = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 the router is elsewhere
    server = _Server(
        (host, port),
        app,
        numthreads=THREADS,
        server_name="nanogrid-session",
        request_queue_size=128,
        timeout=SOCKET_SECONDS,
        shutdown_timeout=STOP_SECONDS,
    )
    server.max_request_header_size = HEADER_BYTES
    return server
