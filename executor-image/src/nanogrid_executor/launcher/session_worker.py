"""A process tree that runs executions of a session: one, or as a context one after another.

Standard library only. The worker moves bytes between the tree and the agent, and kills what must
end. Nothing in it blocks. :mod:`nanogrid_executor.launcher.session_execution` is one execution.
"""

import fcntl
import marshal
import os
import select
import signal
import struct
import termios
import time
from functools import partial
from typing import Any, Final, Protocol

from nanogrid_executor.launcher import batch, frames, proc, session_frames
from nanogrid_executor.launcher.process_tree import ProcessTree, readable, send_signal
from nanogrid_executor.launcher.session_execution import SessionExecution
from nanogrid_executor.launcher.signals import exit_of
from nanogrid_executor.launcher.worker_pipes import Inbox, Poller, StdinWriter

ENDED: Final = struct.Struct("!I?")
MARSHAL_VERSION: Final = 2  # known to every Python 3
KILL_INTERVAL: Final = 0.02
EOF_SECONDS: Final = batch.DRAIN_SECONDS
IDLE_SECONDS: Final = 60.0


class WorkerHost(Poller, Protocol):
    """What a worker needs of the server that it belongs to."""

    def send(self, kind: bytes, number: int, payload: bytes = b"") -> None:
        """Send a message to the agent."""

    def finished(self, worker: "Worker", execution: SessionExecution) -> None:
        """An execution has ended; the worker may live on."""

    def closed(self, worker: "Worker") -> None:
        """The worker has no processes and no descriptors left."""


