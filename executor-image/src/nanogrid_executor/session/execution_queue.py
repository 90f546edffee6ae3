"""The queue of executions: one runs at a time, the others wait in the order of their arrival."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from nanogrid.reasons import Reason

QUEUE_LIMIT: Final = 64


class BusyError(Exception):
    """Something runs, and waiting is not allowed; ``number`` is that of the running execution."""

    def __init__(self, number: int | None) -> None:
        super().__init__(f"execution {number} runs" if number else "a file sync runs")
        self.number = number


class QueueFullError(Exception):
    """Too many are waiting."""


class ClosedError(Exception):
    """The queue is closed; ``reason`` is why the session ends."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class QueueEntry:
    """A place in the queue; ``number`` is an execution's number, None for a file sync."""

    def __init__(self, number: int | None) -> None:
        self.number = number
        self.cancelled = False
        self._decided = threading.Event()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until this entry may run; False when it is cancelled, or after ``seconds``."""
        return self._decided.wait(seconds) and not self.cancelled

    def grant(self) -> None:
        """Let this entry run."""
        self._decided.set()

    def cancel(self) -> None:
        """Never let this entry run."""
        self.cancelled = True
        self._decided.set()


class ExecutionQueue:
    """A bounded first-in first-out queue for one place; thread-safe."""

    def __init__(self, *, serial: bool, limit: int = QUEUE_LIMIT) -> None:
        """An empty queue.

        Args:
            serial: whether entries may wait; otherwise only an idle queue accepts one.
            limit: how many may wait.
        """
        self.limit = limit
        self._serial = serial
        self._lock = threading.Lock()
        self._running: QueueEntry | None = None
        self._waiting: deque[QueueEntry] = deque()
        self._closed: Reason | None = None

    @property
    def running(self) -> int | None:
        """The number of the running execution."""
        running = self._running
        return running.number if running is not None else None

    @property
    def busy(self) -> bool:
        """Whether an entry runs."""
        return self._running is not None

    @property
    def waiting(self) -> int:
        """How many entries wait."""
        return len(self._waiting)

    @property
    def closed(self) -> Reason | None:
        """Why the queue is closed; None while it is open."""
        return self._closed

    def enter(self, assign: Callable[[], int] | None = None) -> QueueEntry:
        """Add an entry; once it is granted, :meth:`leave` must follow.

        Args:
            assign: gives the number; called only when there is a place, in the order of places.
                None for an entry that is not an execution.

        Raises:
            BusyError, QueueFullError, ClosedError: there is no place.
        """
        with self._lock:
            if self._closed is not None:
                raise ClosedError(self._closed)
            if self._running is not None and not self._serial:
                raise BusyError(self._running.number)
            if len(self._waiting) >= self.limit:
                raise QueueFullError
            entry = QueueEntry(None if assign is None else assign())
            if self._running is None:
                self._running = entry
                entry.grant()
            else:
                self._waiting.append(entry)
            return entry

    def leave(self, entry: QueueEntry) -> None:
        """Let the next entry run; does nothing for an entry that does not run."""
        with self._lock:
            if self._running is entry:
                self._running = self._waiting.popleft() if self._waiting else None
                if self._running is not None:
                    self._running.grant()

    def cancel(self, entry: QueueEntry) -> bool:
        """Remove a waiting entry; False when it no longer waits."""
        with self._lock:
            if entry not in self._waiting:
                return False
            self._waiting.remove(entry)
            entry.cancel()
            return True

    def close(self, reason: Reason) -> None:
        """Cancel all waiting entries and accept no more; the running entry continues."""
        with self._lock:
            self._closed = reason
            for entry in self._waiting:
                entry.cancel()
            self._waiting.clear()
