"""Synchronous calls in threads beside an event loop, and callbacks back into it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs synchronous calls beside the event loop."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="nanogrid")

    async def call(self, use: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the call gives; a task that is cancelled leaves it alone."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(use, *args, **kwargs))

    async def each(self, items: Iterator[T]) -> AsyncIterator[T]:
        """The items of an iterator that blocks."""
        end = object()
        while True:
            item = await self.call(lambda: next(items, end))
            if item is end:
                return
            yield item  # type: ignore[misc]  # it is not the end

    def close(self) -> None:
        """Take no more calls."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def in_loop(heard: Callable[[T], None] | None) -> Callable[[T], None] | None:
    """The callback, called in the event loop that is running now."""
    if heard is None:
        return None
    loop = asyncio.get_running_loop()

    def hear(item: T) -> None:
        loop.call_soon_threadsafe(heard, item)

    return hear
