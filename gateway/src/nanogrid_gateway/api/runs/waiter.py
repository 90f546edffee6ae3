"""A request that waits for the result of one requestId."""

import asyncio
from dataclasses import dataclass

from nanogrid.types import Json


@dataclass(frozen=True, slots=True)
class Notification:
    """A result's JSON, or a finished job; without either, the gateway stops."""

    text: str | None = None
    job: Json | None = None

    @property
    def stopping(self) -> bool:
        """Whether the wait ends without a result."""
        return self.text is None and self.job is None


class Waiter:
    """Receives the notifications of one request."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self._queue: asyncio.Queue[Notification] = asyncio.Queue()

    def notify(self, notification: Notification) -> None:
        """Hand a notification over."""
        self._queue.put_nowait(notification)

    async def next(self, seconds: float) -> Notification | None:
        """The next notification, or None after so many seconds."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                return await self._queue.get()
        except TimeoutError:
            return None
