"""Lets code start before its network is proven: calls that would give it a socket wait.

Standard library only; imported when the agent asks for it. The filter of
:mod:`nanogrid_executor.launcher.network_filter` sends each such call to a descriptor of the
launcher. The launcher continues all of them when the agent says that the network is proven, and
later ones at once. It is filtered too, and uses sockets of AF_UNIX only.

Only the launcher has the descriptor: it is closed by exec, and the launcher is undumpable. If the
launcher ends, held and later calls fail with ENOSYS.
"""

from __future__ import annotations

import errno
import struct
import time
from fcntl import ioctl

from nanogrid_executor.launcher import network_filter

TYPE_CHECKING = False  # see nanogrid_executor.launcher.values
if TYPE_CHECKING:
    from typing import Final

# linux/seccomp.h: _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, struct seccomp_notif_resp)
RECEIVE: Final = 0xC0502100
SEND: Final = 0xC0182101
NOTIFICATION_BYTES: Final = 80
IDENTIFIER: Final = struct.Struct("=Q")
RESPONSE: Final = struct.Struct("=QqiI")  # identifier, value, error, flags
CONTINUE: Final = 1


class NetworkHold:
    """The held calls; :attr:`fd` polls readable when there is a new one."""

    def __init__(self) -> None:
        """Filter this process and all that it starts.

        Raises:
            OSError: that is not possible here.
        """
        self.fd = network_filter.install()
        self._held: list[int] = []
        self._answer: tuple[int, int] | None = None  # error and flags; None: calls wait
        self._since: float | None = None  # when the first call was held, monotonic
        self._seconds = 0.0

    def serve(self) -> None:
        """Take one call, and hold or answer it. Does not block if :attr:`fd` is readable."""
        data = bytearray(NOTIFICATION_BYTES)
        try:
            ioctl(self.fd, RECEIVE, data)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return  # its process was killed
            raise
        (identifier,) = IDENTIFIER.unpack_from(data)
        if self._answer is not None:
            self._send(identifier)
            return
        self._held.append(identifier)
        self._since = self._since or time.monotonic()

    def open(self) -> None:
        """The network is proven: continue all calls."""
        self._decide(0, CONTINUE)

    def refuse(self) -> None:
        """The code is being stopped without a proof: calls fail, so that it can end by itself.

        Does nothing if the network is proven. A proof that comes later opens it.
        """
        if self._answer is None:
            self._decide(-errno.ENETDOWN, 0)

    def seconds(self) -> float:
        """For how long calls have been held; they do not count in the code's timeout."""
        running = 0.0 if self._since is None else time.monotonic() - self._since
        return self._seconds + running

    def _decide(self, error: int, flags: int) -> None:
        self._answer = error, flags
        self._seconds, self._since = self.seconds(), None
        for identifier in self._held:
            self._send(identifier)
        self._held.clear()

    def _send(self, identifier: int) -> None:
        assert self._answer is not None  # noqa: S101 the caller has tested it
        error, flags = self._answer
        try:
            ioctl(self.fd, SEND, RESPONSE.pack(identifier, 0, error, flags))
        except OSError as failure:
            if failure.errno != errno.ENOENT:  # its process was killed
                raise
