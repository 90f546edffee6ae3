"""A cell that runs executions of a session: one, or as a context one after another.

Standard library only. The worker moves bytes between the cell and the agent, and ends what has to
end; nothing in it waits. What one execution is, is :mod:`nanogrid_executor.session_run`'s to say.
"""

import fcntl
import marshal
import os
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from nanogrid_executor import execute, session_frames, session_processes
from nanogrid_executor.session_cell import Cell, readable, send_signal
from nanogrid_executor.session_run import Run

HEADER: Final = struct.Struct("!cI")  # context_host.Control.send
ENDED: Final = struct.Struct("!I?")
MARSHAL_VERSION: Final = 2  # known to every Python 3
KILL_INTERVAL: Final = 0.02
EOF_SECONDS: Final = execute.DRAIN_SECONDS


class Room(Protocol):
    """What a worker needs of the server that it belongs to."""

    def watch(self, fd: int, events: int, served: Callable[[], object]) -> None:
        """Call ``served`` when these events come; replaces what was said of the fd before."""

    def forget(self, fd: int) -> None:
        """Watch it no more."""

    def send(self, kind: bytes, number: int, payload: bytes = b"") -> None:
        """Tell the agent."""

    def finished(self, worker: "Worker", run: Run) -> None:
        """An execution is over; the worker may live on."""

    def closed(self, worker: "Worker") -> None:
        """The worker has nothing left."""


