"""One execution inside the sandbox: from a ``RUN`` frame to the ``EXITED`` frame.

Standard library only; see :mod:`nanogrid_executor.launcher`. One thread and one poll loop: output,
input, the agent's word, signals and the clock are all waited for together.

What it used of memory and CPU is :mod:`nanogrid_executor.gauge`'s to say.
"""

import json
import os
import select
import signal
import socket
import time
from typing import Any, Final

from nanogrid_executor import frames, measure, spawn
from nanogrid_executor.gauge import Gauge
from nanogrid_executor.signals import Signals

READ_BYTES: Final = 64 * 1024
LOG_BYTES: Final = 1024 * 1024  # of each stream, for `kubectl logs`
LOG_WAIT_MILLIS: Final = 100
PIPE_BUF: Final = 4096  # POSIX: a pipe that polls writable takes this much without blocking
DRAIN_SECONDS: Final = 2.0


def kill_all(number: int, pid: int | None) -> None:
    """Send a signal to everything the user's code may have started.

    Only PID 1 may mean "every process there is": then that is the container and nothing else.
    Elsewhere (tests, a shared PID namespace) it is the main process's group.
    """
    try:
        if os.getpid() == 1:
            os.kill(-1, number)
        elif pid is not None:
            os.killpg(pid, number)
    except ProcessLookupError:
        pass  # nothing is left, which is what we wanted


