"""The Unix socket of the agent, which one launcher connects to."""

import os
import socket
import time
from collections.abc import Callable
from typing import Final

from nanogrid_executor.agent.execution import Sandbox

# The launcher may come late: its image is pulled after this container has started. The operator's
# startup timeout ends the pod long before this.
LAUNCHER_SECONDS: Final = 3600.0
ACCEPT_INTERVAL: Final = 0.5
NO_LAUNCHER: Final = f"No launcher connected within {LAUNCHER_SECONDS:g} s"


def listen(path: str) -> socket.socket:
    """The socket that one launcher may connect to."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    return listener


def accept(
    listener: socket.socket, path: str, stopped: Callable[[], bool] = lambda: False
) -> Sandbox | None:
    """Accept the only connection there will be, and close the socket.

    Args:
        listener: from :func:`listen`.
        path: of the socket; it is removed.
        stopped: whether the pod is being stopped; this ends the wait.

    Returns:
        None when no launcher connected within ``LAUNCHER_SECONDS``, or the pod is stopped.
    """
    deadline = time.monotonic() + LAUNCHER_SECONDS
    listener.settimeout(ACCEPT_INTERVAL)
    try:
        while not stopped() and time.monotonic() < deadline:
            try:
                sock, _ = listener.accept()
                return Sandbox(sock)
            except TimeoutError:
                continue  # check the flag and the clock
        return None
    finally:
        os.unlink(path)
        listener.close()
