"""Whether the operator still works: it watches, lists, and processes its queue. No I/O.

A probe that only checks whether the process answers does not detect a dead watch. So the parts
themselves report here what they do. Times are monotonic, in seconds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nanogrid_operator.workqueue import WorkQueue

WATCH_LAG_SECONDS = 60.0  # within which a watch must bring what a LIST has shown
STALL_SECONDS = 300.0  # the longest work on a key: every call of a worker has a timeout
RESYNCS_MISSED = 3


@dataclass(slots=True)
class Liveness:
    """Parts call :meth:`seen`, :meth:`expect`, :meth:`resynced`; the probe :meth:`problem`."""

    queue: WorkQueue
    resync_seconds: float
    clock: Callable[[], float] = time.monotonic
    # None until the first LIST, which readiness shows.
    _resynced: float | None = field(default=None, init=False)
    # By kind: the version, and since when.
    _expected: dict[str, tuple[int, float]] = field(default_factory=dict, init=False)
    _newest: dict[str, int] = field(default_factory=dict, init=False)  # by kind, of the watch

    def resynced(self) -> None:
        """A LIST of everything has succeeded."""
        self._resynced = self.clock()

    def expect(self, kind: str, version: int) -> None:
        """A LIST has shown this version, which the watch has not brought yet."""
        if version <= self._newest.get(kind, 0):
            return  # the watch has brought it, and nothing that is kept came of it
        self._expected.setdefault(kind, (version, self.clock()))

    def seen(self, kind: str, version: int) -> None:
        """The watch has brought this version. It will bring no older one."""
        self._newest[kind] = max(version, self._newest.get(kind, 0))
        expected = self._expected.get(kind)
        if expected is not None and version >= expected[0]:
            del self._expected[kind]

    def problem(self) -> str:
        """Why the process should be restarted; empty while it works."""
        now = self.clock()
        for kind, (version, since) in self._expected.items():
            if now - since > WATCH_LAG_SECONDS:
                return (
                    f"the watch of {kind} has not brought resourceVersion {version} for "
                    f"{now - since:.0f} s after a LIST showed it"
                )
        if self._resynced is not None:
            silent = now - self._resynced
            if silent > RESYNCS_MISSED * self.resync_seconds + WATCH_LAG_SECONDS:
                return f"no LIST has succeeded for {silent:.0f} s"
        key, waited = self.queue.stalled()
        if waited > STALL_SECONDS:
            return f"a worker has had job uid={key}, or no worker has taken it, for {waited:.0f} s"
        return ""
