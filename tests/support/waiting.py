"""Waiting for a condition that another thread or process makes true."""

import time
from collections.abc import Callable

WAIT_SECONDS = 60.0
INTERVAL = 0.01


def wait_for(condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> bool:
    """Wait until the condition is true; False when it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(INTERVAL)
    return True


def wait_until(condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Like :func:`wait_for`, but raises an AssertionError when the condition stays false."""
    assert wait_for(condition, seconds), f"the condition is still false after {seconds:g} s"
