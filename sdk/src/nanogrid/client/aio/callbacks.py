"""Callbacks of threads in the event loop, and blocking iterators as asynchronous ones."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

from nanogrid.threads import Threads

T = TypeVar("T")


async def each(threads: Threads, items: Iterator[T]) -> AsyncIterator[T]:
    """The items of a blocking iterator."""
    end = object()
    while True:
        item = await threads.call(lambda: next(items, end))
        if item is end:
            return
        yield item  # type: ignore[misc]  # not the end


def in_loop(callback: Callable[[T], None] | None) -> Callable[[T], None] | None:
    """The callback, which then runs in the current event loop."""
    if callback is None:
        return None
    loop = asyncio.get_running_loop()

    def schedule(item: T) -> None:
        loop.call_soon_threadsafe(callback, item)

    return schedule
