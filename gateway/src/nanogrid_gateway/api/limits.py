"""What one caller may use: requests per second, and requests at a time. Per process."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from nanogrid.connection_limits import Shares
from nanogrid.reasons import Reason
from nanogrid.throttle import Buckets
from nanogrid_gateway.api.errors import ApiError


@dataclass(slots=True, kw_only=True)
class Limits:
    """A token bucket and a count for each caller.

    Args:
        rate: requests per second that a caller can sustain.
        burst: requests that a caller can send at once.
        concurrent: active requests of a caller.
        clock: seconds.
    """

    rate: float
    burst: int
    concurrent: int
    clock: Callable[[], float] = time.monotonic
    _buckets: Buckets = field(init=False)
    _active: Shares = field(init=False)

    def __post_init__(self) -> None:
        self._buckets = Buckets(self.rate, self.burst, self.clock)
        self._active = Shares(self.concurrent)

    @contextlib.contextmanager
    def request(self, name: str) -> Iterator[None]:
        """A request of a caller, which counts until the end.

        Raises:
            ApiError: 429 with the seconds to wait.
        """
        with self._active.slot(name, self._too_many):
            if pause := self._buckets.take(name):
                message = f"This caller sends more than {self.rate:g} requests per second."
                raise ApiError(429, Reason.RATE_LIMITED, message, retry_after=pause)
            yield

    def _too_many(self) -> ApiError:
        message = f"This caller already has {self.concurrent} active requests."
        return ApiError(429, Reason.RATE_LIMITED, message, retry_after=1)