class Execution:
    """The state of one execution; :meth:`run` is its whole life."""

    def __init__(self, sock: socket.socket, signals: Signals, payload: bytes) -> None:
        self.received = time.monotonic()
        self.sock = sock
        self.signals = signals
        self.order: dict[str, Any] = json.loads(payload)
        self.stdin = self.order["stdin"].encode()
        self.gauge = Gauge()
        self.poll = select.poll()
        self.outputs: dict[int, tuple[bytes, int]] = {}  # our pipe end: frame kind, log fd
        self.logged = {frames.STDOUT: 0, frames.STDERR: 0}
        self.status: int | None = None  # wait status of the main process
        self.cpu_seconds = 0.0
        self.max_rss = 0
        self.timed_out = False
        self.stop_asked = False
        self.cancelled = False
        self.kill_at: float | None = None
        self.killed = False

    def run(self) -> int:
        """Start, watch, end; returns the exit code that was reported."""
        argv, env = self.order["argv"], spawn.environment(self.order["env"], os.environ.get("PATH"))
        try:
            self.process = spawn.spawn(argv, self.order["cwd"], env, with_stdin=bool(self.stdin))
        except spawn.SpawnError as error:
            return self._report(error.exit_code, None, str(error))
        self.started = time.monotonic()
        self.deadline = self.started + self.order["timeoutSeconds"]
        start_millis = int((self.started - self.received) * 1000)
        started = {"pid": self.process.pid, "startMillis": start_millis}
        try:
            frames.send_json(self.sock, frames.STARTED, started)
            self._register()
            status = self._watch()
            self._clean_up()
        except BaseException:
            # Without an agent nobody would hear of the code's end: it must not go on.
            kill_all(signal.SIGKILL, self.process.pid)
            raise
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = 128 + number if number else os.WEXITSTATUS(status)
        return self._report(code, signal_name(number), None)

    def _watch(self) -> int:
        """Serve the process until it has ended; its wait status."""
        while True:
            self._step(min(self._patience(), self.gauge.patience()))
            if self.status is not None:
                self.ended = time.monotonic()
                return self.status
            self._enforce()
            self.gauge.sample(self.process.pid)

    def _register(self) -> None:
        self.poll.register(self.sock, select.POLLIN)
        for fd in self.signals.fds:
            self.poll.register(fd, select.POLLIN)
        self.outputs[self.process.stdout] = (frames.STDOUT, 1)
        self.outputs[self.process.stderr] = (frames.STDERR, 2)
        for fd in self.outputs:
            self.poll.register(fd, select.POLLIN)
        self.stdin_fd = self.process.stdin
        if self.stdin_fd is not None:
            os.set_blocking(self.stdin_fd, False)
            self.poll.register(self.stdin_fd, select.POLLOUT)

    def _patience(self) -> float:
        """Seconds until the clock asks for something; the killed are waited for without end."""
        due = self.deadline if self.kill_at is None else self.kill_at
        return 1.0 if self.killed else max(0.0, due - time.monotonic())

    def _step(self, seconds: float) -> None:
        """Wait for one round of events and serve them; children are reaped last."""
        for fd, _ in self.poll.poll(int(seconds * 1000) + 1):
            if fd in self.outputs:
                self._forward(fd)
            elif fd == self.stdin_fd:
                self._feed()
            elif fd in self.signals.fds:
                self.signals.take([fd])
            else:
                self._listen()
        self._reap()

    def _forward(self, fd: int) -> None:
        data = os.read(fd, READ_BYTES)
        kind, log = self.outputs[fd]
        if not data:
            self._drop(fd)
            return
        frames.send(self.sock, kind, data)
        room = LOG_BYTES - self.logged[kind]
        if room > 0:
            self.logged[kind] += len(data)
            if not mirror(log, data[:room]):
                self.logged[kind] = LOG_BYTES

    def _feed(self) -> None:
        assert self.stdin_fd is not None  # noqa: S101 it is registered
        try:
            self.stdin = self.stdin[os.write(self.stdin_fd, self.stdin[:READ_BYTES]) :]
        except BrokenPipeError:
            self.stdin = b""  # the code does not want (more) input, which is its right
        if not self.stdin:
            self.poll.unregister(self.stdin_fd)
            os.close(self.stdin_fd)
            self.stdin_fd = None

    def _listen(self) -> None:
        frame = frames.receive(self.sock)
        if frame is None:
            raise frames.ProtocolError("the agent left while the code ran")
        if frame[0] != frames.CANCEL:
            raise frames.ProtocolError(f"unexpected frame {frame[0]!r} while the code runs")
        self.stop_asked = True

    def _enforce(self) -> None:
        """Timeout and cancellation: SIGTERM to everything, then after the grace SIGKILL."""
        now = time.monotonic()
        stop = self.stop_asked or self.signals.terminated
        if self.kill_at is None and (stop or now >= self.deadline):
            self.cancelled, self.timed_out = stop, not stop
            self.kill_at = now + self.order["graceSeconds"]
            kill_all(signal.SIGTERM, self.process.pid)
            kill_all(signal.SIGCONT, self.process.pid)  # a stopped process would not hear it
        elif self.kill_at is not None and now >= self.kill_at and not self.killed:
            self.killed = True
            kill_all(signal.SIGKILL, self.process.pid)

    def _reap(self) -> bool:
        """Collect every child that ended, orphans too; False when there are no children left."""
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
        """The main process has ended: end the rest, and read what is still in the pipes."""
        deadline = time.monotonic() + DRAIN_SECONDS
        kill_all(signal.SIGKILL, self.process.pid)
        if self.stdin_fd is not None:
            self.poll.unregister(self.stdin_fd)
            os.close(self.stdin_fd)
            self.stdin_fd = None
        children = self._reap()
        while (self.outputs or children) and time.monotonic() < deadline:
            # Short waits: the end of an orphan is seen by SIGCHLD, that of a pipe by POLLHUP.
            self._step(min(0.1, max(0.0, deadline - time.monotonic())))
            children = self._reap()
        for fd in list(self.outputs):
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        self.poll.unregister(fd)
        os.close(fd)
        del self.outputs[fd]

    def _report(self, code: int, name: str | None, error: str | None) -> int:
        after = self.gauge.after()
        self.gauge.close()
        wall = 0.0 if error else self.ended - self.started
        exited = {
            "exitCode": code,
            "signal": name,
            "timedOut": self.timed_out,
            "cancelled": self.cancelled,
            "oomKilled": measure.oom_killed(self.gauge.before, after),
            "durationMillis": int(wall * 1000),
            "cpuMillis": int(self.gauge.cpu_seconds(self.cpu_seconds) * 1000),
            "peakMemoryBytes": self.gauge.peak(self.max_rss, after),
            "memorySource": after.source,
            "error": error,
        }
        frames.send_json(self.sock, frames.EXITED, exited)
        return code


def signal_name(number: int) -> str | None:
    """SIGKILL for 9; None for 0; real-time signals have numbers only."""
    if number == 0:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def mirror(fd: int, data: bytes) -> bool:
    """Write to our own log; False when it does not take it in time: the code must not wait."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    while data:
        if not poll.poll(LOG_WAIT_MILLIS):
            return False
        try:
            data = data[os.write(fd, data[:PIPE_BUF]) :]
        except OSError:
            return False  # nobody reads our log any more
    return True
