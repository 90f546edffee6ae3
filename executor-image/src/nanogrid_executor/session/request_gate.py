"""A limit on requests that take long: they wait for an execution, or watch one."""

import threading
from typing import Final

from nanogrid.reasons import Reason
from nanogrid_executor.session.errors import RETRY_SECONDS, ApiError

# Requests that may wait at the same time: a full queue, the running one, and as many watchers.
WAITING: Final = 96


class RequestGate:
    """Limits the number of waiting requests; also a context manager."""

    def __init__(self, limit: int = WAITING) -> None:
        self._slots = threading.BoundedSemaphore(limit)

    def enter(self) -> None:
        """Begin a request that waits or watches; :meth:`leave` must follow.

        Raises:
            ApiError: 429, there are too many.
        """
        if not self._slots.acquire(blocking=False):
            message = "Too many requests wait for an execution or watch one. Try again later."
            raise ApiError(429, Reason.QUEUE_FULL, message, retry_after=RETRY_SECONDS)

    def leave(self) -> None:
        """End such a request."""
        self._slots.release()

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *error: object) -> None:
        self.leave()
