"""When the agent gets news of the memory that running code has. Standard library only.

At most one message per second, and after the first one only for a noticeable change. The first one
comes after a second, so that short code sends none.
"""

from __future__ import annotations

import time

from nanogrid_executor.launcher.usage import Clock

TYPE_CHECKING = False  # see nanogrid_executor.launcher.values
if TYPE_CHECKING:
    from typing import Final

INTERVAL_SECONDS: Final = 1.0
STEP_BYTES: Final = 1 << 20


class MemoryNews:
    """Remembers what was sent, and when."""

    def __init__(self, *, wanted: bool, clock: Clock = time.monotonic) -> None:
        """Nothing is sent yet.

        Args:
            wanted: whether the agent asked for it.
            clock: schedules the messages.
        """
        self._clock = clock
        self._next = clock() + INTERVAL_SECONDS if wanted else float("inf")
        self._sent: tuple[int, int] | None = None

    def due(self) -> bool:
        """Whether the next message may be sent now, if there is news."""
        return self._clock() >= self._next

    def take(self, current: int, peak: int) -> bool:
        """Whether these bytes are news; if so, the next message may follow after a second."""
        if self._sent is not None:
            changes = abs(current - self._sent[0]), abs(peak - self._sent[1])
            if max(changes) < STEP_BYTES:
                return False
        self._sent = (current, peak)
        self._next = self._clock() + INTERVAL_SECONDS
        return True
