"""When the position of a queued job is written again. No I/O.

A position changes with each job that starts, and a status write costs as much as a pod. So a job's
position is written when it is half of what the status shows, or when it is one of the first. That
is at most 10 + log2(position / 10) writes, and fewer for a queue that moves fast.
"""

from collections.abc import Callable
from dataclasses import dataclass

AGAIN_SECONDS = 30.0  # between two writes of one job
WRITES_PER_SECOND = 5.0  # of all jobs together
EXACT = 10  # positions up to this one are written whenever they change


@dataclass(slots=True)
class _Shown:
    at: float
    position: int | None  # None: an earlier operator wrote it


class PositionUpdates:
    """Remembers what the status of each queued job shows."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._shown: dict[str, _Shown] = {}  # by the job's uid
        self._next = 0.0  # when the next write is free, for all jobs together

    def due(self, uid: str, position: int) -> bool:
        """Whether to write this position now; the caller does so, or asks again later."""
        now = self._clock()
        shown = self._shown.setdefault(uid, _Shown(now, None))
        if now < max(shown.at + AGAIN_SECONDS, self._next):
            return False
        changed = (
            shown.position is None
            or (position != shown.position and position <= EXACT)
            or 2 * position <= shown.position
        )
        if changed:
            self._next = now + 1 / WRITES_PER_SECOND
        return changed

    def written(self, uid: str, position: int) -> None:
        """The status shows this position now."""
        self._shown[uid] = _Shown(self._clock(), position)

    def forget(self, uid: str) -> None:
        """The job has left the queue."""
        self._shown.pop(uid, None)
