"""The time of a run: what still fits, and progress on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_BEGAN = time.monotonic()


def say(text: str) -> None:
    """Show progress, with the seconds since the start."""
    print(f"bench {time.monotonic() - _BEGAN:4.0f} s: {text}", file=sys.stderr, flush=True)


class Budget:
    """Seconds for a part of the run, from now on."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._longest: dict[str, float] = {}

    @property
    def left(self) -> float:
        """Seconds that are left; negative when the time is over."""
        return self._until - time.monotonic()

    def allows(self, seconds: float) -> bool:
        """Whether work of so many seconds ends in time."""
        return seconds <= self.left

    def part(self, seconds: float) -> "Budget":
        """A budget of at most so many seconds, within this one."""
        return Budget(min(seconds, self.left))

    def longest(self, what: str) -> float:
        """The longest time that :meth:`timed` has seen for this work; 0 before."""
        return self._longest.get(what, 0.0)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Note how long this work takes."""
        began = time.monotonic()
        yield
        self._longest[what] = max(self.longest(what), time.monotonic() - began)
