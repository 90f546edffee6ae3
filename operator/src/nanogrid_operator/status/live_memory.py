"""The memory of running code on the status, and how often it is written.

A write goes to every client that watches the job, and a thousand jobs may run. So all jobs share a
number of writes per second. The job that has waited longest is next, and no job is next again
within ``REPORT_SECONDS``. The numbers are a sandbox's own: no decision and no result uses them.
"""

import asyncio
import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

from nanogrid.live_memory import REPORT_SECONDS, MemoryUse, worth_reporting
from nanogrid.sizes import size_text
from nanogrid.types import Json
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import Pod

FIELDS = ("memory", "peakMemory")


def memory_status(use: MemoryUse, limit: int | None) -> Json:
    """The fields of the status for a use of memory and a limit, both in bytes."""
    status: Json = {"memory": size_text(use.current)}
    if use.peak is not None:
        status["peakMemory"] = peak_text(use.peak, limit)
    return status


def peak_text(peak: int, limit: int | None) -> str:
    """status.peakMemory: the peak, and the limit if there is one."""
    return f"{size_text(peak)}/{size_text(limit)}" if limit else size_text(peak)


def without_memory(job: Job) -> Json:
    """A merge patch that removes what the status shows of the memory of an attempt that ran."""
    return {name: None for name in FIELDS if name in job.status}


@dataclass(slots=True)
class _Known:
    attempt: int
    use: MemoryUse
    written: MemoryUse | None = None
    since: float = -math.inf  # loop time of the last write


class LiveMemory:
    """The newest use of each running job, and whose turn it is to have it written.

    Not thread-safe: one event loop owns it. It is a cache observer.
    """

    def __init__(self, writes_per_second: float, wake: Callable[[str], None]) -> None:
        """Nothing is known yet.

        Args:
            writes_per_second: for all jobs together; 0: nothing is ever written.
            wake: called with the uid of the job whose turn it is.
        """
        self._rate, self._wake = writes_per_second, wake
        self._known: dict[str, _Known] = {}
        self._heap: list[tuple[float, str]] = []  # loop time from which it may be next, uid
        self._waiting: dict[str, float] = {}  # the entries of the heap that still count
        self._turn: set[str] = set()
        self._added = asyncio.Event()

    def take(self, uid: str, attempt: int, use: MemoryUse, limit: int | None) -> None:
        """Take in a report of a running attempt; ``limit`` is in bytes."""
        known = self._known.get(uid)
        if self._rate <= 0 or (known is not None and attempt < known.attempt):
            return
        if known is None or attempt > known.attempt:
            self.forget_job(uid)
            known = self._known[uid] = _Known(attempt, use)
        known.use = use
        if uid in self._waiting or uid in self._turn:
            return
        if worth_reporting(known.written, use, limit):
            self._wait(uid, known)

    def _wait(self, uid: str, known: _Known) -> None:
        """Let a job wait for its turn."""
        when = max(asyncio.get_running_loop().time(), known.since + REPORT_SECONDS)
        self._waiting[uid] = when
        heapq.heappush(self._heap, (when, uid))
        self._added.set()

    def due(self, job: Job) -> bool:
        """Whether the job's newest use should be written now."""
        return job.uid in self._turn and self._known[job.uid].attempt == job.attempt

    def status(self, job: Job, pod: Pod | None) -> Json:
        """The status of the newest use; empty if none is known of this attempt."""
        known = self._known.get(job.uid)
        if known is None or known.attempt != job.attempt:
            return {}
        return memory_status(known.use, pod.memory_limit_bytes if pod else None)

    def written(self, job: Job) -> None:
        """The newest use is being written; call :meth:`failed` if that fails."""
        self._turn.discard(job.uid)
        self._waiting.pop(job.uid, None)
        known = self._known.get(job.uid)
        if known is not None and known.attempt == job.attempt:
            known.written = known.use
            known.since = asyncio.get_running_loop().time()

    def failed(self, job: Job) -> None:
        """The newest use is not written. The agent may report no other one, so the job waits."""
        known = self._known.get(job.uid)
        if known is not None and known.attempt == job.attempt:
            known.written = None
            if job.uid not in self._waiting:
                self._wait(job.uid, known)

    def observe_pod(self, namespace: str, name: str, body: Json | None) -> None:
        """Pods do not matter here."""

    def forget_job(self, uid: str) -> None:
        """The job, or an attempt of it, has ended, or the job was deleted."""
        self._known.pop(uid, None)
        self._waiting.pop(uid, None)
        self._turn.discard(uid)

    async def run(self) -> None:
        """Give jobs their turn for ever, within the rate."""
        while True:
            uid = await self._next()
            self._turn.add(uid)
            self._wake(uid)
            await asyncio.sleep(1 / self._rate)

    async def _next(self) -> str:
        """Wait for the job that has waited longest."""
        while True:
            self._added.clear()
            while self._heap and self._waiting.get(self._heap[0][1]) != self._heap[0][0]:
                heapq.heappop(self._heap)  # it was written with something else, or has ended
            now = asyncio.get_running_loop().time()
            if self._heap and self._heap[0][0] <= now:
                uid = heapq.heappop(self._heap)[1]
                self._waiting.pop(uid, None)
                return uid
            left = self._heap[0][0] - now if self._heap else None
            try:
                async with asyncio.timeout(left):
                    await self._added.wait()
            except TimeoutError:
                continue  # the first of the heap is due
