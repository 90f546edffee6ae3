"""Waits for the first connection of a new pod to a server.

A network plugin can refuse the connections of a pod in its first second, or longer on a busy node:
until it has applied the pod's policies, or those of the server's pod, which may be on another node.
That is no fault of the server.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from nanogrid import names
from nanogrid_executor.log import log

WAIT_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.05
CHECK_STOP_SECONDS: Final = 0.1


class FirstConnection(NamedTuple):
    """How a wait ended.

    Attributes:
        millis: that it took.
        error: why there is no connection; empty: there is one.
    """

    millis: int
    error: str

    @property
    def worth_a_line(self) -> bool:
        """Whether a log should have it: a server that answers at once is no news."""
        return bool(self.error) or self.millis > 1000 * POLL_SECONDS


def await_connection(
    address: tuple[str, int],
    seconds: float = WAIT_SECONDS,
    stopped: Callable[[], bool] = lambda: False,
) -> FirstConnection:
    """Return when the server accepts a connection, or ``stopped`` says so, or after ``seconds``."""
    began = time.monotonic()
    errors = ["no answer"]
    connected, over = threading.Event(), threading.Event()

    def connect() -> None:
        while not over.is_set():
            try:
                _connect(address)
            except OSError as e:
                errors.append(str(e))
                over.wait(POLL_SECONDS)
            else:
                connected.set()
                return

    # A thread of its own: nothing can interrupt the look-up of a name.
    threading.Thread(target=connect, name="first-connection", daemon=True).start()
    while not connected.is_set():
        left = seconds - (time.monotonic() - began)
        if left <= 0 or stopped():
            break
        connected.wait(min(left, CHECK_STOP_SECONDS))
    over.set()
    error = "" if connected.is_set() else errors[-1]
    return FirstConnection(round(1000 * (time.monotonic() - began)), error)


def await_s3(seconds: float = WAIT_SECONDS, stopped: Callable[[], bool] = lambda: False) -> None:
    """Return when S3, or the proxy in front of it, accepts a connection, or after ``seconds``.

    Also when ``stopped`` says so. A refused connection of a new pod must not cost one of the few
    tries of a request, nor the time of a sync. After that time a request shows the fault.
    """
    region = os.environ.get(names.ENV_S3_REGION) or "us-east-1"
    endpoint = os.environ.get(names.ENV_S3_ENDPOINT) or f"https://s3.{region}.amazonaws.com"
    address = address_of(os.environ.get(names.ENV_S3_PROXY) or endpoint)
    found = await_connection(address, seconds, stopped)
    if found.worth_a_line:
        log("s3-first-connection", millis=found.millis, error=found.error or "none")


def address_of(url: str) -> tuple[str, int]:
    """Host and port of an absolute URL. Not ``urllib.parse``: its import is slow.

    Raises:
        ValueError: its port is not a number.
    """
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0].rpartition("@")[2]  # a proxy may have a user
    bracket = authority.rfind("]")
    host, _, port = (
        authority.rpartition(":") if ":" in authority[bracket + 1 :] else (authority, "", "")
    )
    return host.strip("[]"), int(port) if port else 80 if scheme == "http" else 443


def _connect(address: tuple[str, int]) -> None:
    host, port = address
    # As bytes: for text, the look-up imports the tables of international names.
    name = host.encode("ascii") if host.isascii() else host
    socket.create_connection((name, port), CONNECT_SECONDS).close()  # type: ignore[arg-type]
