"""Serves ``/metrics`` to Prometheus, in threads of its own.

The event loop of a process does not take part: it neither waits for a rendering nor does a busy
loop delay an answer. Connections, their time and the part of the time that renderings take have
bounds, so slow or many clients cost little: by default all pods but sandboxes reach the port.
"""

import gzip
import logging
import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from nanogrid.listening import listen_on_all
from nanogrid.settings import SettingsError

log = logging.getLogger("nanogrid.metrics")

ENV: Final = "NANOGRID_METRICS_PORT"
PORT: Final = 9464  # of the chart
PATH: Final = "/metrics"
CONNECTIONS: Final = 16  # at the same time; a further one is closed
CONNECTION_SECONDS: Final = 10.0  # as long as Prometheus waits by default
BACKLOG: Final = 16
RENDERING_SHARE: Final = 0.1  # of the time; a rendering takes turns with the event loop


@contextmanager
def serving_metrics(registry: CollectorRegistry, port: int) -> Iterator[None]:
    """Serve the metrics of a registry on all addresses; port 0 serves nothing.

    Enter it outside the event loop: the end waits for the server's thread, up to 0.5 s.

    Raises:
        SettingsError: the port cannot be used.
    """
    if not port:
        yield
        return
    try:
        listener = listen_on_all(port, BACKLOG)
    except OSError as e:
        why = os.strerror(e.errno) if e.errno else str(e)
        raise SettingsError(
            f"{ENV} is {port}: cannot listen on it: {why}; choose a free port, or 0 for no metrics"
        ) from e
    server = _Server(registry, listener)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("metrics on port %d", port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One thread per connection, up to :data:`CONNECTIONS`."""

    daemon_threads = True

    def __init__(self, registry: CollectorRegistry, listener: socket.socket) -> None:
        address = listener.getsockname()
        self.address_family = listener.family
        super().__init__(address, _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.server_address = listener, address
        self._registry = registry
        self._rendering = threading.Lock()
        self._rendered: _Rendered | None = None
        self._next = 0.0  # when the next rendering may begin, of the monotonic clock
        self._lock = threading.Lock()
        self._until: dict[Any, float] = {}  # by connection, of the monotonic clock

    def render(self, accept: str, packed: bool) -> tuple[bytes, str]:
        """The metrics, perhaps packed with gzip, and their media type.

        One rendering at a time, of which all get the same who ask before it begins.
        """
        arrived = time.monotonic()
        encode, media_type = choose_encoder(accept)
        kind = media_type, packed
        with self._rendering:
            last = self._rendered
            if last is None or last.kind != kind or last.began < arrived:
                time.sleep(max(0.0, self._next - time.monotonic()))
                began = time.monotonic()
                body = encode(self._registry)
                if packed:
                    body = gzip.compress(body, compresslevel=1)
                self._rendered = last = _Rendered(kind, began, body)
                ended = time.monotonic()
                self._next = ended + (ended - began) * (1 / RENDERING_SHARE - 1)
            return last.body, media_type

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for another connection."""
        with self._lock:
            if len(self._until) >= CONNECTIONS:
                return False
            self._until[request] = time.monotonic() + CONNECTION_SECONDS
        return True

    def shutdown_request(self, request: Any) -> None:
        """The connection ends."""
        with self._lock:
            self._until.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End connections that take too long; called twice per second."""
        now = time.monotonic()
        with self._lock:
            for request, until in self._until.items():
                if now > until:
                    _interrupt(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is not worth a line; the library prints a traceback."""
        log.debug("a request for metrics failed", exc_info=True)


class _Rendered(NamedTuple):
    """A rendering; ``began`` is of the monotonic clock."""

    kind: tuple[str, bool]
    began: float
    body: bytes


def _interrupt(connection: socket.socket) -> None:
    """Make reads and writes of another thread end; that thread closes it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself


class _Handler(BaseHTTPRequestHandler):
    """Answers one request per connection."""

    server: _Server
    server_version = "nanogrid"
    sys_version = ""

    def do_GET(self) -> None:
        """The metrics, or 404."""
        if self.path.partition("?")[0] != PATH:
            self._answer(404, b"metrics are at /metrics\n", "text/plain; charset=utf-8")
            return
        packed = "gzip" in self.headers.get("Accept-Encoding", "")
        body, media_type = self.server.render(self.headers.get("Accept", ""), packed)
        self._answer(200, body, media_type, packed)

    def _answer(self, status: int, body: bytes, media_type: str, packed: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """No line per request."""
