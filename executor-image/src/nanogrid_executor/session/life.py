"""How long a session lives: idle timeout, longest life, number of executions, or the client's word.

Times are of a monotonic clock. What counts as activity: an execution, a file sync, and any request
that was let in but ``GET /health``, from its first moment to its last.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nanogrid import wire
from nanogrid.reasons import Reason

Clock = Callable[[], float]


class Life:
    """One session's time; safe to use from any thread."""

    def __init__(
        self, rules: wire.SessionRules, clock: Clock = time.monotonic, age_seconds: float = 0.0
    ) -> None:
        self.rules = rules
        self._clock = clock
        self._started = clock() - age_seconds
        self._last = clock()
        self._active = 0
        self._lock = threading.Lock()

    @property
    def age_seconds(self) -> float:
        """Since the session's first agent began."""
        return self._clock() - self._started

    @property
    def idle_seconds(self) -> float:
        """Since the last activity; 0 while there is some."""
        with self._lock:
            return 0.0 if self._active else self._clock() - self._last

    def touch(self) -> None:
        """Something happened."""
        with self._lock:
            self._last = self._clock()

    def enter(self) -> None:
        """Something begins that counts as activity until :meth:`leave`."""
        with self._lock:
            self._active += 1
            self._last = self._clock()

    def leave(self) -> None:
        """It is over."""
        with self._lock:
            self._active -= 1
            self._last = self._clock()

    @contextmanager
    def activity(self) -> Iterator[None]:
        """Something that counts as activity for as long as the block runs."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def due(self, executions: int, *, busy: bool) -> Reason | None:
        """Why the session must end now, if it must.

        Args:
            executions: how many were accepted.
            busy: whether one of them is not over.
        """
        if self.age_seconds >= self.rules.max_lifetime_seconds:
            return Reason.LIFETIME_EXCEEDED
        if self.rules.max_executions and executions >= self.rules.max_executions and not busy:
            return Reason.EXECUTION_LIMIT
        if not busy and self.idle_seconds >= self.rules.idle_timeout_seconds:
            return Reason.IDLE_TIMEOUT
        return None

    def next_seconds(self) -> float:
        """How long nothing can be due, as far as times decide."""
        idle = self.rules.idle_timeout_seconds - self.idle_seconds
        return max(0.0, min(idle, self.rules.max_lifetime_seconds - self.age_seconds))
