"""The connection to one launcher: passes each message to the thread that runs its execution."""

import json
import os
import socket
import struct
import threading
from collections import deque
from typing import Any, Final

from nanogrid_executor.launcher import frames, session_frames
from nanogrid_executor.session.launcher_messages import read_contexts, read_memory
from nanogrid_executor.session.sandbox_protocol import ContextInfo

READY_SECONDS: Final = 10.0
MAX_READY: Final = 1024  # bytes
SEND_SECONDS: Final = 60
# Of one execution, read from the socket but not yet taken. Above it the reading thread waits, so
# the launcher waits, and so does the code's own output.
PENDING_BYTES: Final = 4 * 1024 * 1024
MESSAGE_BYTES: Final = 64  # what an empty message counts


class MessageQueue:
    """The messages of one execution, from the reading thread to the thread that runs it."""

    def __init__(self, pending_bytes: int = PENDING_BYTES) -> None:
        self._pending_bytes = pending_bytes
        self._messages: deque[tuple[bytes, bytes]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._lost = False
        self._abandoned = False

    def put(self, kind: bytes, payload: bytes) -> None:
        """Add a message; waits while too many bytes are pending."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes <= self._pending_bytes or self._abandoned)
            if not self._abandoned:
                self._messages.append((kind, payload))
                self._bytes += len(payload) + MESSAGE_BYTES
                self._changed.notify_all()

    def take(self, seconds: float) -> tuple[bytes, bytes] | None:
        """The next message; None when the connection is lost.

        Raises:
            TimeoutError: no message came in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._messages or self._lost, seconds):
                raise TimeoutError("the launcher sent no message in time")
            if not self._messages:
                return None
            kind, payload = self._messages.popleft()
            self._bytes -= len(payload) + MESSAGE_BYTES
            self._changed.notify_all()
            return kind, payload

    def lose(self) -> None:
        """The connection is lost: no more messages will come."""
        with self._changed:
            self._lost = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Discard all further messages."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()


class LauncherConnection:
    """One launcher. Only one thread may call :meth:`read`; all other methods are thread-safe."""

    def __init__(self, sock: socket.socket, cwd: str, lock: str) -> None:
        """Send ``SESSION`` and wait for ``READY``.

        Raises:
            OSError, ProtocolError: the launcher was not ready within ``READY_SECONDS``.
        """
        self.pidfd: int | None = None  # of the launcher
        self.memory_bytes: int | None = None  # of the whole sandbox; None: not known
        self._sock = sock
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._queues: dict[int, MessageQueue] = {}
        self._lost = False
        self._contexts: list[ContextInfo] = []
        sock.settimeout(READY_SECONDS)
        try:
            session = {"cwd": cwd, "lock": lock, "liveMemory": True}
            frames.send_json(sock, frames.SESSION, session)
            self._receive_ready()
        except (OSError, frames.ProtocolError):
            self.close()
            raise
        sock.settimeout(None)
        timeval = struct.pack("ll", SEND_SECONDS, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        self._receiver = session_frames.Receiver(sock)

    def _receive_ready(self) -> None:
        header, fds, _, _ = socket.recv_fds(self._sock, frames.HEADER.size, 1)
        for fd in fds[1:]:  # a launcher sends one
            os.close(fd)
        for fd in fds[:1]:
            os.set_inheritable(fd, False)
            self.pidfd = fd
        if len(header) < frames.HEADER.size:
            raise frames.ProtocolError("the launcher disconnected before READY")
        kind, length = frames.HEADER.unpack(header)
        if kind != session_frames.READY or length > MAX_READY:
            raise frames.ProtocolError(f"unexpected frame {kind!r} of {length} bytes, not READY")
        while length > 0:
            part = self._sock.recv(length)
            if not part:
                raise frames.ProtocolError("the connection ended inside a frame")
            length -= len(part)

    def read(self) -> None:
        """Pass messages on until the launcher disconnects; then all queues are lost."""
        try:
            while (message := self._receiver.receive()) is not None:
                self._dispatch(*message)
        finally:
            with self._changed:
                self._lost = True
                self._contexts = []
                queues = list(self._queues.values())
                self._changed.notify_all()
            for queue in queues:
                queue.lose()

    def _dispatch(self, kind: bytes, number: int, payload: bytes) -> None:
        if kind == session_frames.PART:
            return
        if kind == session_frames.CONTEXTS:
            contexts = read_contexts(payload)
            with self._changed:
                self._contexts = contexts
                self._changed.notify_all()
            return
        if kind == frames.MEMORY:
            known = read_memory(payload)
            self.memory_bytes = self.memory_bytes if known is None else known
            return
        with self._changed:
            queue = self._queues.get(number)
        if queue is not None:  # otherwise its thread has given up
            queue.put(kind, payload)

    def open_queue(self, number: int) -> MessageQueue:
        """The messages of an execution, until :meth:`close_queue`.

        Raises:
            ValueError: an execution of that number runs.
            ConnectionError: the connection is lost.
        """
        with self._changed:
            if number in self._queues:
                raise ValueError(f"execution {number} runs already")
            if self._lost:
                raise ConnectionError("the launcher disconnected")
            queue = self._queues[number] = MessageQueue()
        return queue

    def close_queue(self, number: int) -> None:
        """Discard all further messages of an execution."""
        with self._changed:
            queue = self._queues.pop(number, None)
        if queue is not None:
            queue.abandon()

    def runs(self, number: int) -> bool:
        """Whether a thread runs that execution."""
        with self._changed:
            return number in self._queues

    def send(self, kind: bytes, number: int, value: Any = None) -> None:
        """Send one message; ``value`` becomes its JSON.

        Raises:
            OSError: the launcher disconnected, or does not read.
            ValueError: the message is too long.
        """
        payload = b"" if value is None else json.dumps(value).encode()
        with self._sending:
            session_frames.send(self._sock, kind, number, payload)

    def contexts(self) -> list[ContextInfo]:
        """The contexts that the launcher reported last."""
        with self._changed:
            return list(self._contexts)

    def wait_without(self, name: str, seconds: float) -> bool:
        """Wait until no context has that name; False when one still has."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(context.name != name for context in self._contexts), seconds
            )

    def hang_up(self) -> None:
        """Shut the connection down: the reading thread and the launcher both notice."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the launcher disconnected first

    def close(self) -> None:
        """Close the descriptors; call it after the end of :meth:`read`."""
        self._sock.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
