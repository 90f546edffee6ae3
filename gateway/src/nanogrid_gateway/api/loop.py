"""One event loop in a thread of its own, for the connections that all requests' threads share."""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
END = object()


class Loop:
    """Runs coroutines for other threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="io", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Wait for a coroutine's result.

        Raises:
            TimeoutError: it took longer; it is cancelled then.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(seconds)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise

    def start(self, work: Coroutine[Any, Any, None]) -> "concurrent.futures.Future[None]":
        """Let a coroutine run; the answer can be cancelled."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def soon(self, work: Callable[..., object], *args: Any) -> None:
        """Call a plain function in the loop's thread."""
        self._loop.call_soon_threadsafe(work, *args)

    def iterate(self, source: AsyncGenerator[T, None], seconds: float) -> Iterator[T | None]:
        """The items of an asynchronous generator; None whenever none came for so many seconds."""

        async def following() -> Any:
            return await anext(source, END)

        future: concurrent.futures.Future[Any] | None = None
        try:
            while True:
                future = future or asyncio.run_coroutine_threadsafe(following(), self._loop)
                try:
                    item = future.result(seconds)
                except concurrent.futures.TimeoutError:
                    if future.done():
                        raise  # the source's own
                    yield None
                    continue
                future = None
                if item is END:
                    return
                yield item
        finally:
            if future is None:
                asyncio.run_coroutine_threadsafe(source.aclose(), self._loop)
            else:
                future.cancel()  # which ends the generator where it waits

    def close(self) -> None:
        """Stop the thread; what still runs is dropped."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._thread.is_alive():
            self._loop.close()
