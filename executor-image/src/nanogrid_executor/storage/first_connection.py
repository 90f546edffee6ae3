"""Waits until a new pod can connect to S3, or to the proxy in front of it.

A network plugin can refuse the connections of a pod in its first second, or longer on a busy node,
until it has applied the pod's policies. That is no fault of S3, so it must not cost one of the few
tries of a request, nor the time of the sync.
"""

import os
import socket
import time
from typing import Final

from nanogrid import names
from nanogrid_executor.log import log

WAIT_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.05


def await_first_connection(seconds: float = WAIT_SECONDS) -> None:
    """Return when S3 accepts a connection, or after ``seconds``: then a request shows the fault."""
    region = os.environ.get(names.ENV_S3_REGION) or "us-east-1"
    endpoint = os.environ.get(names.ENV_S3_ENDPOINT) or f"https://s3.{region}.amazonaws.com"
    address = address_of(os.environ.get(names.ENV_S3_PROXY) or endpoint)
    began = time.monotonic()
    while True:
        try:
            _connect(address)
            error = ""
        except OSError as e:
            error = str(e)
        waited = time.monotonic() - began
        if not error or waited >= seconds:
            break
        time.sleep(POLL_SECONDS)
    if error or waited > POLL_SECONDS:
        log("s3-first-connection", millis=round(waited * 1000), error=error or "none")


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
