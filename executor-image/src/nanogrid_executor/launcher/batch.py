"""One execution inside the sandbox: from a ``RUN`` frame to the ``EXITED`` frame.

Standard library only; see :mod:`nanogrid_executor.launcher.main`. One thread and one poll loop wait
for output, input, the agent's frames, signals and timeouts together.

:mod:`nanogrid_executor.launcher.usage` measures memory and CPU time.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time

from nanogrid_executor.launcher import cgroup, frames, spawn
from nanogrid_executor.launcher.live_memory import MemoryNews
from nanogrid_executor.launcher.signals import Signals, exit_of, signal_name
from nanogrid_executor.launcher.start_failure import StartFailure
from nanogrid_executor.launcher.usage import UsageSampler

TYPE_CHECKING = False  # see nanogrid_executor.launcher.values
if TYPE_CHECKING:
    from typing import Any, Final

    from nanogrid_executor.launcher.network_hold import NetworkHold
    from nanogrid_executor.launcher.taken import Interpreter

READ_BYTES: Final = 64 * 1024
LOG_BYTES: Final = 1024 * 1024  # of each stream, for `kubectl logs`
LOG_WAIT_MILLIS: Final = 100
PIPE_BUF: Final = 4096  # POSIX: a pipe that polls writable accepts this much without blocking
DRAIN_SECONDS: Final = 2.0


def kill_all(number: int, pid: int | None) -> None:
    """Send a signal to every process that the user's code may have started.

    Only PID 1 may signal "every process": then that is the container and nothing else. Elsewhere
    (tests, a shared PID namespace) the signal goes to the main process's group.
    """
    try:
        if os.getpid() == 1:
            os.kill(-1, number)
        elif pid is not None:
            os.killpg(pid, number)
    except ProcessLookupError:
        pass  # no process is left, which is the goal


class BatchExecution:
    """The state of one execution; :meth:`run` runs it from start to end."""

    def __init__(
        self,
        sock: socket.socket,
        signals: Signals,
        payload: bytes,
        limits: spawn.Limits,
        interpreter: Interpreter | None = None,
        hold: NetworkHold | None = None,
    ) -> None:
        self.received = time.monotonic()
        self.sock = sock
        self.limits = limits
        self.interpreter = interpreter
        self.hold = hold
        self.signals = signals
        self.spec: dict[str, Any] = json.loads(payload)  # the RUN frame
        self.stdin = self.spec["stdin"].encode()
        self.news = MemoryNews(wanted=bool(self.spec.get("liveMemory")))  # an older agent: no
        self.poll = select.poll()
        self.outputs: dict[int, tuple[bytes, int]] = {}  # our pipe end: frame kind, log fd
        self.logged = {frames.STDOUT: 0, frames.STDERR: 0}
        self.status: int | None = None  # wait status of the main process
        self.cpu_seconds = 0.0
        self.max_rss = 0
        self.timed_out = False
        self.stop_requested = False
        self.cancelled = False
        self.kill_at: float | None = None
        self.killed = False

    def run(self) -> int:
        """Start the process, watch it, report its end; returns the reported exit code."""
        try:
            self._start()
        except spawn.SpawnError as error:
            return self._report(error.failure.exit_code, None, error.failure)
        self.started = time.monotonic()
        self.deadline = self.started + float(self.spec["timeoutSeconds"])
        start_millis = int((self.started - self.received) * 1000)
        started = {"pid": self.process.pid, "startMillis": start_millis}
        try:
            frames.send_json(self.sock, frames.STARTED, started)
            self._register()
            status = self._watch()
            self._clean_up()
        except BaseException:
            # Without an agent the result is lost: the code must not continue.
            kill_all(signal.SIGKILL, self.process.pid)
            raise
        code, number = exit_of(status)
        return self._report(code, signal_name(number), None)

    def _start(self) -> None:
        """Give the job to the interpreter that waits, or start a process."""
        argv, cwd = self.spec["argv"], self.spec["cwd"]
        env = spawn.environment(self.spec["env"], os.environ.get("PATH"))
        taken = None
        if self.interpreter is not None:
            taken = self.interpreter.take(argv, cwd, env, with_stdin=bool(self.stdin))
        if taken is not None:
            self.process, self.usage, cpu_before = taken
            self.cpu_seconds = -cpu_before  # wait4 will report all of the process's time
            return
        self.usage = UsageSampler()
        self.process = spawn.spawn(argv, cwd, env, with_stdin=bool(self.stdin), limits=self.limits)

    def _watch(self) -> int:
        """Serve the process until it has ended; returns its wait status."""
        while True:
            self._step(min(self._seconds_left(), self.usage.seconds_left()))
            if self.status is not None:
                self.ended = time.monotonic()
                return self.status
            self._enforce()
            self.usage.sample(self.process.pid)
            if self.news.due():
                self._send_memory()

    def _send_memory(self) -> None:
        live = self.usage.live()
        if live is not None and self.news.take(*live):
            value = {"memoryBytes": live[0], "peakMemoryBytes": live[1]}
            frames.send_json(self.sock, frames.MEMORY, value)

    def _register(self) -> None:
        self.outputs[self.process.stdout] = (frames.STDOUT, 1)
        self.outputs[self.process.stderr] = (frames.STDERR, 2)
        held = () if self.hold is None else (self.hold.fd,)
        for fd in (self.sock, *self.signals.fds, *self.outputs, *held):
            self.poll.register(fd, select.POLLIN)
        self.stdin_fd = self.process.stdin
        if self.stdin_fd is not None:
            os.set_blocking(self.stdin_fd, False)
            self.poll.register(self.stdin_fd, select.POLLOUT)

    def _deadline(self) -> float:
        """When the timeout is over: it does not count the wait for the network."""
        return self.deadline + self._held_seconds()

    def _held_seconds(self) -> float:
        return 0.0 if self.hold is None else self.hold.seconds()

    def _seconds_left(self) -> float:
        """Seconds until the next timeout; after SIGKILL there is none, only waiting."""
        due = self._deadline() if self.kill_at is None else self.kill_at
        return 1.0 if self.killed else max(0.0, due - time.monotonic())

    def _step(self, seconds: float) -> None:
        """Wait for one round of events and handle them; children are reaped last."""
        for fd, _ in self.poll.poll(int(seconds * 1000) + 1):
            if fd in self.outputs:
                self._forward(fd)
            elif fd == self.stdin_fd:
                self._write_stdin()
            elif fd in self.signals.fds:
                self.signals.read([fd])
            elif self.hold is not None and fd == self.hold.fd:
                self.hold.serve()
            else:
                self._receive()
        self._reap()

    def _forward(self, fd: int) -> None:
        data = os.read(fd, READ_BYTES)
        kind, log = self.outputs[fd]
        if not data:
            self._close_output(fd)
            return
        frames.send(self.sock, kind, data)
        room = LOG_BYTES - self.logged[kind]
        if room > 0:
            self.logged[kind] += len(data)
            if not copy_to_log(log, data[:room]):
                self.logged[kind] = LOG_BYTES

    def _write_stdin(self) -> None:
        assert self.stdin_fd is not None  # noqa: S101 it is registered
        try:
            self.stdin = self.stdin[os.write(self.stdin_fd, self.stdin[:READ_BYTES]) :]
        except BrokenPipeError:
            self.stdin = b""  # the code may close its input without reading it
        if not self.stdin:
            self._close_stdin()

    def _close_stdin(self) -> None:
        if self.stdin_fd is not None:
            self.poll.unregister(self.stdin_fd)
            os.close(self.stdin_fd)
            self.stdin_fd = None

    def _receive(self) -> None:
        frame = frames.receive(self.sock)
        if frame is None:
            raise frames.ProtocolError("the agent disconnected while the code ran")
        if frame[0] == frames.OPEN and self.hold is not None:
            self.hold.open()
            return
        if frame[0] != frames.CANCEL:
            raise frames.ProtocolError(f"unexpected frame {frame[0]!r} while the code runs")
        self.stop_requested = True

    def _enforce(self) -> None:
        """Timeout and cancellation: SIGTERM to all processes, SIGKILL after the grace period."""
        now = time.monotonic()
        stop = self.stop_requested or self.signals.terminated
        if self.kill_at is None and (stop or now >= self._deadline()):
            self.cancelled, self.timed_out = stop, not stop
            self.kill_at = now + self.spec["graceSeconds"]
            kill_all(signal.SIGTERM, self.process.pid)
            kill_all(signal.SIGCONT, self.process.pid)  # a stopped process handles no SIGTERM
            if self.hold is not None:
                self.hold.refuse()  # nor does one whose call is held
        elif self.kill_at is not None and now >= self.kill_at and not self.killed:
            self.killed = True
            kill_all(signal.SIGKILL, self.process.pid)

    def _reap(self) -> bool:
        """Reap every ended child, also orphans; False when no children are left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.cpu_seconds += usage.ru_utime + usage.ru_stime
            self.max_rss = max(self.max_rss, usage.ru_maxrss * 1024)
            if pid == self.process.pid:
                self.status = status

    def _clean_up(self) -> None:
        """The main process has ended: kill the others, and read what is still in the pipes."""
        deadline = time.monotonic() + DRAIN_SECONDS
        kill_all(signal.SIGKILL, self.process.pid)
        self._close_stdin()
        children = self._reap()
        while (self.outputs or children) and time.monotonic() < deadline:
            # Short waits: SIGCHLD reports the end of an orphan, POLLHUP that of a pipe.
            self._step(min(0.1, max(0.0, deadline - time.monotonic())))
            children = self._reap()
        for fd in list(self.outputs):
            self._close_output(fd)

    def _close_output(self, fd: int) -> None:
        self.poll.unregister(fd)
        os.close(fd)
        del self.outputs[fd]

    def _report(self, code: int, name: str | None, failure: StartFailure | None) -> int:
        after = self.usage.after()
        self.usage.close()
        wall = 0.0 if failure else self.ended - self.started
        exited = {
            "exitCode": code,
            "signal": name,
            "timedOut": self.timed_out,
            "cancelled": self.cancelled,
            "oomKilled": cgroup.oom_killed(self.usage.before, after),
            "durationMillis": int(wall * 1000),
            "cpuMillis": int(self.usage.cpu_seconds(self.cpu_seconds) * 1000),
            "peakMemoryBytes": self.usage.peak(self.max_rss, after),
            "memorySource": after.source,
            "error": failure.message if failure else None,
            "errorCause": failure.cause if failure else None,
            "heldMillis": int(self._held_seconds() * 1000),
        }
        frames.send_json(self.sock, frames.EXITED, exited)
        return code


def copy_to_log(fd: int, data: bytes) -> bool:
    """Write to our own log; False when it blocks for too long: the code must not wait for it."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    while data:
        if not poll.poll(LOG_WAIT_MILLIS):
            return False
        try:
            data = data[os.write(fd, data[:PIPE_BUF]) :]
        except OSError:
            return False  # the log's reader is gone
    return True