class Worker:
    """One process tree and the execution that it runs now."""

    def __init__(self, host: WorkerHost, tree: ProcessTree, name: str | None) -> None:
        """Watch the tree.

        Args:
            host: the server.
            tree: a started one.
            name: of its context; None for a tree of one execution.
        """
        self.host, self.tree, self.name = host, tree, name
        self.created = time.monotonic()
        self.executions = 0
        self.execution: SessionExecution | None = None
        self.killed = False
        self.released = False  # its execution has ended, its processes continue
        self._inbox = Inbox()
        self._outbox = b""
        self._stdin = StdinWriter(host, tree)
        self._open = {tree.stdout: frames.STDOUT, tree.stderr: frames.STDERR}
        self._eof_at: float | None = None
        self._kill_next = 0.0
        for fd in self._open:
            os.set_blocking(fd, False)
            host.watch(fd, select.POLLIN, partial(self._read_output, fd))
        if tree.control is not None:
            host.watch(tree.control.fileno(), select.POLLIN, self._read_control)
        host.watch(tree.status_fd, select.POLLIN, self._read_status)

    # -- start

    def start(
        self, execution: SessionExecution, request: dict[str, Any] | None, stdin: bytes
    ) -> None:
        """Run one execution; ``request`` goes to the interpreter in the tree, if it has one."""
        self.execution = execution
        self.executions += 1
        if request is not None:
            data = marshal.dumps(request, MARSHAL_VERSION)
            self._outbox = len(data).to_bytes(4, "big") + data
            self._write_control()
        self._stdin.start(stdin)

    def discard_idle_output(self) -> None:
        """Discard what a thread or a child wrote while no execution ran here."""
        for fd in list(self._open):
            self._drain(fd)

    # -- input and output while it runs

    def _write_control(self) -> None:
        control = self.tree.control
        if control is None:
            return
        try:
            self._outbox = self._outbox[control.send(self._outbox) :]
        except BlockingIOError:
            pass  # POLLOUT calls again
        except OSError:
            self._outbox = b""  # the interpreter has ended, which the subreaper reports
        events = select.POLLIN | (select.POLLOUT if self._outbox else 0)
        self.host.watch(control.fileno(), events, self._read_control)

    def _read_control(self) -> None:
        """Read messages of the interpreter; they may be forged."""
        control = self.tree.control
        if control is None:
            return
        if self._outbox:
            self._write_control()
        try:
            data = control.recv(batch.READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close_control()
            return
        try:
            for kind, payload in self._inbox.add(data):
                self._handle(kind, payload)
        except frames.ProtocolError:
            self._close_control()

    def _close_control(self) -> None:
        """Close the socket: the interpreter closed its end, or wrote an invalid message."""
        if self.tree.control is not None:
            self.host.unwatch(self.tree.control.fileno())
            self.tree.control.close()
            self.tree.control = None
        if self.name is not None:
            self.kill()  # no further request can reach the context

    def _handle(self, kind: bytes, payload: bytes) -> None:
        execution = self.execution
        if execution is None:
            return
        if kind == b"S":
            if execution.mark_started():
                self.host.send(frames.STARTED, execution.number, execution.started_payload())
        elif kind == b"D":
            self.host.send(session_frames.DISPLAY, execution.number, payload)
        elif kind == b"X" and self.name is not None and len(payload) == ENDED.size:
            code, interrupted = ENDED.unpack(payload)
            for fd in list(self._open):
                self._drain(fd)
            self.execution = None
            execution.finish(code & 0xFF, signal.SIGINT if interrupted else 0)
            self.host.finished(self, execution)

    def _drain(self, fd: int) -> None:
        """Read what is in a pipe now and no more: a thread may continue to write."""
        available = struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]
        while available > 0 and fd in self._open:
            available -= self._forward(fd, min(available, batch.READ_BYTES))

    def _read_output(self, fd: int) -> None:
        # The interpreter says that the code runs before the code can print. Both may be ready.
        if self.execution is not None and not self.execution.has_started:
            self._read_control()
        if fd in self._open:
            self._forward(fd, batch.READ_BYTES)

    def _forward(self, fd: int, count: int) -> int:
        try:
            data = os.read(fd, count)
        except BlockingIOError:
            return count
        kind = self._open[fd]
        if not data:
            self.host.unwatch(fd)
            del self._open[fd]
            return count
        if self.execution is not None:
            self.host.send(kind, self.execution.number, data)
            self.execution.log(1 if kind == frames.STDOUT else 2, data)
        return len(data)

    def _read_status(self) -> None:
        self.tree.read_status()
        if self.tree.status is not None:
            self.host.unwatch(self.tree.status_fd)

    # -- stop and end

    def ask_to_stop(self, execution: SessionExecution) -> None:
        """In a context, SIGINT to what this execution started; otherwise SIGTERM to all."""
        if self.name is None:
            self.tree.kill(signal.SIGTERM)
            self.tree.kill(signal.SIGCONT)  # a stopped process handles no SIGTERM
            return
        for pid in self.tree.pids(proc.read_table()):
            if pid == self.tree.program_pid or pid not in execution.pids_before:
                send_signal(pid, signal.SIGINT)
                send_signal(pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the whole tree, from the next :meth:`tick` on."""
        self.killed = True

    def seconds_left(self) -> float:
        """Seconds until :meth:`tick` must be called."""
        if self.killed or (self.tree.status is not None and not self._waits_for_others()):
            return KILL_INTERVAL
        return IDLE_SECONDS if self.execution is None else self.execution.seconds_left()

    def tick(self) -> None:
        """Act on timeouts and on the end of the program."""
        if not self.killed and self._keeps_others():
            self._release()
        elif self.killed or (self.tree.status is not None and not self._waits_for_others()):
            self._end()
        elif self.execution is not None:
            self.execution.enforce(self)

    def _keeps_others(self) -> bool:
        """Whether the program has ended by itself, and its other processes are to continue."""
        execution = self.execution
        if execution is None or self.tree.status is None or self.tree.gone:
            return False
        stopped = execution.timed_out or execution.interrupted
        return execution.keep_processes and not stopped and self._eof_at is None

    def _waits_for_others(self) -> bool:
        """Whether only processes are left that continue after their execution."""
        return self.released and not self.tree.gone

    def _release(self) -> None:
        """End the execution; its processes continue, and their output is discarded."""
        execution = self.execution
        if execution is None:
            return
        execution.mark_ended()
        for fd in list(self._open):
            self._drain(fd)
        self._read_remaining_control()
        self._stdin.close()
        self._close_control()
        self.released, self.execution = True, None
        code, number = exit_of(self.tree.status or 0)
        execution.finish(code, number)
        self.host.finished(self, execution)

    def _end(self) -> None:
        now = time.monotonic()
        if self._eof_at is None:
            self._eof_at = now + EOF_SECONDS
            if self.execution is not None:
                self.execution.mark_ended()
        if not self.tree.gone:
            if now >= self._kill_next:
                self._kill_next = now + KILL_INTERVAL
                # The subreaper is spared at first: it reaps its tree and reports the program's end.
                self.tree.kill(signal.SIGKILL, subreaper=now > self._eof_at)
            return
        if self._open and now < self._eof_at:
            return
        self._close()

    def _close(self) -> None:
        self._read_remaining_control()
        self.host.closed(self)
        for fd in [self.tree.status_fd, *self._open]:
            self.host.unwatch(fd)
        self._open.clear()
        self._stdin.close()
        if self.tree.control is not None:
            self.host.unwatch(self.tree.control.fileno())
        execution, self.execution = self.execution, None
        if execution is not None:
            code, number = exit_of(self.tree.status or 0)
            execution.finish(code, number, context_lost=self.name is not None)
            self.host.finished(self, execution)
        self.tree.close()

    def _read_remaining_control(self) -> None:
        """Rich results that were sent before the end are still in the socket."""
        while self.tree.control is not None and self.execution is not None:
            if not readable(self.tree.control.fileno()):
                return
            self._read_control()
