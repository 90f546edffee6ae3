"""The connection to one launcher: who waits for which execution gets its messages."""

import json
import os
import socket
import struct
import threading
from collections import deque
from typing import Any, Final

from nanogrid_executor import frames
from nanogrid_executor import session_frames as wire
from nanogrid_executor.session.port import ContextInfo

HELLO_SECONDS: Final = 10.0
SEND_SECONDS: Final = 60
# Of one execution, taken from the socket and not yet by who runs it. Beyond it the launcher waits,
# and the code's own output with it.
PENDING_BYTES: Final = 4 * 1024 * 1024


class Call:
    """The messages of one execution on their way from the reading thread to the running one."""

    def __init__(self) -> None:
        self._messages: deque[tuple[bytes, bytes]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._lost = False
        self._abandoned = False

    def put(self, kind: bytes, payload: bytes) -> None:
        """Add one; waits while there are too many."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes <= PENDING_BYTES or self._abandoned)
            if not self._abandoned:
                self._messages.append((kind, payload))
                self._bytes += len(payload)
                self._changed.notify_all()

    def take(self, seconds: float) -> tuple[bytes, bytes] | None:
        """The next one; None when the launcher has gone.

        Raises:
            TimeoutError: none came in time.
        """
        with self._changed:
            there = self._changed.wait_for(lambda: self._messages or self._lost, seconds)
            if not there:
                raise TimeoutError(f"the launcher said nothing for {seconds:g} s")
            if not self._messages:
                return None
            kind, payload = self._messages.popleft()
            self._bytes -= len(payload)
            self._changed.notify_all()
            return kind, payload

    def lose(self) -> None:
        """No more will come."""
        with self._changed:
            self._lost = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Nobody takes them any more."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()


class Link:
    """One launcher. :meth:`read` belongs to one thread, everything else to any."""

    def __init__(self, sock: socket.socket, cwd: str, lock: str) -> None:
        """Tell the launcher that this is a session, and wait until it is ready.

        Raises:
            OSError, ProtocolError: it was not, within ``HELLO_SECONDS``.
        """
        self.process: int | None = None  # a pidfd of the launcher
        self._sock = sock
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._calls: dict[int, Call] = {}
        self._lost = False
        self._contexts: list[ContextInfo] = []
        sock.settimeout(HELLO_SECONDS)
        try:
            frames.send_json(sock, frames.SESSION, {"cwd": cwd, "lock": lock})
            self._hear_hello()
        except (OSError, frames.ProtocolError):
            self.close()
            raise
        sock.settimeout(None)
        timeval = struct.pack("ll", SEND_SECONDS, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        self._receiver = wire.Receiver(sock)

    def _hear_hello(self) -> None:
        header, fds, _, _ = socket.recv_fds(self._sock, frames.HEADER.size, 1)
        for fd in fds:
            os.set_inheritable(fd, False)
            self.process = fd
        if len(header) < frames.HEADER.size:
            raise frames.ProtocolError("the launcher did not say that it is ready")
        kind, length = frames.HEADER.unpack(header)
        while length > 0:
            part = self._sock.recv(length)
            if not part:
                raise frames.ProtocolError("the connection ended inside a frame")
            length -= len(part)
        if kind != wire.READY:
            raise frames.ProtocolError(f"unexpected frame {kind!r} instead of READY")

    def read(self) -> None:
        """Hand out messages until the launcher goes; then every execution is told."""
        try:
            while (message := self._receiver.take()) is not None:
                self._hand_out(*message)
        finally:
            with self._changed:
                self._lost = True
                self._contexts = []
                calls = list(self._calls.values())
                self._changed.notify_all()
            for call in calls:
                call.lose()

    def _hand_out(self, kind: bytes, number: int, payload: bytes) -> None:
        if kind == wire.PART:
            return
        if kind == wire.CONTEXTS:
            listed = [_context(entry) for entry in json.loads(payload)]
            with self._changed:
                self._contexts = listed
                self._changed.notify_all()
            return
        with self._changed:
            call = self._calls.get(number)
        if call is not None:  # else: whoever ran it has given up
            call.put(kind, payload)

    def begin(self, number: int) -> Call:
        """Whoever calls this gets the messages of that execution until :meth:`end`.

        Raises:
            ValueError: an execution of that number runs.
            ConnectionError: the launcher has gone.
        """
        with self._changed:
            if number in self._calls:
                raise ValueError(f"execution {number} runs already")
            if self._lost:
                raise ConnectionError("the launcher has gone")
            call = self._calls[number] = Call()
        return call

    def end(self, number: int) -> None:
        """No more messages of that execution are wanted."""
        with self._changed:
            call = self._calls.pop(number, None)
        if call is not None:
            call.abandon()

    def runs(self, number: int) -> bool:
        """Whether somebody waits for that execution."""
        with self._changed:
            return number in self._calls

    def send(self, kind: bytes, number: int, value: Any = None) -> None:
        """Send one message; ``value`` is its JSON.

        Raises:
            OSError: the launcher has gone, or does not listen.
            ValueError: it is too long.
        """
        payload = b"" if value is None else json.dumps(value).encode()
        with self._sending:
            wire.send(self._sock, kind, number, payload)

    def contexts(self) -> list[ContextInfo]:
        """The contexts as the launcher told of them last."""
        with self._changed:
            return list(self._contexts)

    def wait_without(self, name: str, seconds: float) -> bool:
        """Wait until there is no context of that name; False when there still is."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(context.name != name for context in self._contexts), seconds
            )

    def hang_up(self) -> None:
        """End the connection: the reading thread sees it, and so does the launcher."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the launcher did so before

    def close(self) -> None:
        """Close what is open; when nobody reads any more."""
        self._sock.close()
        if self.process is not None:
            os.close(self.process)
            self.process = None


def _context(entry: dict[str, Any]) -> ContextInfo:
    return ContextInfo(
        name=entry["name"],
        executions=entry["executions"],
        busy=entry["busy"],
        age_seconds=entry["ageSeconds"],
        memory_bytes=entry["memoryBytes"],
    )
