"""A point in time after which work is given up, measured on a clock that nobody sets."""

import time


class DeadlineError(Exception):
    """The time for a whole phase is over."""


class Deadline:
    """The end of a phase; safe to share between threads and with a signal handler."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._at - time.monotonic())

    def shorten(self, seconds: float) -> None:
        """End in ``seconds`` from now, unless it ends before."""
        self._at = min(self._at, time.monotonic() + seconds)

    def check(self) -> None:
        """Go on only while there is time.

        Raises:
            DeadlineError: there is none left.
        """
        if time.monotonic() >= self._at:
            raise DeadlineError(f"it was not done after {self.seconds:g} s")


NEVER = float("inf")


def endless() -> Deadline:
    """A deadline for work that has none."""
    return Deadline(NEVER)
