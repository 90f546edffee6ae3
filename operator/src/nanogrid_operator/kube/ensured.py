"""What a namespace needs before its first pod is checked once, however many jobs start at once."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

FRESH_SECONDS: Final = 30.0


class Ensured:
    """Runs a check of a namespace at most every ``FRESH_SECONDS``.

    It runs again later, because somebody can delete or change what was ensured, or the namespace.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives the seconds of durations."""
        self._clock = clock
        self._ensured: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self, namespace: str, check: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run the check, or wait for the one that runs; its error goes to all that wait."""
        at = self._ensured.get(namespace)
        if at is not None and self._clock() - at < FRESH_SECONDS:
            return
        task = self._running.get(namespace)
        if task is None:
            task = asyncio.create_task(self._check(namespace, check))
            self._running[namespace] = task
        # A caller whose time is over must not end the check of the others.
        await asyncio.shield(task)

    def forget(self, namespace: str) -> None:
        """Check again at the next call."""
        self._ensured.pop(namespace, None)

    async def _check(self, namespace: str, check: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await check()
            self._ensured[namespace] = self._clock()
        finally:
            del self._running[namespace]
