"""Signals of the launcher as file descriptors to poll. Standard library only.

SIGTERM is read from a signalfd, because that names the sender. As PID 1 the launcher obeys the
kubelet only. The kubelet is outside of the PID namespace and has no PID in it. So user code that
sends SIGTERM to PID 1 cannot make its job look like one that was stopped from outside.

A sender can forge the PID with ``rt_sigqueueinfo``, or leave it out with ``F_SETSIG``. It cannot
forge the code ``SI_USER`` of ``kill``: the kernel refuses a code of 0 or more. One forgery is left:
the kernel drops code and PID when ``RLIMIT_SIGPENDING`` is used up, and a process of the same user
can do that. So the agent believes a stop only if it got a SIGTERM itself (``agent/batch.py``).
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import struct

TYPE_CHECKING = False  # see nanogrid_executor.launcher.values
if TYPE_CHECKING:
    from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
SIGSET_BYTES: Final = 128
SI_USER: Final = 0  # sent by kill(2); the code of every other way to send a signal differs
SIGINFO: Final = struct.Struct("=IiiI")  # struct signalfd_siginfo: signal, errno, code, sender
SIGINFO_BYTES: Final = 128
READ_BYTES: Final = 64 * 1024


class Signals:
    """SIGTERM and SIGCHLD; :attr:`fds` become readable when one of them arrives."""

    def __init__(self) -> None:
        self.terminated = False
        self._wakeup_fd, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stop_fd = _signalfd(STOP_SIGNALS)
        self.fds = (self._wakeup_fd, self._stop_fd)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``, or until a signal arrives."""
        self.poll(seconds)

    def poll(self, seconds: float | None, *more: int) -> list[int]:
        """Wait for signals and descriptors; those that are ready. ``seconds`` None: no limit."""
        poll = select.poll()
        for fd in (*more, *self.fds):
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)]
        self.read(ready)
        return ready

    def wait_for(self, sock: socket.socket) -> bool:
        """Wait until the socket is readable; False when SIGTERM arrived first."""
        while not self.terminated:
            ready = self.poll(None, sock.fileno())
            if sock.fileno() in ready and not self.terminated:
                return True
        return False

    def read(self, ready: list[int]) -> None:
        """Read the descriptors that are ready.

        A stop signal sets ``terminated``. A SIGCHLD is only drained: the process table shows it.
        """
        if self._wakeup_fd in ready:
            os.read(self._wakeup_fd, READ_BYTES)
        if self._stop_fd in ready:
            data = os.read(self._stop_fd, SIGINFO_BYTES * len(STOP_SIGNALS))
            for at in range(0, len(data), SIGINFO_BYTES):
                _, _, code, sender = SIGINFO.unpack_from(data, at)
                if os.getpid() != 1 or (code, sender) == (SI_USER, 0):
                    self.terminated = True


def _signalfd(numbers: tuple[signal.Signals, ...]) -> int:
    """Block signals and return a descriptor to read them from.

    Raises:
        OSError: the kernel refused.
    """
    bits = sum(1 << (number - 1) for number in numbers)
    mask = ctypes.create_string_buffer(bits.to_bytes(SIGSET_BYTES, "little"), SIGSET_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    fd = libc.signalfd(-1, mask, os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    return int(fd)


def exit_of(status: int) -> tuple[int, int]:
    """Exit code (128 + number after a signal) and signal number (0: none) of a wait status."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return (128 + number if number else os.WEXITSTATUS(status)), number


def signal_name(number: int) -> str | None:
    """SIGKILL for 9; None for 0; real-time signals have numbers only."""
    if number == 0:
        return None
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
