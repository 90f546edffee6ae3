"""The HTTP server in front of the application: cheroot, which streams requests and responses.

Its threads only get connections with a complete head, see :mod:`..api.heads`. Probes have their own
threads, so that a session stays ready when its requests occupy all others. Requests without the
session's token keep no thread: their bodies are not read, and their connections are closed.
"""

import contextlib
import queue
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from cheroot import wsgi
from cheroot.makefile import MakeFile, StreamReader
from cheroot.server import HTTPConnection, HTTPRequest

from nanogrid.addresses import client_key
from nanogrid.listening import all_addresses
from nanogrid.refusals import too_many_connections
from nanogrid_executor.log import warn, write
from nanogrid_executor.session.api.app import HEALTH
from nanogrid_executor.session.api.heads import HEAD_BYTES, HEAD_SECONDS, HeadReader, refuse
from nanogrid_executor.session.request_gate import WAITING

# Every waiting request occupies a thread; this many more answer all other requests immediately.
THREADS: Final = WAITING + 16
PROBE_THREADS: Final = 2
PROBES: Final = 64  # that wait for such a thread
PROBE_LINES: Final = tuple(
    f"{method} {HEALTH}{end}".encode() for method in ("GET", "HEAD") for end in (" ", "?")
)
CONNECTIONS: Final = 512  # with a complete head
CONNECTIONS_PER_ADDRESS: Final = 256  # as many as a router opens to one pod
UNREAD_BYTES: Final = 64 * 1024
SOCKET_SECONDS: Final = 30
STOP_SECONDS: Final = 2
ERROR: Final = 40  # a level of the library, which has those of logging


class _Reader(StreamReader):
    """A reader whose buffer can be filled from outside."""

    _read_buf: bytes
    _read_pos: int

    def take_buffered(self) -> bytes:
        """The buffered bytes, which the reader then has no more."""
        data = self._read_buf[self._read_pos :]
        self._read_buf, self._read_pos = b"", 0
        return data

    def put_buffered(self, data: bytes) -> None:
        """Bytes to read before those of the socket."""
        self._read_buf, self._read_pos = data, 0


def _make_file(sock: socket.socket, mode: str, size: int) -> Any:
    return _Reader(sock, mode, size) if "r" in mode else MakeFile(sock, mode, size)


class _Request(HTTPRequest):
    """Closes the connection if the body was not read, instead of reading it to its end.

    Otherwise the server would read the body of a refused request, of any length, into memory. And
    it would take the rest of a chunked body for the next request.
    """

    def send_headers(self) -> None:
        if (b"Connection", b"close") in self.outheaders:
            self.close_connection = True
        remaining = getattr(self.rfile, "remaining", 0)
        if self.chunked_read or remaining > UNREAD_BYTES:
            self.close_connection = True
        self.conn.has_unread = self.close_connection and (self.chunked_read or remaining > 0)
        super().send_headers()


class _Connection(HTTPConnection):
    RequestHandlerClass = _Request
    has_unread = False  # the client may still send the body of its last request
    admitted: str | None = None  # by which address it is counted

    def __init__(self, server: "HttpServer", sock: socket.socket, makefile: Any = None) -> None:
        super().__init__(server, sock, _make_file)

    def take_buffered(self) -> bytes:
        """The bytes that were received and not read yet."""
        data: bytes = self.rfile.take_buffered()
        return data

    def put_buffered(self, data: bytes) -> None:
        """Bytes to read before those of the socket."""
        self.socket.settimeout(self.server.timeout)
        self.rfile.put_buffered(data)

    def close(self) -> None:
        """Close, after what the client still sends."""
        if self.has_unread:
            self.has_unread = False
            self.server.heads.linger(self)
        else:
            self.finish()

    def finish(self) -> None:
        """Close."""
        self.server.dismiss(self)
        super().close()


class HttpServer(wsgi.Server):
    """Serves an application; ``stop()`` ends it."""

    ConnectionClass = _Connection

    def __init__(self, address: tuple[str, int], app: Callable[..., Any], head: float) -> None:
        super().__init__(
            address,
            app,
            numthreads=THREADS,
            server_name="nanogrid-session",
            request_queue_size=512,
            timeout=SOCKET_SECONDS,
            shutdown_timeout=STOP_SECONDS,
        )
        self.max_request_header_size = HEAD_BYTES
        self.heads = HeadReader(self._dispatch, head)
        self._probes: queue.Queue[_Connection | None] = queue.Queue(PROBES)
        self._admitted: Counter[str] = Counter()
        self._lock = threading.Lock()

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """A message of the library, perhaps about the error that is being handled."""
        error = sys.exc_info()[1] if traceback else None
        write("WARNING" if level < ERROR else "ERROR", msg, {}, logger="cheroot", error=error)

    def prepare(self) -> None:
        """Listen, and start all threads."""
        super().prepare()
        self.heads.start()
        for number in range(PROBE_THREADS):
            threading.Thread(target=self._serve_probes, name=f"probe-{number}", daemon=True).start()

    def serve_app(self, app: Callable[..., Any]) -> None:
        """Serve another application from the next request on."""
        self.wsgi_app = app

    def stop(self) -> None:
        """End the server: running requests have some seconds."""
        self.heads.stop()
        super().stop()
        for _ in range(PROBE_THREADS):
            self._probes.put(None)

    def process_conn(self, conn: _Connection) -> None:
        """A connection is new, or its next request begins."""
        self.heads.add(conn)

    def dismiss(self, conn: _Connection) -> None:
        """Count a connection no longer."""
        with self._lock:
            if conn.admitted is not None:
                self._admitted[conn.admitted] -= 1
                conn.admitted = None

    def _dispatch(self, conn: _Connection, first_line: bytes) -> None:
        """Let a thread serve a connection with a complete head."""
        if first_line.startswith(PROBE_LINES):
            with contextlib.suppress(queue.Full):  # then it is a request like others
                self._probes.put_nowait(conn)
                return
        if self._admit(conn):
            self.requests.put(conn)
        else:
            refuse(conn, too_many_connections(CONNECTIONS_PER_ADDRESS))

    def _admit(self, conn: _Connection) -> bool:
        address = client_key(conn.remote_addr or "")
        with self._lock:
            if conn.admitted is None:
                full = self._admitted.total() >= CONNECTIONS
                if full or self._admitted[address] >= CONNECTIONS_PER_ADDRESS:
                    return False
                self._admitted[address] += 1
                conn.admitted = address
        return True

    def _serve_probes(self) -> None:
        while (conn := self._probes.get()) is not None:
            keep = False
            try:
                keep = conn.communicate()  # type: ignore[no-untyped-call]
            except OSError as error:  # the client has gone
                warn("probe-not-answered", error=error)
            if keep:
                self.put_conn(conn)
            else:
                conn.close()


def make_server(app: Callable[..., Any], port: int, head: float = HEAD_SECONDS) -> HttpServer:
    """A server on all addresses of the pod; does not serve yet.

    Args:
        app: the application.
        port: where it will listen.
        head: seconds for the head of a request.
    """
    return HttpServer((all_addresses(), port), app, head)


def start_server(app: Callable[..., Any], port: int) -> HttpServer:
    """Listen on ``port`` and serve an application from a thread.

    Raises:
        OSError: the port is in use.
    """
    server = make_server(app, port)
    server.prepare()
    threading.Thread(target=server.serve, name="http", daemon=True).start()
    return server
