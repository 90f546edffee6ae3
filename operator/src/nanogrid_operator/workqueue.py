"""A keyed, deduplicating, delaying queue with back-off, after client-go's workqueue.

A key is handed to one worker at a time; added again meanwhile, it is handed out once more after
that worker is done. ``add`` with a delay keeps the earliest pending time. No Kubernetes in here.
"""

import asyncio
import heapq
import random
from collections import defaultdict

BASE_SECONDS = 0.1
CAP_SECONDS = 30.0


class WorkQueue:
    """See the module's docstring. Not thread-safe: one event loop owns it."""

    def __init__(self) -> None:
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._due: dict[str, float] = {}  # pending key -> loop time
        self._heap: list[tuple[float, str]] = []
        self._queued: dict[str, float] = {}  # ready key -> loop time
        self._active: dict[str, float] = {}  # key that a worker has -> loop time
        self._moved = 0.0  # when a worker last took a key
        self._again: set[str] = set()
        self._failures: dict[str, int] = defaultdict(int)
        self._retried: set[str] = set()  # keys whose present worker asked for a retry
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Keys that are ready or being worked on."""
        return len(self._queued) + len(self._active)

    def stalled(self) -> tuple[str, float]:
        """The key that has been with its worker the longest, and for how many seconds.

        When no worker takes any, one that waits, since the last that was taken. A long queue that
        moves is none.
        """
        if not (self._active or self._queued):
            return "", 0.0
        now = asyncio.get_running_loop().time()
        if self._active:
            key, since = min(self._active.items(), key=lambda pair: pair[1])
            return key, now - since
        return next(iter(self._queued)), now - max(self._moved, min(self._queued.values()))

    def add(self, key: str, delay: float = 0.0) -> None:
        """Hand out the key now, or after a delay in seconds."""
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
        """Hand out the key again after a back-off, at most ``cap``; returns it in seconds.

        ``at_least``: what a server asked for, in seconds; it is not undercut, up to the cap.
        """
        failures = self._failures[key]
        self._failures[key] = failures + 1
        self._retried.add(key)
        delay = min(cap, BASE_SECONDS * (1 << min(failures, 12)))
        delay *= random.uniform(0.8, 1.0)  # noqa: S311 jitter, not a secret
        if at_least > delay:
            delay = min(cap, at_least * random.uniform(1.0, 1.2))  # noqa: S311 jitter
        self.add(key, delay)
        return delay

    def forget(self, key: str) -> None:
        """The key went well: its next failure starts at the shortest back-off.

        Without effect when this turn asked for a retry, as an undelivered result does.
        """
        if key not in self._retried:
            self._failures.pop(key, None)

    async def get(self) -> str:
        """The next key; call :meth:`done` when finished with it."""
        key = await self._ready.get()
        self._queued.pop(key, None)
        self._active[key] = self._moved = asyncio.get_running_loop().time()
        return key

    def done(self, key: str) -> None:
        """The worker is finished with the key."""
        self._active.pop(key, None)
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
            # An entry that was overtaken by an earlier add is stale.
            if self._due.get(key) == when:
                del self._due[key]
                self._enqueue(key)
        self._arm()
