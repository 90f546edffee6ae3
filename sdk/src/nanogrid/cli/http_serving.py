"""Small HTTP servers of this machine, which run in a thread and log nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Final, TypeVar

Server = TypeVar("Server", bound=HTTPServer)

POLL_SECONDS: Final = 0.02  # how long the end of the block waits at most


class QuietHandler(BaseHTTPRequestHandler):
    """Logs no requests: stderr belongs to the user."""

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve requests until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
