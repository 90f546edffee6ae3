"""Sends metrics of ended jobs to CloudWatch, in a thread of its own.

No job waits for it: :meth:`CloudWatchMetrics.offer` puts a sample into a bounded queue, and the
oldest ones are dropped when it is full. The thread sends once per interval. If CloudWatch is away,
it tries again with back-off, and drops what is older than :data:`GIVE_UP_SECONDS`.

Each job counts once: the operator that writes its terminal status offers it. A process that is
killed takes the samples of one interval with it; one that stops sends them first.
"""

import asyncio
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from nanogrid.backoff import exponential, jitter
from nanogrid.cloudwatch.client import CloudWatchError
from nanogrid.logs import OncePerMinute, about, fields_of_job
from nanogrid.types import Json
from nanogrid_operator.delivery.cloudwatch.groups import grouped
from nanogrid_operator.delivery.cloudwatch.samples import Sample, sample_of
from nanogrid_operator.delivery.cloudwatch.series import SeriesLimit
from nanogrid_operator.delivery.cloudwatch.targets import Target

log = logging.getLogger("nanogrid.cloudwatch")

MAX_PENDING: Final = 10_000  # samples in memory, about 3 MB
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
GIVE_UP_SECONDS: Final = 600.0  # after the first try
DRAIN_SECONDS: Final = 5.0  # at the end of the process
LOG_SECONDS: Final = 60.0  # between two lines about the same trouble


@dataclass(slots=True)
class _Lost:
    """What was lost since the last line of the log."""

    samples: int = 0  # of a full queue
    batches: int = 0  # not sent
    cause: str = ""


class CloudWatchMetrics:
    """:meth:`offer` ended jobs to it while :meth:`sending`.

    Args:
        target: where metrics go; None: nowhere, and all methods do nothing.
        interval: seconds between two turns.
        max_series: pairs of namespace and function; see :class:`SeriesLimit`.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        target: Target | None,
        *,
        interval: float,
        max_series: int,
        clock: Callable[[], float] = time.time,
        max_pending: int = MAX_PENDING,
        give_up_seconds: float = GIVE_UP_SECONDS,
    ) -> None:
        self._target = target
        self._interval = interval
        self._limit = SeriesLimit(max_series)
        self._clock = clock
        self._max_pending = max_pending
        self._give_up_seconds = give_up_seconds
        self._lock = threading.Lock()
        self._pending: deque[Sample] = deque()
        self._offered: OrderedDict[str, None] = OrderedDict()  # uids
        self._lost = _Lost()
        self._next_line = 0.0
        self._failed = OncePerMinute()
        self._stopping = threading.Event()
        self._stop_at = 0.0  # monotonic

    @property
    def pending(self) -> int:
        """The number of samples that wait."""
        return len(self._pending)

    def offer(self, job: Json) -> None:
        """Take a job whose terminal status is written. Never raises, and never blocks."""
        if self._target is None:
            return
        try:
            sample = sample_of(job, self._clock())
        except Exception:
            if self._failed.now():
                with about(fields_of_job(job)):
                    log.exception("the job has no metrics in CloudWatch: its status cannot be read")
            return
        if sample is None or sample.uid in self._offered:
            return
        self._offered[sample.uid] = None
        if len(self._offered) > self._max_pending:
            self._offered.popitem(last=False)
        with self._lock:
            full = len(self._pending) >= self._max_pending
            if full:
                self._pending.popleft()
                self._lost.samples += 1
            self._pending.append(sample)
        if full:  # the thread may hang, so it cannot say it
            self._say()

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send as long as the context lasts, then what is left, for a bounded time."""
        if self._target is None:
            yield
            return
        # A daemon: a call that hangs must not keep the process.
        thread = threading.Thread(
            target=self._run, args=(self._target,), name="cloudwatch", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self._stop_at = time.monotonic() + DRAIN_SECONDS
            self._stopping.set()
            await asyncio.to_thread(thread.join, DRAIN_SECONDS)
            if thread.is_alive():
                log.warning("stopped before CloudWatch had the metrics of the last jobs")

    def _run(self, target: Target) -> None:
        """The thread: one turn per interval, and one at the end."""
        while not self._stopping.wait(self._interval):
            self._turn(target)
        self._turn(target)

    def _turn(self, target: Target) -> None:
        """Send all samples that wait."""
        with self._lock:
            samples = list(self._pending)
            self._pending.clear()
        give_up = time.monotonic() + self._give_up_seconds
        try:
            for batch in target.batches(grouped(samples, self._limit)):
                self._send(target, batch, give_up)
        except Exception:  # a fault of ours costs metrics, and nothing else
            log.exception("the metrics of %d jobs are lost", len(samples))
        self._say()

    def _send(self, target: Target, batch: Any, give_up: float) -> None:
        """Send a batch, with more tries until that time."""
        failures = 0
        while self._in_time(give_up):
            try:
                target.send(batch)
                return
            except CloudWatchError as e:
                self._lost.cause = str(e)
                if e.refused:
                    break
            self._say()
            self._pause(failures)
            failures += 1
        self._lost.batches += 1

    def _in_time(self, give_up: float) -> bool:
        end = min(give_up, self._stop_at) if self._stopping.is_set() else give_up
        return time.monotonic() < end

    def _pause(self, failures: int) -> None:
        """Wait before another try. A stop ends the pause, and makes the next ones short."""
        seconds = jitter(exponential(failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
        if self._stopping.is_set():
            time.sleep(min(seconds, FIRST_PAUSE_SECONDS))
        else:
            self._stopping.wait(seconds)

    def _say(self) -> None:
        """Log what went wrong, at most one line in :data:`LOG_SECONDS`."""
        lost, now = self._lost, time.monotonic()
        if not (lost.samples or lost.batches or lost.cause):
            return
        if now < self._next_line and not self._stopping.is_set():
            return
        self._next_line = now + LOG_SECONDS
        with self._lock:
            self._lost = _Lost()
        log.warning(
            "CloudWatch: %s; lost since the last such line: %d requests or lines, and %d jobs for "
            "which there was no room; %d jobs wait",
            lost.cause or ("the queue is full" if lost.samples else "there was no time left"),
            lost.batches, lost.samples, len(self._pending),
        )  # fmt: skip
