"""Waits until S3, or the proxy in front of it, accepts a connection of a new pod.

A refused connection must not cost one of the few tries of a request, nor the time of a sync.
"""

import os
from collections.abc import Callable

from nanogrid import names
from nanogrid_executor.first_connection import WAIT_SECONDS, address_of, await_connection
from nanogrid_executor.log import log


def await_s3(seconds: float = WAIT_SECONDS, stopped: Callable[[], bool] = lambda: False) -> None:
    """Return when it accepts one, or ``stopped`` says so, or after ``seconds``.

    After that time a request shows the fault.
    """
    region = os.environ.get(names.ENV_S3_REGION) or "us-east-1"
    endpoint = os.environ.get(names.ENV_S3_ENDPOINT) or f"https://s3.{region}.amazonaws.com"
    address = address_of(os.environ.get(names.ENV_S3_PROXY) or endpoint)
    found = await_connection(address, seconds, stopped)
    if found.worth_a_line:
        log("s3-first-connection", millis=found.millis, error=found.error or "none")
