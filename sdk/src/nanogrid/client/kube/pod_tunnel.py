"""Connections to a port of a pod, through the API server: its port-forward by WebSocket.

No program starts and no thread runs: a connection of the tunnel is a socket for http.client. It
costs one request to the API server, and needs the right to get and create ``pods/portforward``.
"""

import io
import threading
from typing import TYPE_CHECKING, Any, Final

import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from nanogrid.client.errors import ApiError, Unreachable, of_kube
from nanogrid.client.kube.cluster import CONNECT_SECONDS, READ_SECONDS, USER_AGENT, Cluster
from nanogrid.client.kube.paths import pods
from nanogrid.client.kube.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    accept_of,
    frame,
    new_key,
    read_frame,
)
from nanogrid.kube.conventions import refusal

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

PROTOCOL: Final = "v4.channel.k8s.io"
SWITCHING: Final = 101
PIECE_BYTES: Final = 1 << 15
IDLE_CONNECTIONS: Final = 8
# The first byte of a message is its channel. Each channel begins with the port in two bytes.
DATA, ERROR = b"\x00", b"\x01"
PORT_BYTES: Final = 2


class PodSocket:
    """One connection to a port of a pod, with the methods of a socket that http.client uses."""

    def __init__(self, answer: urllib3.BaseHTTPResponse) -> None:
        self._answer = answer  # owns the connection to the API server
        connection: Any = answer.connection
        self._socket = connection.sock
        # This buffer may already have what the server sent after its headers.
        self._input: io.BufferedReader = answer._original_response.fp  # type: ignore[attr-defined]
        self._received = b""
        self._channel = DATA
        self._begun: set[bytes] = set()
        self._readers = 0
        self._closing = False

    def settimeout(self, seconds: float | None) -> None:
        """Limit each operation."""
        self._socket.settimeout(seconds)

    def fileno(self) -> int:
        """The descriptor, to wait for data."""
        return int(self._socket.fileno())

    def sendall(self, data: "ReadableBuffer") -> None:
        """Send bytes."""
        view = memoryview(data).cast("B")
        for begin in range(0, len(view), PIECE_BYTES):
            piece = DATA + view[begin : begin + PIECE_BYTES]
            self._socket.sendall(frame(BINARY, piece))

    def makefile(self, mode: str = "rb", *_: Any, **__: Any) -> io.BufferedReader:
        """What arrives, as a file."""
        self._readers += 1
        return io.BufferedReader(_Received(self), PIECE_BYTES)

    def receive(self, size: int) -> bytes:
        """At most ``size`` bytes; none at the end.

        Raises:
            OSError: the port of the pod cannot be reached, or the connection broke.
        """
        while not self._received:
            found = read_frame(self._input.read)
            if found is None or found[0] == CLOSE:
                return b""
            self._take(*found)
        data, self._received = self._received[:size], self._received[size:]
        return data

    def close(self) -> None:
        """Close the connection, when its last file is closed.

        http.client closes the socket of an answer with ``Connection: close`` before its body is
        read.
        """
        self._closing = True
        self._close_unused()

    def release(self) -> None:
        """A file of this socket is closed."""
        self._readers -= 1
        self._close_unused()

    def _close_unused(self) -> None:
        if self._closing and self._readers == 0:
            self._answer.close()

    def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._socket.sendall(frame(PONG, payload))
        if opcode not in (BINARY, CONTINUATION):
            return
        if opcode == BINARY:
            self._channel, payload = payload[:1], payload[1:]
            if self._channel not in self._begun:
                self._begun.add(self._channel)
                payload = payload[PORT_BYTES:]
        if self._channel == DATA:
            self._received += payload
        elif self._channel == ERROR and payload:
            raise ConnectionError(payload.decode(errors="replace").strip())


class _Received(io.RawIOBase):
    """The received bytes of a socket as a raw file. Its end does not close the socket."""

    def __init__(self, source: PodSocket) -> None:
        self._source = source

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill the buffer with what has arrived; 0 at the end."""
        view = memoryview(buffer).cast("B")
        data = self._source.receive(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Let the socket close, if it waits for this file."""
        if not self.closed:
            self._source.release()
        super().close()


class PodTunnel:
    """HTTP to one port of a pod. Safe for threads; close its pool after use.

    Attributes:
        pool: of HTTP connections through the tunnel.
    """

    def __init__(self, cluster: Cluster, namespace: str, pod: str, port: int) -> None:
        """Open the first connection.

        Raises:
            NotFound: the pod does not exist.
            Forbidden: the user may not forward ports of pods here.
            ApiError: the API server refuses the request for another reason.
        """
        self._cluster = cluster
        self._path = f"{pods(namespace)}/{pod}/portforward?ports={port}"
        self._lock = threading.Lock()
        self._first: PodSocket | None = self._open()
        tunnel = self

        class Connection(HTTPConnection):
            def connect(self) -> None:
                self.sock = tunnel._connect()

        self.pool = urllib3.HTTPConnectionPool("localhost", port, maxsize=IDLE_CONNECTIONS)
        self.pool.ConnectionCls = Connection

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            first, self._first = self._first, None
        if first is not None:
            first.close()
        self.pool.close()

    def _connect(self) -> PodSocket:
        with self._lock:
            first, self._first = self._first, None
        if first is not None:
            return first
        try:
            return self._open()
        except ApiError as e:
            # It is not an answer to the request that needs this connection.
            raise Unreachable(0, e.reason, e.message, e.hint) from e

    def _open(self) -> PodSocket:
        key, connection = new_key(), self._cluster.connection
        headers = {
            "User-Agent": USER_AGENT,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": key,
            "Sec-WebSocket-Protocol": PROTOCOL,
        }
        try:
            answer = connection.pool.request(
                "GET",
                connection.host + self._path,
                headers=headers | connection.auth_headers(),
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
                retries=False,
                preload_content=False,
            )
            if answer.status != SWITCHING:
                body = answer.read()
                answer.release_conn()
                raise of_kube(refusal(answer.status, body, answer.headers))
        except (HTTPError, OSError) as e:
            message = f"{connection.host} does not answer: {e}."
            raise Unreachable(0, type(e).__name__, message) from e
        if answer.headers.get("Sec-WebSocket-Accept") != accept_of(key):
            answer.close()
            raise ApiError(SWITCHING, "BadUpgrade", "the answer to the upgrade is for another key.")
        return PodSocket(answer)
