"""Clock and pauses of the client, in one object that tests can replace."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Clock and pauses; all values are in seconds.

    Attributes:
        now: monotonic clock.
        sleep: waits.
        pod_poll_seconds: between two reads of the status of a job that waits for a pod.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    pod_poll_seconds: float = 5.0


DEFAULT_TIMING: Final = Timing()
