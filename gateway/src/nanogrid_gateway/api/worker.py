"""gunicorn's worker with threads, bounded in how long a client may take to send and to receive.

gunicorn itself leaves slow clients to a proxy in front. Here a request's head has ``read_seconds``,
and its body as many again, and a second more for each ``BYTES_PER_SECOND`` that came: who only
pretends to send is answered 408. Clients that let us wait for more than a moment hold at most half
of the threads, and connections that end a quarter: there a thread waits for the client, where
gunicorn would let its only accepting thread do that. Who takes nothing of an answer for
``read_seconds`` is cut off.
"""

import errno
import json
import select
import socket
import struct
import threading
import time
from concurrent.futures import Future
from typing import Any, Final

from gunicorn import util
from gunicorn.http import get_parser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import TConn, ThreadWorker
from werkzeug.exceptions import RequestTimeout

from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError

BYTES_PER_SECOND: Final = 64 * 1024
GRACE_SECONDS: Final = 1.0  # of waiting, before a client counts as one that lets us wait
# What a refused client still sends is read and dropped for so long: a reset would reach it before
# the answer does.
LINGER_SECONDS: Final = 10.0
LINGER_BYTES: Final = 256 << 20
DEFER_SECONDS: Final = 10
CHUNK_BYTES: Final = 256 * 1024


class Reader(SocketUnreader):
    """A connection's bytes; each request of the connection has its own time.

    Args:
        sock: the connection, in blocking mode.
        seconds: for the head of a request, and beside its size for its body.
        waits: one permit for each thread that may wait for a client's bytes.
    """

    def __init__(
        self, sock: socket.socket, seconds: float, waits: threading.BoundedSemaphore
    ) -> None:
        super().__init__(sock)
        self._seconds = seconds
        self._waits = waits
        self._deadline = self._grace = 0.0

    def begin(self) -> None:
        """A request, or the body after its head, begins: its time begins anew."""
        self._deadline = time.monotonic() + self._seconds
        self._grace = GRACE_SECONDS

    def chunk(self, *size: Any) -> bytes:
        """The next bytes, empty at the connection's end.

        Raises:
            RequestTimeout: they came too slowly, or too many clients do the same.
        """
        if self.sock.gettimeout() is not None:
            return super().chunk(*size)  # gunicorn drops the rest of a body, with its own bound
        if not _readable(self.sock, 0):
            self._await()
        data = super().chunk(*size)
        more = self._deadline + len(data) / BYTES_PER_SECOND
        self._deadline = min(more, time.monotonic() + self._seconds)  # haste saves no time up
        return data

    def _await(self) -> None:
        started = time.monotonic()
        here = _readable(self.sock, self._grace)
        self._grace = max(0.0, self._grace - (time.monotonic() - started))
        if here:
            return
        if not self._waits.acquire(blocking=False):
            raise RequestTimeout("Too many clients send their requests slowly; try again.")
        try:
            if not _readable(self.sock, self._deadline - time.monotonic()):
                said = f"The request came more slowly than {BYTES_PER_SECOND} bytes a second"
                raise RequestTimeout(f"{said} after the first {self._seconds:g} s.")
        finally:
            self._waits.release()


class Worker(ThreadWorker):
    """Threads, of which slow clients cannot have all."""

    read_seconds: float  # of the settings, see ``worker_class``

    def init_process(self) -> None:
        """In the worker's own process, before its first request."""
        self._waits = threading.BoundedSemaphore(max(1, self.cfg.threads // 2))
        self._lingers = threading.BoundedSemaphore(max(1, self.cfg.threads // 4))
        for listener in self.sockets:
            # Who only connects has no thread: the kernel keeps it until there is something to read.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, DEFER_SECONDS)
            # Connections have it from their listener: a send that gets nowhere ends with EAGAIN.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval(self.read_seconds))
        super().init_process()

    def handle(self, conn: TConn) -> Any:
        """Serve a request; runs in a thread. What gunicorn answers says what becomes of conn."""
        if conn.parser is None:
            parser = get_parser(self.cfg, conn.sock, conn.client)
            parser.unreader = Reader(conn.sock, self.read_seconds, self._waits)
            conn.parser = parser
        _begin(conn)
        kept = super().handle(conn)
        if kept is False and self._lingers.acquire(blocking=False):
            try:
                linger(conn.sock)
            finally:
                self._lingers.release()
        return kept

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """The head is there; its body has a time of its own."""
        _begin(conn)
        return super().handle_request(req, conn)

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """The thread has done with it; runs in the accepting thread, which must not wait."""
        if fs.cancelled() or fs.exception() is not None or fs.result() is False:
            self.nr_conns -= 1
            conn.close()
        else:
            super().finish_request(conn, fs)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """No application heard of this request: its head was wrong, or did not come."""
        if isinstance(exc, RequestTimeout):
            self.log.debug("a request's head did not come: %s", exc.description)
            util.write_nonblock(client, _too_slow(exc.description or ""))
        else:
            super().handle_error(req, client, addr, exc)


def worker_class(read_seconds: float) -> type[Worker]:
    """A worker for gunicorn, which makes it itself and hands no settings but its own to it."""
    return type("Worker", (Worker,), {"read_seconds": read_seconds})


def timeval(seconds: float) -> bytes:
    """A struct timeval, as SO_SNDTIMEO takes it (socket(7))."""
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))


def linger(sock: socket.socket) -> None:
    """Say that nothing more comes, and drop what the client still sends, for a while."""
    deadline, dropped = time.monotonic() + LINGER_SECONDS, 0
    try:
        sock.shutdown(socket.SHUT_WR)
        while dropped < LINGER_BYTES and _readable(sock, deadline - time.monotonic()):
            data = sock.recv(CHUNK_BYTES)
            if not data:
                return
            dropped += len(data)
    except OSError as e:
        # The client has gone already.
        if e.errno not in (errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.EBADF):
            raise


def _too_slow(message: str) -> bytes:
    """The whole answer, in the shape that the application's errors have."""
    body = json.dumps(ApiError(408, Reason.BAD_REQUEST, message).body()).encode()
    head = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _begin(conn: TConn) -> None:
    reader = getattr(conn.parser, "unreader", None)
    if not isinstance(reader, Reader):
        raise TypeError(f"a connection is read by {reader!r}, without bounds")
    reader.begin()


def _readable(sock: socket.socket, seconds: float) -> bool:
    """Whether bytes, or the end, are there within so many seconds."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(1000 * max(0.0, seconds)))
