"""Accepts launchers, one after another, and never user code in place of one.

The socket exists only while no user code can run. It is unlinked when a launcher has connected, and
created again when all processes of the previous container are gone. Two things prove that. The
launcher sends a pidfd of itself, which shows its end: the kernel ends PID 1 only after every other
process of its namespace. And the launcher holds a lock on a file until it has killed all that it
started. An agent that was restarted has no pidfd, and waits for that lock.
"""

import fcntl
import os
import select
import socket
import threading
from typing import Final

from nanogrid_executor.launcher import frames
from nanogrid_executor.log import warn
from nanogrid_executor.session.launcher_connection import LauncherConnection

POLL_SECONDS: Final = 0.2
# Without a pidfd: the kernel needs microseconds between closing PID 1's files and killing the rest.
QUIET_SECONDS: Final = 1.0
LOCK_NAME: Final = "launcher.lock"


class LauncherListener:
    """The socket and the lock file of one pod's launchers; belongs to one thread."""

    def __init__(self, path: str, cwd: str, closing: threading.Event) -> None:
        """Create the lock file.

        Args:
            path: of the socket; the sandbox can only read its directory.
            cwd: the working directory of user code.
            closing: the session ends; every wait stops then.

        Raises:
            OSError: the socket's directory cannot be used.
        """
        self._path, self._cwd, self._closing = path, cwd, closing
        self._lock_path = os.path.join(os.path.dirname(path), LOCK_NAME)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.fchmod(self._lock, 0o644)  # for any umask: the sandbox may run as another user

    def close(self) -> None:
        """Close the lock file."""
        os.close(self._lock)

    def wait_for_lock(self) -> bool:
        """Wait for the end of an earlier agent's launcher; False when the session ends."""
        while not self._closing.is_set():
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                self._closing.wait(POLL_SECONDS)
        return False

    def accept(self) -> LauncherConnection | None:
        """Wait for one launcher; None when the session ends, or when the peer is no launcher."""
        sock = self._accept_socket()
        fcntl.flock(self._lock, fcntl.LOCK_UN)  # the launcher locks it before it runs anything
        if sock is None:
            return None
        try:
            return LauncherConnection(sock, self._cwd, self._lock_path)
        except (OSError, frames.ProtocolError) as error:
            warn("sandbox-not-ready", error=error)
            return None

    def wait_until_gone(self, connection: LauncherConnection) -> None:
        """Wait until no process of that launcher's container is left."""
        if connection.pidfd is None:
            self._closing.wait(QUIET_SECONDS)
            return
        poll = select.poll()
        poll.register(connection.pidfd, select.POLLIN)
        while not self._closing.is_set() and not poll.poll(int(POLL_SECONDS * 1000)):
            pass

    def _accept_socket(self) -> socket.socket | None:
        if os.path.lexists(self._path):
            os.unlink(self._path)  # of an agent that was killed
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(self._path)
            try:
                listener.listen(1)
                listener.settimeout(POLL_SECONDS)
                while not self._closing.is_set():
                    try:
                        return listener.accept()[0]
                    except TimeoutError:
                        continue  # check the flag
                return None
            finally:
                os.unlink(self._path)
