"""One tree of user processes, which nothing in it can leave. Standard library only.

Between PID 1 and the program stands a *keeper*: a fork of the launcher, undumpable like it, that
the kernel gives every orphan of the tree (``PR_SET_CHILD_SUBREAPER``). So a daemon that detached
itself twice still belongs to the execution that started it, and can be ended without touching the
processes of contexts, which live in trees of their own. User code may kill its keeper; then what
is left of the tree falls to PID 1, which ends every child that it does not know.

The keeper reaps, tells the program's wait status through a pipe, and ends when its last child has.
"""

import ctypes
import os
import select
import signal
import socket
import struct
from typing import Final, NoReturn

from nanogrid_executor import session_processes, spawn

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
WORD: Final = struct.Struct("=ii")  # the program's pid and 0, then its pid and its wait status
MANY_FDS: Final = 1 << 16
GONE: Final = signal.SIGKILL  # the wait status of a program whose keeper was killed


class Cell:
    """A keeper, the program below it, and our ends of their pipes."""

    def __init__(
        self, argv: list[str], cwd: str, env: dict[str, str], *, with_stdin: bool, control: bool
    ) -> None:
        """Start the program.

        Args:
            argv: the program; ``"{control}"`` becomes the number of its control socket.
            cwd: its working directory.
            env: its whole environment.
            with_stdin: whether there will be text for it to read.
            control: whether it gets a socket to us, beside its three streams.

        Raises:
            SpawnError: it could not be started.
        """
        self.control: socket.socket | None = None
        self.status: int | None = None  # wait status of the program
        self.usage_cpu = 0.0
        self.usage_rss = 0
        self.gone = False  # the keeper has ended, and nothing is below it
        self.main = 0
        told, tell = os.pipe2(os.O_CLOEXEC)
        theirs: socket.socket | None = None
        if control:
            self.control, theirs = socket.socketpair()
            argv = [word.replace("{control}", str(theirs.fileno())) for word in argv]
        keeper = _Keeper(tell, None if theirs is None else theirs.fileno())
        try:
            started = spawn.spawn(argv, cwd, env, with_stdin=with_stdin, first=keeper.stand_between)
        except spawn.SpawnError:
            os.close(told)
            if self.control is not None:
                self.control.close()
            raise
        finally:
            os.close(tell)
            if theirs is not None:
                theirs.close()
        self.keeper, self.told = started.pid, told
        self.stdin, self.stdout, self.stderr = started.stdin, started.stdout, started.stderr
        os.set_blocking(told, False)
        if self.control is not None:
            self.control.setblocking(False)
        self.listen()

    def listen(self) -> None:
        """Hear what the keeper has to say; ``status`` is set when the program has ended."""
        while True:
            try:
                word = os.read(self.told, WORD.size)
            except BlockingIOError:
                return
            if len(word) < WORD.size:
                return
            pid, status = WORD.unpack(word)
            if self.main:
                self.status = status
            self.main = pid

    def reaped(self, cpu_seconds: float, max_rss: int) -> None:
        """The keeper has ended; whatever it said before is still in the pipe."""
        self.listen()
        self.gone = True
        self.usage_cpu += cpu_seconds
        self.usage_rss = max(self.usage_rss, max_rss)
        if self.status is None:
            self.status = GONE

    def pids(self, processes: dict[int, session_processes.Entry]) -> list[int]:
        """The tree without its keeper, the living ones."""
        if self.gone:
            return []
        found = session_processes.below(processes, self.keeper)
        return [pid for pid in found if not processes[pid].ended]

    def kill(self, number: int, *, keeper: bool = False) -> int:
        """Send a signal to the whole tree; how many processes were there to take it."""
        pids = self.pids(session_processes.table())
        for pid in pids:
            send_signal(pid, number)
        if keeper and not self.gone:
            send_signal(self.keeper, number)
        return len(pids)

    def close(self) -> None:
        """Close our ends of everything that is still open."""
        for fd in (self.told, self.stdin, self.stdout, self.stderr):
            if fd is not None and fd >= 0:
                os.close(fd)
        self.told = self.stdout = self.stderr = -1
        self.stdin = None
        if self.control is not None:
            self.control.close()
            self.control = None


def send_signal(pid: int, number: int) -> None:
    """Send a signal to one process, which may have ended meanwhile."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # that is what a signal would have led to


def readable(fd: int) -> bool:
    """Whether there is something to read now."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


class _Keeper:
    """What happens between the launcher's fork and the program's exec."""

    def __init__(self, tell: int, control: int | None) -> None:
        self.tell = tell
        self.control = control

    def stand_between(self, exec_tell: int) -> None:
        """Fork once more: the child returns, to become the program; the parent never does."""
        set_option(PR_SET_CHILD_SUBREAPER, 1)
        # Where the launcher is not PID 1, its end must not leave anything behind either.
        set_option(PR_SET_PDEATHSIG, signal.SIGKILL)
        pid = os.fork()
        if pid == 0:
            set_option(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.setsid()
            if self.control is not None:
                os.set_inheritable(self.control, True)
            return
        try:
            self._keep(pid)
        finally:
            os._exit(0)

    def _keep(self, main: int) -> NoReturn:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        os.write(self.tell, WORD.pack(main, 0))  # before the launcher can see that the exec is done
        os.closerange(0, self.tell)
        os.closerange(self.tell + 1, MANY_FDS)
        while True:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                os._exit(0)
            if pid == main:
                os.write(self.tell, WORD.pack(main, status))


def set_option(option: int, value: int) -> None:
    """prctl(2).

    Raises:
        OSError: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")
