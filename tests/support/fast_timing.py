"""A clock for tests of the client: a sleep takes no time and moves the clock forward."""

import threading
import time

from nanogrid.client.timing import Timing


class FastClock:
    """Real time plus the skipped sleeps of the current thread.

    Each thread skips for itself, so the retries of one thread do not end the wait of another.
    """

    def __init__(self) -> None:
        self._skipped = threading.local()

    def now(self) -> float:
        return time.monotonic() + float(getattr(self._skipped, "seconds", 0.0))

    def sleep(self, seconds: float) -> None:
        self._skipped.seconds = getattr(self._skipped, "seconds", 0.0) + seconds


def fast_timing() -> Timing:
    clock = FastClock()
    return Timing(now=clock.now, sleep=clock.sleep, pod_poll_seconds=0.05)
