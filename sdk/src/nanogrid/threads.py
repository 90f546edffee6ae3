"""A bounded number of threads for blocking calls of an event loop.

A call has the context of its caller: its logs are about the same job, its spans in the same trace.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs blocking functions; further calls queue."""

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="nanogrid")

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result; a cancelled caller does not stop the function."""
        loop = asyncio.get_running_loop()
        run = contextvars.copy_context().run
        return await loop.run_in_executor(self._pool, partial(run, function, *args, **kwargs))

    def close(self) -> None:
        """Accept no more calls; running calls are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
