"""A session's ``/health`` while its inputs are being copied: 503, and how far that is.

Standard library only: the init container has no use for the API's packages.
"""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Final

from nanogrid_executor.fetch import Progress
from nanogrid_executor.log import log

UNAVAILABLE: Final = 503
SOCKET_SECONDS: Final = 10.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind, without asking DNS for our own name as ``HTTPServer`` does: that can take long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "", self.server_address[1]


Look = Callable[[], Progress | None]


class ProgressServer:
    """Serves until the process ends, which frees the port."""

    def __init__(self, session_id: str, look: Look) -> None:
        self._session_id = session_id
        self._look = look
        self._started = time.monotonic()
        self._server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        """The port that it has; 0 when it has none."""
        return self._server.server_port if self._server is not None else 0

    def start(self, port: int) -> None:
        """Serve in the background; a port that cannot be had is logged, for inputs matter more."""
        try:
            self._server = _Server(("", port), self._handler())
        except OSError as error:
            log("progress-not-served", port=port, error=error)
            return
        threading.Thread(target=self._server.serve_forever, name="progress", daemon=True).start()

    def stop(self) -> None:
        """Free the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def body(self) -> dict[str, object]:
        """The answer's JSON."""
        seen = self._look()
        millis = int((time.monotonic() - self._started) * 1000)
        sync = {
            "files": seen.files if seen else 0,
            "bytes": seen.bytes if seen else 0,
            "totalFiles": seen.expected_files if seen else 0,
            "totalBytes": seen.expected_bytes if seen else 0,
            "durationMillis": millis,
        }
        return {"status": "initializing", "session_id": self._session_id, "sync": sync}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        body = self.body

        class Handler(BaseHTTPRequestHandler):
            timeout = SOCKET_SECONDS

            def do_GET(self) -> None:
                data = json.dumps(body()).encode()
                self.send_response(UNAVAILABLE)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Retry-After", "1")
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PUT = do_DELETE = do_GET  # nothing else is served before the inputs are

            def log_message(self, format: str, *args: object) -> None:
                """Requests are not logged: probes come every second."""

        return Handler
