"""When a session ends: idle timeout, maximum lifetime, or maximum number of executions.

Times are those of a monotonic clock. Activity is an execution, a file sync, and any authenticated
request except ``GET /health``, from its start to its end.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nanogrid import wire
from nanogrid.reasons import Reason

Clock = Callable[[], float]


class SessionTimeouts:
    """The timeouts of one session; thread-safe."""

    def __init__(
        self, rules: wire.SessionRules, clock: Clock = time.monotonic, age_seconds: float = 0.0
    ) -> None:
        """Start the clock.

        Args:
            rules: the limits.
            clock: gives seconds.
            age_seconds: how old the session is already, after a restart of the agent.
        """
        self.rules = rules
        self._clock = clock
        self._started = clock() - age_seconds
        self._last_activity = clock()
        self._active = 0
        self._lock = threading.Lock()

    @property
    def age_seconds(self) -> float:
        """Seconds since the session's first agent started."""
        return self._clock() - self._started

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last activity; 0 during an activity."""
        with self._lock:
            return 0.0 if self._active else self._clock() - self._last_activity

    def touch(self) -> None:
        """Restart the idle time."""
        self._count_activity(0)

    def begin_activity(self) -> None:
        """Begin an activity, which lasts until :meth:`end_activity`."""
        self._count_activity(1)

    def end_activity(self) -> None:
        """End an activity; the idle time starts when none is left."""
        self._count_activity(-1)

    def _count_activity(self, change: int) -> None:
        with self._lock:
            self._active += change
            self._last_activity = self._clock()

    @contextmanager
    def activity(self) -> Iterator[None]:
        """An activity that lasts as long as the block runs."""
        self.begin_activity()
        try:
            yield
        finally:
            self.end_activity()

    def reason_to_end(self, executions: int, *, busy: bool) -> Reason | None:
        """Why the session must end now; None if it may continue.

        Args:
            executions: how many were accepted.
            busy: whether one of them has not ended.
        """
        if self.age_seconds >= self.rules.max_lifetime_seconds:
            return Reason.LIFETIME_EXCEEDED
        if self.rules.max_executions and executions >= self.rules.max_executions and not busy:
            return Reason.EXECUTION_LIMIT
        if not busy and self.idle_seconds >= self.rules.idle_timeout_seconds:
            return Reason.IDLE_TIMEOUT
        return None

    def seconds_left(self) -> float:
        """The shortest time after which a timeout can expire."""
        idle = self.rules.idle_timeout_seconds - self.idle_seconds
        return max(0.0, min(idle, self.rules.max_lifetime_seconds - self.age_seconds))
