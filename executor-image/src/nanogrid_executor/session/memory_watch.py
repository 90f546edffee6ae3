"""When the memory of a session is worth a report of its own. No I/O."""

from collections.abc import Callable

from nanogrid.live_memory import REPORT_SECONDS, MemoryUse, worth_reporting


class MemoryWatch:
    """Remembers what was last reported, and when."""

    def __init__(self, limit: int | None, clock: Callable[[], float]) -> None:
        """Nothing is reported yet.

        Args:
            limit: the memory limit in bytes; None if it is unknown.
            clock: seconds.
        """
        self._limit, self._clock = limit, clock
        self._last: MemoryUse | None = None
        self._due = clock()

    def due(self, use: MemoryUse | None) -> bool:
        """Whether to report this use now; None: it is not known."""
        if use is None or self._clock() < self._due:
            return False
        if not worth_reporting(self._last, use, self._limit):
            return False
        self._last, self._due = use, self._clock() + REPORT_SECONDS
        return True
