"""Answers a session's ``/health`` while its inputs are being copied: 503, with the progress.

Standard library only: the init container does not need the packages of the API. Callers have no
token, so the answer does not tell the session's id; a request for another session is refused. Only
the router asks here, and a session does not need the answer. So there are few threads, and each has
little time for its client.
"""

import json
import socket
import threading
import time
from collections.abc import Callable
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit

from nanogrid.listening import all_addresses
from nanogrid_executor.inputs.fetch import Progress
from nanogrid_executor.log import warn

CLIENTS: Final = 16  # at a time; others are closed
CLIENT_SECONDS: Final = 2.0
STOP_SECONDS: Final = 0.5  # how long the end of the server takes at most
REQUEST_BYTES: Final = 8192


def initializing(progress: Progress | None, millis: int) -> dict[str, object]:
    """The JSON of ``/health`` while inputs are being copied, since so many milliseconds."""
    sync = {
        "files": progress.files if progress else 0,
        "bytes": progress.bytes if progress else 0,
        "totalFiles": progress.expected_files if progress else 0,
        "totalBytes": progress.expected_bytes if progress else 0,
        "durationMillis": millis,
    }
    return {"status": "initializing", "sync": sync}


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, handler: type[BaseRequestHandler]) -> None:
        host = all_addresses()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)
        self._free = threading.BoundedSemaphore(CLIENTS)

    def server_bind(self) -> None:
        """Bind for IPv4 too, if this is a socket of IPv6."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: object, client_address: object) -> None:
        """Serve a client from a thread of its own, if one is free."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)  # type: ignore[arg-type]
        else:
            self.shutdown_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Serve a client, then free its thread."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are not logged."""


Look = Callable[[], Progress | None]


class ProgressServer:
    """Serves until the process ends, which frees the port."""

    def __init__(
        self,
        session_id: str,
        look: Look,
        *,
        client_seconds: float = CLIENT_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._session_id = session_id
        self._look = look
        self._client_seconds = client_seconds
        self._stop_seconds = stop_seconds
        self._started = time.monotonic()
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The bound port, or 0."""
        return int(self._server.server_address[1]) if self._server is not None else 0

    def start(self, port: int) -> None:
        """Serve in the background. A port in use is only logged, because the inputs matter more."""
        try:
            self._server = _Server(port, self._handler())
        except OSError as error:
            warn("progress-not-served", port=port, error=error)
            return
        threading.Thread(
            target=self._server.serve_forever,
            args=(self._stop_seconds,),
            name="progress",
            daemon=True,
        ).start()

    def stop(self) -> None:
        """Free the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def body(self) -> dict[str, object]:
        """The JSON of the answer."""
        return initializing(self._look(), int((time.monotonic() - self._started) * 1000))

    def answer(self, request: bytes) -> bytes:
        """The HTTP answer to a request: the same for all paths and methods."""
        target = [*request.split(b" ", 2), b"", b""][1].decode("ascii", "replace")
        meant = parse_qs(urlsplit(target).query).get("session_id", [self._session_id])
        if meant == [self._session_id]:
            status, body = "503 Service Unavailable", self.body()
        else:
            message = "This is another session."
            status, body = "409 Conflict", {"error": {"reason": "WrongSession", "message": message}}
        data = json.dumps(body).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        return f"{head}Content-Length: {len(data)}\r\nRetry-After: 1\r\n\r\n".encode() + data

    def _handler(self) -> type[BaseRequestHandler]:
        answer, seconds = self.answer, self._client_seconds

        class Handler(BaseRequestHandler):
            request: socket.socket

            def handle(self) -> None:
                """The first bytes of a request have all that matters."""
                self.request.settimeout(seconds)
                self.request.sendall(answer(self.request.recv(REQUEST_BYTES)))

        return Handler
