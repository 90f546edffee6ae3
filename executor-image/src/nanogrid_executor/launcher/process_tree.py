"""A tree of user processes that no process in it can leave. Standard library only.

Between PID 1 and the program stands a *subreaper*: a fork of the launcher, undumpable like it,
which adopts every orphan of the tree (``PR_SET_CHILD_SUBREAPER``). So a daemon that detached
itself twice still belongs to the execution that started it. The launcher can kill it without
touching the processes of contexts, which live in trees of their own. User code can kill its
subreaper. Then PID 1 adopts the rest of the tree, and PID 1 kills every child that it does not
know.

The subreaper reaps, reports the program's wait status through a pipe, and exits after its last
child.
"""

import ctypes
import os
import select
import signal
import socket
import struct
from typing import Final, NoReturn

from nanogrid_executor.launcher import proc, spawn, start_failure

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
STATUS: Final = struct.Struct("=ii")  # the program's PID and 0, later its PID and its wait status
MAX_FDS: Final = 1 << 16
KILLED: Final = signal.SIGKILL  # the program's wait status when its subreaper was killed


class ProcessTree:
    """A subreaper, the program below it, and our ends of their pipes."""

    def __init__(
        self,
        argv: list[str],
        cwd: str,
        env: dict[str, str],
        *,
        with_stdin: bool,
        control: bool,
        limits: spawn.Limits = spawn.NO_LIMITS,
    ) -> None:
        """Start the program.

        Args:
            argv: the program; ``"{control}"`` is replaced by the number of its control socket.
            cwd: its working directory.
            env: its whole environment.
            with_stdin: whether the program gets a pipe as its standard input.
            control: whether it gets a socket to us in addition to its three streams.
            limits: of the program and its children.

        Raises:
            SpawnError: the program could not be started.
        """
        self.control: socket.socket | None = None
        self.status: int | None = None  # the program's wait status
        self.cpu_seconds = 0.0
        self.max_rss = 0
        self.gone = False  # the subreaper has ended, and no process is left below it
        self.program_pid = 0
        peer: socket.socket | None = None
        try:
            if control:
                self.control, peer = socket.socketpair()
                argv = [part.replace("{control}", str(peer.fileno())) for part in argv]
            status_reader, status_writer = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            for end in (self.control, peer):
                if end is not None:
                    end.close()
            failure = start_failure.system_failure("no process can be started", error)
            raise spawn.SpawnError(failure) from error
        subreaper = _Subreaper(status_writer, None if peer is None else peer.fileno())
        try:
            started = spawn.spawn(
                argv,
                cwd,
                env,
                with_stdin=with_stdin,
                limits=limits,
                before_exec=subreaper.fork_program,
            )
        except spawn.SpawnError:
            os.close(status_reader)
            if self.control is not None:
                self.control.close()
            raise
        finally:
            os.close(status_writer)
            if peer is not None:
                peer.close()
        self.subreaper_pid, self.status_fd = started.pid, status_reader
        self.stdin, self.stdout, self.stderr = started.stdin, started.stdout, started.stderr
        os.set_blocking(status_reader, False)
        if self.control is not None:
            self.control.setblocking(False)
        self.read_status()

    def read_status(self) -> None:
        """Read the subreaper's messages; sets ``status`` when the program has ended."""
        while True:
            try:
                message = os.read(self.status_fd, STATUS.size)
            except BlockingIOError:
                return
            if len(message) < STATUS.size:
                return
            pid, status = STATUS.unpack(message)
            if self.program_pid:
                self.status = status
            self.program_pid = pid

    def on_reaped(self, cpu_seconds: float, max_rss: int) -> None:
        """The subreaper has ended; its last messages are still in the pipe."""
        self.read_status()
        self.gone = True
        self.cpu_seconds += cpu_seconds
        self.max_rss = max(self.max_rss, max_rss)
        if self.status is None:
            self.status = KILLED

    def pids(self, processes: dict[int, proc.ProcEntry]) -> list[int]:
        """The running processes of the tree, without the subreaper."""
        if self.gone:
            return []
        found = proc.descendants(processes, self.subreaper_pid)
        return [pid for pid in found if not processes[pid].ended]

    def kill(self, number: int, *, subreaper: bool = False) -> int:
        """Send a signal to the whole tree; returns how many processes it had."""
        pids = self.pids(proc.read_table())
        for pid in pids:
            send_signal(pid, number)
        if subreaper and not self.gone:
            send_signal(self.subreaper_pid, number)
        return len(pids)

    def close(self) -> None:
        """Close our ends that are still open."""
        for fd in (self.status_fd, self.stdin, self.stdout, self.stderr):
            if fd is not None and fd >= 0:
                os.close(fd)
        self.status_fd = self.stdout = self.stderr = -1
        self.stdin = None
        if self.control is not None:
            self.control.close()
            self.control = None


def send_signal(pid: int, number: int) -> None:
    """Send a signal to one process, which may have ended in the meantime."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it has ended already


def readable(fd: int) -> bool:
    """Whether there is something to read now."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


class _Subreaper:
    """Runs between the launcher's fork and the program's exec."""

    def __init__(self, status_writer: int, control: int | None) -> None:
        self.status_writer = status_writer
        self.control = control

    def fork_program(self) -> None:
        """Fork again: returns in the child, which becomes the program, and never in the parent."""
        set_process_option(PR_SET_CHILD_SUBREAPER, 1)
        # Where the launcher is not PID 1, no process may outlive it either.
        set_process_option(PR_SET_PDEATHSIG, signal.SIGKILL)
        pid = os.fork()
        if pid == 0:
            set_process_option(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.setsid()
            if self.control is not None:
                os.set_inheritable(self.control, True)
            return
        try:
            self._reap_until_empty(pid)
        finally:
            os._exit(0)

    def _reap_until_empty(self, program: int) -> NoReturn:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        # Written before the descriptors are closed: only then the launcher sees that exec is done.
        os.write(self.status_writer, STATUS.pack(program, 0))
        os.closerange(0, self.status_writer)
        os.closerange(self.status_writer + 1, MAX_FDS)
        while True:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                os._exit(0)
            if pid == program:
                os.write(self.status_writer, STATUS.pack(program, status))


def set_process_option(option: int, value: int) -> None:
    """prctl(2).

    Raises:
        OSError: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")
