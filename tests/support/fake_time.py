"""An event loop on fake time: its clock jumps to the next timer when nothing else is to do.

So ``asyncio.sleep(600)`` takes no time, and pauses and timeouts are exact. It suits tests without
real I/O: a loop on fake time does not wait for a socket while a timer is pending.
"""

import asyncio
import selectors


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """``time()`` begins at 1,000 seconds and moves only when all tasks wait."""

    def __init__(self) -> None:
        self._now = 1000.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """The fake time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the clock."""
        self._now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the clock instead of waiting for the next timer."""

    def __init__(self, loop: FakeTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:  # no timer: only I/O or another thread can wake the loop
            return super().select()
        ready = super().select(0)
        if not ready and timeout > 0:
            self._loop.advance(timeout)
        return ready


def now() -> float:
    """The time of the running loop, in seconds."""
    return asyncio.get_running_loop().time()
