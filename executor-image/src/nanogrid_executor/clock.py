"""Deadlines on the monotonic clock: setting the system time does not move them."""

import threading
import time
from collections.abc import Callable
from typing import Final

NEVER: Final = float("inf")


class DeadlineError(Exception):
    """The time for a whole phase is over."""


class Deadline:
    """The end of a phase; threads and a signal handler may share it."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._at = clock() + seconds

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._at - self._clock())

    def shorten(self, seconds: float) -> None:
        """End in ``seconds`` from now, unless it ends before that."""
        self._at = min(self._at, self._clock() + seconds)

    def check(self) -> None:
        """Do nothing while there is time.

        Raises:
            DeadlineError: no time is left.
        """
        if self._clock() >= self._at:
            raise DeadlineError(f"it was not done after {self.seconds:g} s")

    def wait(self, event: threading.Event, late_seconds: float = 0.0) -> bool:
        """Wait for an event until ``late_seconds`` after the end; whether it came."""
        seconds = self.remaining()
        return event.wait(None if seconds == NEVER else seconds + late_seconds)


def endless() -> Deadline:
    """A deadline that never comes."""
    return Deadline(NEVER)
