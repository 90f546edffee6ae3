"""How long the gateway waits for the bytes of a client, and for how many clients at a time."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final, TypeVar

from nanogrid.connection_limits import GRACE_SECONDS, Slots
from nanogrid.reasons import Reason
from nanogrid.refusals import too_many_slow_clients
from nanogrid_gateway.api.errors import ApiError, refused

T = TypeVar("T")

BYTES_PER_SECOND: Final = 64 * 1024


@dataclass(slots=True)
class Pace:
    """The time for one body: ``seconds``, and one more for each ``BYTES_PER_SECOND``.

    Args:
        seconds: from now on, and the most that is ever left.
        slow: one slot for each slow client.
        grace: seconds of waiting before a slot is needed.
        clock: seconds.
    """

    seconds: float
    slow: Slots
    _: KW_ONLY
    grace: float = GRACE_SECONDS
    clock: Callable[[], float] = time.monotonic
    _deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self._deadline = self.clock() + self.seconds

    def received(self, count: int) -> None:
        """Extend the time for this many bytes; a fast start does not save time up."""
        more = self._deadline + count / BYTES_PER_SECOND
        self._deadline = min(more, self.clock() + self.seconds)

    async def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, which waits for the client.

        Raises:
            ApiError: 408, the client is too slow, or there are too many slow clients.
        """
        task = asyncio.create_task(work)
        try:
            began = self.clock()
            await asyncio.wait([task], timeout=self.grace)
            self.grace = max(0.0, self.grace - (self.clock() - began))
            if not task.done():
                await self._wait_slowly(task)
            return await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])  # a body has one reader at a time

    async def _wait_slowly(self, task: "asyncio.Task[T]") -> None:
        if not self.slow.take():
            raise refused(too_many_slow_clients())
        try:
            await asyncio.wait([task], timeout=max(0.0, self._deadline - self.clock()))
        finally:
            self.slow.give_back()
        if not task.done():
            raise too_slow(self.seconds)


def too_slow(seconds: float) -> ApiError:
    """408: the request arrives too slowly."""
    message = f"The request arrives at less than {BYTES_PER_SECOND} bytes a second after the first "
    return ApiError(408, Reason.BAD_REQUEST, f"{message}{seconds:g} s. Send it faster.")