class Worker:
    """One cell and the execution that it runs now."""

    def __init__(self, room: Room, cell: Cell, name: str | None) -> None:
        self.room, self.cell, self.name = room, cell, name
        self.born = time.monotonic()
        self.executions = 0
        self.run: Run | None = None
        self.dropped = False
        self._inbox = bytearray()
        self._outbox = b""
        self._stdin = b""
        self._open = {cell.stdout: session_frames.STDOUT, cell.stderr: session_frames.STDERR}
        self._eof_at: float | None = None
        self._kill_next = 0.0
        for fd in self._open:
            os.set_blocking(fd, False)
            room.watch(fd, select.POLLIN, partial(self._forward, fd, execute.READ_BYTES))
        if cell.control is not None:
            room.watch(cell.control.fileno(), select.POLLIN, self._hear)
        room.watch(cell.told, select.POLLIN, self._told)

    # -- beginning

    def begin(self, run: Run, request: dict[str, Any] | None, stdin: bytes) -> None:
        """Run one execution; ``request`` is what the host in the cell is asked."""
        self.run = run
        self.executions += 1
        if request is not None:
            data = marshal.dumps(request, MARSHAL_VERSION)
            self._outbox = len(data).to_bytes(4, "big") + data
            self._speak()
        if self.cell.stdin is not None:
            self._stdin = stdin
            os.set_blocking(self.cell.stdin, False)
            self.room.watch(self.cell.stdin, select.POLLOUT, self._feed)

    def drain_idle(self) -> None:
        """What a thread or a child wrote while nothing ran is no execution's: it is dropped."""
        for fd in list(self._open):
            self._drain(fd)

    # -- what comes and goes while it runs

    def _speak(self) -> None:
        control = self.cell.control
        if control is None:
            return
        try:
            self._outbox = self._outbox[control.send(self._outbox) :]
        except BlockingIOError:
            pass  # POLLOUT calls again
        except OSError:
            self._outbox = b""  # the host has ended, which the keeper tells
        events = select.POLLIN | (select.POLLOUT if self._outbox else 0)
        self.room.watch(control.fileno(), events, self._hear)

    def _hear(self) -> None:
        """Read what the host says; anything may be in it."""
        control = self.cell.control
        if control is None:
            return
        if self._outbox:
            self._speak()
        try:
            data = control.recv(execute.READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up()
            return
        self._inbox += data
        while len(self._inbox) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._inbox)
            if length > session_frames.MAX_BUNDLE:
                self._hang_up()
                return
            if len(self._inbox) < HEADER.size + length:
                return
            payload = bytes(self._inbox[HEADER.size : HEADER.size + length])
            del self._inbox[: HEADER.size + length]
            self._heard(kind, payload)

    def _hang_up(self) -> None:
        """A host that closed its socket, or wrote nonsense to it, cannot be talked to again."""
        if self.cell.control is not None:
            self.room.forget(self.cell.control.fileno())
            self.cell.control.close()
            self.cell.control = None
        if self.name is not None:
            self.drop()

    def _heard(self, kind: bytes, payload: bytes) -> None:
        run = self.run
        if run is None:
            return
        if kind == b"S":
            if run.begin_now():
                self.room.send(session_frames.STARTED, run.number, run.started())
        elif kind == b"D":
            self.room.send(session_frames.DISPLAY, run.number, payload)
        elif kind == b"X" and self.name is not None and len(payload) == ENDED.size:
            code, interrupted = ENDED.unpack(payload)
            for fd in list(self._open):
                self._drain(fd)
            self.run = None
            run.ended_with(code & 0xFF, signal.SIGINT if interrupted else 0)
            self.room.finished(self, run)

    def _drain(self, fd: int) -> None:
        """Read what is in a pipe now and no more: a thread may go on writing."""
        there = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]
        while there > 0 and fd in self._open:
            there -= self._forward(fd, min(there, execute.READ_BYTES))

    def _forward(self, fd: int, count: int) -> int:
        try:
            data = os.read(fd, count)
        except BlockingIOError:
            return count
        kind = self._open[fd]
        if not data:
            self.room.forget(fd)
            del self._open[fd]
            return count
        if self.run is not None:
            self.room.send(kind, self.run.number, data)
            self.run.log(1 if kind == session_frames.STDOUT else 2, data)
        return len(data)

    def _feed(self) -> None:
        fd = self.cell.stdin
        if fd is None:
            return
        try:
            self._stdin = self._stdin[os.write(fd, self._stdin[: execute.READ_BYTES]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._stdin = b""  # the code does not want (more) input, which is its right
        if not self._stdin:
            self._close_stdin()

    def _close_stdin(self) -> None:
        if self.cell.stdin is not None:
            self.room.forget(self.cell.stdin)
            os.close(self.cell.stdin)
            self.cell.stdin = None

    def _told(self) -> None:
        self.cell.listen()
        if self.cell.status is not None:
            self.room.forget(self.cell.told)

    # -- stopping and ending

    def ask_to_stop(self, run: Run) -> None:
        """SIGINT to what this execution started, in a context; otherwise SIGTERM to everything."""
        if self.name is None:
            self.cell.kill(signal.SIGTERM)
            self.cell.kill(signal.SIGCONT)  # a stopped process would not hear it
            return
        for pid in self.cell.pids(session_processes.table()):
            if pid == self.cell.main or pid not in run.there_before:
                send_signal(pid, signal.SIGINT)
                send_signal(pid, signal.SIGCONT)

    def drop(self) -> None:
        """End the cell, whatever it does."""
        self.dropped = True

    def patience(self) -> float:
        """Seconds until the clock asks for something."""
        if self.dropped or self.cell.status is not None:
            return KILL_INTERVAL
        return 60.0 if self.run is None else self.run.patience()

    def tick(self) -> None:
        """Do what the clock or the process table asks for."""
        if self.dropped or self.cell.status is not None:
            self._end()
        elif self.run is not None:
            self.run.enforce(self)

    def _end(self) -> None:
        now = time.monotonic()
        if self._eof_at is None:
            self._eof_at = now + EOF_SECONDS
            if self.run is not None:
                self.run.stopped()
        if not self.cell.gone:
            if now >= self._kill_next:
                self._kill_next = now + KILL_INTERVAL
                # The keeper is left to reap its tree and to tell of the program's end, if it can.
                self.cell.kill(signal.SIGKILL, keeper=now > self._eof_at)
            return
        if self._open and now < self._eof_at:
            return
        self._close()

    def _close(self) -> None:
        self._hear_the_rest()
        self.room.closed(self)
        for fd in [self.cell.told, *self._open]:
            self.room.forget(fd)
        self._open.clear()
        self._close_stdin()
        if self.cell.control is not None:
            self.room.forget(self.cell.control.fileno())
        run, self.run = self.run, None
        if run is not None:
            status = self.cell.status or 0
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            code = 128 + number if number else os.WEXITSTATUS(status)
            run.ended_with(code, number, context_lost=self.name is not None)
            self.room.finished(self, run)
        self.cell.close()

    def _hear_the_rest(self) -> None:
        """Rich results that came before the end are still in the socket."""
        while self.cell.control is not None and self.run is not None:
            if not readable(self.cell.control.fileno()):
                return
            self._hear()
