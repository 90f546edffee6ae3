"""Reads the heads of requests before a thread of the server is used for them.

A thread that reads a head waits for its client. So a few hundred clients that send half a head, and
need no token for that, would occupy all threads. Here one thread reads the heads of all clients,
and the server gets a connection when its head is complete.

A head has a deadline and a size. When too many connections wait, the one that has waited longest is
closed: the newest client, such as a probe of the kubelet, always gets its turn.
"""

import contextlib
import os
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from nanogrid.addresses import client_key
from nanogrid.reasons import Reason
from nanogrid.refusals import Refusal, http_answer, too_many_connections, too_slow
from nanogrid_executor.log import warn

HEAD_BYTES: Final = 32 * 1024
HEAD_SECONDS: Final = 10.0
WAITING: Final = 256  # connections without a complete head
WAITING_PER_ADDRESS: Final = 128
LINGER_SECONDS: Final = 2.0
END: Final = b"\r\n\r\n"
READ_BYTES: Final = 16 * 1024
CHECK_SECONDS: Final = 0.5


class Client(Protocol):
    """A connection of the server."""

    socket: socket.socket
    remote_addr: str | None

    def take_buffered(self) -> bytes:
        """The bytes that were received and not read yet."""

    def put_buffered(self, data: bytes) -> None:
        """Let the server read these bytes first."""

    def finish(self) -> None:
        """Close the connection."""


@dataclass(slots=True, eq=False)
class _Waiting:
    client: Client
    address: str
    deadline: float
    head: bytearray = field(default_factory=bytearray)
    searched: int = 0  # bytes without the end of the head
    lingers: bool = False  # its request was answered; what it still sends is dropped


class HeadReader:
    """Reads the heads of connections in its own thread.

    Args:
        ready: gets each connection with a complete head, and the head's first line; it must not
            block.
        seconds: for a head.
        clock: seconds.
    """

    def __init__(
        self,
        ready: Callable[[Any, bytes], None],
        seconds: float = HEAD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ready = ready
        self._seconds, self._clock = seconds, clock
        self._new: deque[_Waiting] = deque()
        self._waiting: dict[_Waiting, None] = {}  # in the order of their arrival
        self._addresses: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heads", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Close all connections that wait."""
        self._stopped.set()
        self._notify()
        self._thread.join()

    def add(self, client: Client) -> None:
        """Read the next head of a connection."""
        self._put(client, self._seconds, lingers=False)

    def linger(self, client: Client) -> None:
        """Close an answered connection after what it still sends.

        Closing it with unread bytes would send a reset, which could arrive before the answer.
        """
        self._put(client, LINGER_SECONDS, lingers=True)

    def _put(self, client: Client, seconds: float, *, lingers: bool) -> None:
        if self._stopped.is_set():
            client.finish()
            return
        address = client_key(client.remote_addr or "")
        deadline = self._clock() + seconds
        self._new.append(_Waiting(client, address, deadline, lingers=lingers))
        self._notify()

    def _notify(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full of notifications
            os.write(self._wake, b"x")

    def _run(self) -> None:
        while not self._stopped.is_set():
            # Deadlines are checked this often while there are any.
            for key, _ in self._selector.select(CHECK_SECONDS if self._waiting else None):
                if key.data is None:
                    os.read(self._woken, READ_BYTES)
                elif key.data in self._waiting and (end := self._receive(key.data)):
                    self._remove(key.data)
                    end()
            while self._new:
                self._begin(self._new.popleft())
            self._expire()
        for waiting in [*self._waiting, *self._new]:
            waiting.client.finish()
        self._selector.close()
        os.close(self._woken)

    def _begin(self, waiting: _Waiting) -> None:
        client = waiting.client
        client.socket.settimeout(0)
        if waiting.lingers:
            with contextlib.suppress(OSError):  # the client has gone; reading shows it
                client.socket.shutdown(socket.SHUT_WR)
        else:
            waiting.head += client.take_buffered()
        # A client whose head has arrived needs no room.
        if end := self._receive(waiting):
            end()
            return
        self._make_room(waiting.address)
        self._waiting[waiting] = None
        self._addresses[waiting.address] += 1
        self._selector.register(client.socket, selectors.EVENT_READ, waiting)

    def _make_room(self, address: str) -> None:
        own = self._addresses[address] >= WAITING_PER_ADDRESS
        if not own and len(self._waiting) < WAITING:
            return
        if not own:
            address = self._addresses.most_common(1)[0][0]
        oldest = next(w for w in self._waiting if w.address == address)
        self._remove(oldest)
        refuse(oldest.client, too_many_connections(WAITING_PER_ADDRESS if own else WAITING))

    def _receive(self, waiting: _Waiting) -> Callable[[], None] | None:
        """Read what has arrived; how the waiting ends, or None if it goes on."""
        searched = max(0, waiting.searched - len(END))
        try:
            data = waiting.client.socket.recv(READ_BYTES)
        except BlockingIOError:
            data = b""
        except OSError:  # the client has gone
            return waiting.client.finish
        else:
            if not data:
                return waiting.client.finish
        if waiting.lingers:
            return None
        waiting.head += data
        waiting.searched = len(waiting.head)
        if waiting.head.find(END, searched) >= 0:
            return lambda: self._complete(waiting)
        if len(waiting.head) > HEAD_BYTES:
            message = f"The head of the request has more than {HEAD_BYTES} bytes. Send less."
            return lambda: refuse(waiting.client, Refusal(431, message))
        return None

    def _complete(self, waiting: _Waiting) -> None:
        waiting.client.put_buffered(bytes(waiting.head))
        self._ready(waiting.client, bytes(waiting.head.lstrip().partition(b"\r\n")[0]))

    def _expire(self) -> None:
        now = self._clock()
        for waiting in [w for w in self._waiting if w.deadline <= now]:
            self._remove(waiting)
            if waiting.lingers or not waiting.head:
                waiting.client.finish()
            else:
                refuse(waiting.client, too_slow(self._seconds))

    def _remove(self, waiting: _Waiting) -> None:
        self._selector.unregister(waiting.client.socket)
        del self._waiting[waiting]
        self._addresses[waiting.address] -= 1
        if not self._addresses[waiting.address]:
            del self._addresses[waiting.address]


def refuse(client: Client, refusal: Refusal) -> None:
    """Answer without waiting for the client, and close the connection."""
    reason = Reason.RATE_LIMITED if refusal.status == 429 else Reason.BAD_REQUEST
    body = {"error": {"reason": reason.value, "message": refusal.message}}
    try:
        client.socket.send(http_answer(refusal, body), socket.MSG_DONTWAIT)
    except OSError as error:  # the client has gone
        warn("refusal-not-sent", status=refusal.status, error=error)
    client.finish()
