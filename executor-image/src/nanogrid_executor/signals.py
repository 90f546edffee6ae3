"""Signals of the launcher as something to poll for. Standard library only.

SIGTERM is read from a signalfd, because that says who sent it: as PID 1 only the kubelet is obeyed,
which is outside of the PID namespace and has no number in it. Code that sends SIGTERM to PID 1
does not make its job one that was stopped from outside.
"""

import ctypes
import os
import select
import signal
import socket
import struct
from typing import Final

STOP: Final = (signal.SIGTERM, signal.SIGINT)
SIGSET_BYTES: Final = 128
SIGINFO: Final = struct.Struct("=IiiI")  # struct signalfd_siginfo: signal, errno, code, sender
SIGINFO_BYTES: Final = 128
READ_BYTES: Final = 64 * 1024


class Signals:
    """SIGTERM and SIGCHLD; :attr:`fds` become readable when there is something to see."""

    def __init__(self) -> None:
        self.terminated = False
        self._woken, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stops = _signalfd(STOP)
        self.fds = (self._woken, self._stops)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def sleep(self, seconds: float) -> None:
        """Wait so long, or until a signal comes."""
        self._poll(seconds)

    def _poll(self, seconds: float | None, *more: int) -> list[int]:
        poll = select.poll()
        for fd in (*more, *self.fds):
            poll.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)]
        self.take(ready)
        return ready

    def wait_for(self, sock: socket.socket) -> bool:
        """Wait until the socket has something to read; False: SIGTERM came first."""
        while not self.terminated:
            ready = self._poll(None, sock.fileno())
            if sock.fileno() in ready and not self.terminated:
                return True
        return False

    def take(self, ready: list[int]) -> None:
        """Take what came; a child's end is seen in the process table, a stop in the flag."""
        if self._woken in ready:
            os.read(self._woken, READ_BYTES)
        if self._stops in ready:
            data = os.read(self._stops, SIGINFO_BYTES * len(STOP))
            for at in range(0, len(data), SIGINFO_BYTES):
                _, _, _, sender = SIGINFO.unpack_from(data, at)
                if os.getpid() != 1 or sender == 0:
                    self.terminated = True


def _signalfd(numbers: tuple[signal.Signals, ...]) -> int:
    """Block signals and give a file to read them from.

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
