"""A keyed, deduplicating, delaying queue with back-off, after client-go's workqueue.

One worker at a time has a key. A key that is added meanwhile is handed out again when that worker
is done. ``add`` with a delay keeps the earliest pending time. This module knows no Kubernetes.
"""

import asyncio
import heapq
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from nanogrid.backoff import exponential, jitter
from nanogrid.logs import about

log = logging.getLogger("nanogrid.workers")

BASE_SECONDS = 0.1
CAP_SECONDS = 30.0


class QueueObserver(Protocol):
    """Measures a queue; times are in seconds."""

    def added(self) -> None:
        """A key is ready."""

    def retried(self) -> None:
        """A worker asked for a retry of its key."""

    def taken(self, waited: float) -> None:
        """A worker took a key that was ready for so long."""

    def worked(self, took: float) -> None:
        """A worker is finished with its key, after so long."""


class WorkQueue:
    """See the module's docstring. Not thread-safe: one event loop owns it."""

    def __init__(self, *, paused: bool = False) -> None:
        """A queue that is ``paused`` drops the keys that are added.

        A process that stands by has it, so that keys do not pile up. Who calls :meth:`resume` then
        adds all keys that are due.
        """
        self.paused = paused
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._due: dict[str, float] = {}  # pending key -> loop time
        self._heap: list[tuple[float, str]] = []
        self._queued: dict[str, float] = {}  # ready key -> loop time
        self._active: dict[str, float] = {}  # key that a worker has -> loop time
        self._last_taken = 0.0  # loop time
        self._again: set[str] = set()
        self._failures: dict[str, int] = defaultdict(int)
        self._retried: set[str] = set()  # keys whose present worker asked for a retry
        self._timer: asyncio.TimerHandle | None = None
        self._observer: QueueObserver | None = None

    def observe(self, observer: QueueObserver) -> None:
        """Call this observer from now on."""
        self._observer = observer

    @property
    def depth(self) -> int:
        """The number of keys that are ready and that no worker has."""
        return len(self._queued)

    def longest_running(self) -> float:
        """For how many seconds a worker has had its key longest; 0 if none has one."""
        if not self._active:
            return 0.0
        return asyncio.get_running_loop().time() - min(self._active.values())

    def __len__(self) -> int:
        """The number of keys that are ready or that a worker has."""
        return len(self._queued) + len(self._active)

    def resume(self) -> None:
        """Take in keys from now on."""
        self.paused = False

    def stalled(self) -> tuple[str, float]:
        """The key that a worker has had the longest, and for how many seconds.

        If no worker has a key, it is a key that waits, and the seconds since a worker last took
        one. So a long queue that moves does not count as stalled.
        """
        if not (self._active or self._queued):
            return "", 0.0
        now = asyncio.get_running_loop().time()
        if self._active:
            key, since = min(self._active.items(), key=lambda pair: pair[1])
            return key, now - since
        return next(iter(self._queued)), now - max(self._last_taken, min(self._queued.values()))

    def add(self, key: str, delay: float = 0.0) -> None:
        """Hand out the key now, or after a delay in seconds."""
        if self.paused:
            return
        if delay <= 0:
            self._due.pop(key, None)
            self._enqueue(key)
            return
        when = asyncio.get_running_loop().time() + delay
        if key in self._queued or self._due.get(key, when + 1) <= when:
            return
        self._due[key] = when
        heapq.heappush(self._heap, (when, key))
        self._arm()

    def retry(self, key: str, cap: float = CAP_SECONDS, *, at_least: float = 0.0) -> float:
        """Hand out the key again after a back-off of at most ``cap``; returns it in seconds.

        ``at_least`` are the seconds that a server asks for. The back-off is not shorter, unless
        ``cap`` is.
        """
        failures = self._failures[key]
        self._failures[key] = failures + 1
        self._retried.add(key)
        if self._observer is not None:
            self._observer.retried()
        delay = jitter(exponential(failures, BASE_SECONDS, cap), 0.8, 1.0)
        if at_least > delay:
            delay = min(cap, jitter(at_least, 1.0, 1.2))
        self.add(key, delay)
        return delay

    def failures(self, key: str) -> int:
        """How many retries the key asked for since it last succeeded."""
        return self._failures.get(key, 0)

    def forget(self, key: str) -> None:
        """The key succeeded: the back-off after its next failure is the shortest again.

        Has no effect if this turn asked for a retry, as it does for an undelivered result.
        """
        if key not in self._retried:
            self._failures.pop(key, None)

    async def get(self) -> str:
        """The next key. Call :meth:`done` after the work on it."""
        key = await self._ready.get()
        now = asyncio.get_running_loop().time()
        ready = self._queued.pop(key, now)
        self._active[key] = self._last_taken = now
        if self._observer is not None:
            self._observer.taken(now - ready)
        return key

    def done(self, key: str) -> None:
        """The worker is finished with the key."""
        taken = self._active.pop(key, None)
        if taken is not None and self._observer is not None:
            self._observer.worked(asyncio.get_running_loop().time() - taken)
        self._retried.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._enqueue(key)

    def _enqueue(self, key: str) -> None:
        if key in self._active:
            self._again.add(key)
        elif key not in self._queued:
            self._queued[key] = asyncio.get_running_loop().time()
            self._ready.put_nowait(key)
            if self._observer is not None:
                self._observer.added()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._heap[0][0], self._fire)

    def _fire(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now + 0.001:
            when, key = heapq.heappop(self._heap)
            # An entry is stale if a later `add` moved its key to an earlier time.
            if self._due.get(key) == when:
                del self._due[key]
                self._enqueue(key)
        self._arm()


async def run_workers(
    queue: WorkQueue,
    workers: int,
    act: Callable[[str], Awaitable[None]],
    on_error: Callable[[str, Exception], None],
    *,
    log_fields: Callable[[str], Mapping[str, Any]],
    timeout_seconds: float | None = None,
) -> None:
    """Run ``workers`` workers for ever.

    Args:
        queue: Where the keys come from.
        workers: How many keys are worked on at the same time.
        act: Works on one key.
        on_error: Receives each error of ``act``: it logs the error and retries the key.
        log_fields: What the logs of the work on a key are about.
        timeout_seconds: The limit for one call of ``act``; None is no limit.
    """

    async def work() -> None:
        while True:
            key = await queue.get()
            with about(_fields(log_fields, key)):
                await turn(key)

    async def turn(key: str) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await act(key)
            queue.forget(key)
        except Exception as e:
            on_error(key, e)
        finally:
            queue.done(key)

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(work())


def _fields(of: Callable[[str], Mapping[str, Any]], key: str) -> Mapping[str, Any]:
    """What logs about a key show; an error here must not end its worker."""
    try:
        return of(key)
    except Exception:
        log.exception("the logs of the work on %s do not show what it is about", key)
        return {}
