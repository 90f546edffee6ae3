"""How much one caller may ask for: requests in a time, and requests under way. Per process."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError

REMEMBERED: Final = 10_000


@dataclass(slots=True)
class _Caller:
    tokens: float
    seen: float
    under_way: int = 0


class Limits:
    """A token bucket and a count for each caller.

    Args:
        rate: requests per second that a caller may go on with.
        burst: requests that a caller may send at once.
        concurrent: requests of a caller under way at a time.
        clock: seconds.
    """

    def __init__(
        self,
        *,
        rate: float,
        burst: int,
        concurrent: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._concurrent = concurrent
        self._clock = clock
        self._lock = threading.Lock()
        self._callers: OrderedDict[str, _Caller] = OrderedDict()

    def enter(self, name: str) -> None:
        """Count a request of a caller, who leaves at its end.

        Raises:
            ApiError: 429 with the seconds to wait.
        """
        now = self._clock()
        with self._lock:
            caller = self._callers.setdefault(name, _Caller(self._burst, now))
            self._callers.move_to_end(name)
            caller.tokens = min(self._burst, caller.tokens + (now - caller.seen) * self._rate)
            caller.seen = now
            if caller.under_way >= self._concurrent:
                said = f"{self._concurrent} requests of this caller are under way already."
                raise ApiError(429, Reason.RATE_LIMITED, said, retry_after=1)
            if caller.tokens < 1:
                pause = math.ceil((1 - caller.tokens) / self._rate)
                said = f"This caller sends more than {self._rate:g} requests a second."
                raise ApiError(429, Reason.RATE_LIMITED, said, retry_after=max(1, pause))
            caller.tokens -= 1
            caller.under_way += 1
            self._forget()

    def leave(self, name: str) -> None:
        """The request has ended."""
        with self._lock:
            self._callers[name].under_way -= 1

    def _forget(self) -> None:
        """Drop callers who have nothing under way, the longest silent first."""
        while len(self._callers) > REMEMBERED:
            idle = next((n for n, c in self._callers.items() if not c.under_way), None)
            if idle is None:
                return
            del self._callers[idle]


class Places:
    """A few places for what holds a thread for long."""

    def __init__(self, count: int) -> None:
        self._places = threading.BoundedSemaphore(count)

    def take(self) -> None:
        """Take one, to be given back by whoever ends the work.

        Raises:
            ApiError: 429, all are taken.
        """
        if not self._places.acquire(blocking=False):
            said = "Too many streams are open in this gateway."
            raise ApiError(429, Reason.RATE_LIMITED, said, retry_after=5)

    def give_back(self) -> None:
        """The place is free again."""
        self._places.release()
