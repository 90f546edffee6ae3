"""Whose turn it is: one holder at a time, the others wait in the order in which they came."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

QUEUE_LIMIT: Final = 64


class BusyError(Exception):
    """Somebody has the turn and nobody may wait for it; ``number`` is the execution's, if any."""

    def __init__(self, number: int | None) -> None:
        super().__init__(f"execution {number} runs" if number else "files are being synced")
        self.number = number


class QueueFullError(Exception):
    """Too many wait already."""


class ClosedError(Exception):
    """There are no more turns."""


class Ticket:
    """A place in the queue; ``number`` is an execution's number, None for anything else."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.cancelled = False
        self._called = threading.Event()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the turn; False when it will not come, or has not come in time."""
        return self._called.wait(seconds) and not self.cancelled

    def call(self, *, cancel: bool = False) -> None:
        """It is this ticket's turn, or never will be."""
        self.cancelled = cancel
        self._called.set()


class Turns:
    """A bounded first-in first-out queue for one place; safe to use from any thread."""

    def __init__(self, *, serial: bool, limit: int = QUEUE_LIMIT) -> None:
        self.limit = limit
        self._serial = serial
        self._lock = threading.Lock()
        self._holder: Ticket | None = None
        self._waiting: deque[Ticket] = deque()
        self._closed = False

    @property
    def running(self) -> int | None:
        """The number of the execution that has the turn."""
        holder = self._holder
        return holder.number if holder is not None else None

    @property
    def busy(self) -> bool:
        """Whether somebody has the turn."""
        return self._holder is not None

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def take(self, assign: Callable[[], int | None] = lambda: None) -> Ticket:
        """A place in the queue, which must be given back with :meth:`leave` once it was called.

        Args:
            assign: gives the number; called only when there is a place, in the order of places.

        Raises:
            BusyError, QueueFullError, ClosedError: there is no place.
        """
        with self._lock:
            if self._closed:
                raise ClosedError
            if self._holder is not None and not self._serial:
                raise BusyError(self._holder.number)
            if len(self._waiting) >= self.limit:
                raise QueueFullError
            ticket = Ticket()
            ticket.number = assign()
            if self._holder is None:
                self._holder = ticket
                ticket.call()
            else:
                self._waiting.append(ticket)
            return ticket

    def leave(self, ticket: Ticket) -> None:
        """Give the turn to the next; a ticket that was cancelled has none to give."""
        with self._lock:
            if self._holder is ticket:
                self._holder = self._waiting.popleft() if self._waiting else None
                if self._holder is not None:
                    self._holder.call()

    def cancel(self, ticket: Ticket) -> bool:
        """Take a ticket out of the queue; False when it does not wait any more."""
        with self._lock:
            if ticket not in self._waiting:
                return False
            self._waiting.remove(ticket)
            ticket.call(cancel=True)
            return True

    def close(self) -> None:
        """No more turns: who waits is told so, who has the turn keeps it."""
        with self._lock:
            self._closed = True
            for ticket in self._waiting:
                ticket.call(cancel=True)
            self._waiting.clear()
