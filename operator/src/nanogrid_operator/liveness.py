"""Whether the operator still does what it is there for: watch, list, and work off its queue.

A probe that only asks whether the process answers lets it live on with a dead watch. What is
noted here comes from the parts themselves; times are of a monotonic clock, in seconds. No I/O.
"""

import time
from collections.abc import Callable

from nanogrid_operator.workqueue import WorkQueue

WATCH_LAG_SECONDS = 60.0  # for a watch to bring what a LIST already showed
STALL_SECONDS = 300.0  # for which no key may be worked on: all that a worker calls has a timeout
RESYNCS_MISSED = 3


class Liveness:
    """Parts call :meth:`seen`, :meth:`expect` and :meth:`resynced`; a probe :meth:`trouble`."""

    def __init__(
        self,
        queue: WorkQueue,
        resync_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._resync_seconds = resync_seconds
        self._resynced: float | None = None  # None until the first LIST: others tell that
        self._expected: dict[str, tuple[int, float]] = {}  # by kind: version, and since when

    def resynced(self) -> None:
        """A LIST of everything has ended."""
        self._resynced = self._clock()

    def expect(self, kind: str, version: int) -> None:
        """A LIST showed this version, which the watch has not brought yet."""
        self._expected.setdefault(kind, (version, self._clock()))

    def seen(self, kind: str, version: int) -> None:
        """The watch has brought this version; what is older will not come any more."""
        expected = self._expected.get(kind)
        if expected is not None and version >= expected[0]:
            del self._expected[kind]

    def trouble(self) -> str:
        """Why the process should be restarted; empty while it is well."""
        now = self._clock()
        for kind, (version, since) in self._expected.items():
            if now - since > WATCH_LAG_SECONDS:
                return (
                    f"the watch of {kind} has not brought resourceVersion {version} for "
                    f"{now - since:.0f} s after a LIST showed it"
                )
        if self._resynced is not None:
            silent = now - self._resynced
            if silent > RESYNCS_MISSED * self._resync_seconds + WATCH_LAG_SECONDS:
                return f"no LIST has ended for {silent:.0f} s"
        key, waited = self._queue.stalled()
        if waited > STALL_SECONDS:
            return f"job uid={key} has been with a worker, or no worker took it, for {waited:.0f} s"
        return ""
