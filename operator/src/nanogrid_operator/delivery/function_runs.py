"""Counts runs of functions in the status of their Functions.

This is best effort, on derived data. It has its own queue, writes to a function at most every two
seconds, and no job waits for it. If an operator dies before it counts a run, the full LIST of the
next one finds that run. Two operators that count the same run conflict on resourceVersion, and the
second one finds the run counted.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import JOBS, KubeError, collection
from nanogrid.logs import about, fields_of_job
from nanogrid.types import Json
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.status.function import CountedRuns, Run, counted_runs, merged, run_of
from nanogrid_operator.workqueue import WorkQueue, run_workers

log = logging.getLogger("nanogrid.functions")


BATCH_SECONDS = 2.0  # between two writes to one function
CAP_SECONDS = 30.0  # between two tries
TRIES = 10  # for one batch; after them, the next full LIST offers its runs again
WORKERS = 2
TURN_SECONDS = 180.0  # more than all timeouts of its calls together
RECENT_SECONDS = 3600.0  # a LIST offers no older ends: they were counted before
ABSENT_SECONDS = 60.0  # how long a function that was not found is not read again
MAX_PENDING = 10_000  # runs in memory
MAX_FUNCTIONS = 200  # functions whose counted runs are in memory


class FunctionRuns:
    """:meth:`offer` ended jobs to it; :meth:`run` works for ever."""

    def __init__(
        self,
        kube: KubeApi,
        clock: Callable[[], float] = time.time,
        *,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._max_pending = max_pending
        self._queue = WorkQueue()
        self._pending: dict[str, dict[str, Run]] = {}  # by function, then by the job's uid
        self._size = 0  # runs in `_pending`
        self._counted: OrderedDict[str, CountedRuns] = OrderedDict()
        self._absent_until: OrderedDict[str, float] = OrderedDict()

    @property
    def idle(self) -> bool:
        """Whether no run waits to be counted."""
        return self._size == 0

    def offer_listed(self, job: Json) -> None:
        """Offer a job of a LIST, if it has ended recently."""
        completed = (job.get("status") or {}).get("completionTime") or ""
        if completed >= timestamp(self._clock() - RECENT_SECONDS):
            self.offer(job)

    def offer(self, job: Json) -> None:
        """Offer a job of the API server. A job that is not an ended run of a function is skipped.

        Never raises: the job's own processing goes on, even if its object is invalid.
        """
        with about(fields_of_job(job)):
            self._offer(job)

    def _offer(self, job: Json) -> None:
        try:
            run = run_of(job)
        except Exception:
            log.exception("the run is not counted: its status cannot be read")
            return
        if run is None:
            return
        key = f"{run.namespace}/{run.function}"
        absent = not run.sure and self._absent_until.get(key, 0.0) > self._clock()
        counted = self._counted.get(key)
        if absent or (counted is not None and counted.has(run)):
            return
        if run.uid in self._pending.get(key, {}):
            return
        if self._size >= self._max_pending:
            log.warning("the run is not counted yet: %d runs wait", self._size)
            return
        self._pending.setdefault(key, {})[run.uid] = run
        self._size += 1
        self._queue.add(key, BATCH_SECONDS)

    async def run(self) -> None:
        """Count runs for ever."""
        await run_workers(
            self._queue,
            WORKERS,
            self._turn,
            self._failed,
            log_fields=_function_fields,
            timeout_seconds=TURN_SECONDS,
        )

    def _failed(self, key: str, error: Exception) -> None:
        if self._queue.failures(key) + 1 >= TRIES:
            self._queue.forget(key)
            left = list(self._pending.get(key, {}).values())
            self._forget(key, left)
            log.error(
                "%d runs are not counted until the next LIST: %s",
                len(left), error,
            )  # fmt: skip
            return
        at_least = error.retry_after if isinstance(error, KubeError) else 0.0
        delay = self._queue.retry(key, CAP_SECONDS, at_least=at_least)
        if isinstance(error, KubeError):
            log.info("function: retry in %.1f s: %s", delay, error)
        else:
            log.error("function: retry in %.1f s", delay, exc_info=error)

    async def _turn(self, key: str) -> None:
        batch = list(self._pending.get(key, {}).values())
        if not batch:
            return
        namespace, _, name = key.partition("/")
        try:
            function = await self._count(namespace, name, batch)
        except KubeError as e:
            if e.code != 404:
                raise
            # It was deleted, or never existed: functionId can be any text.
            _remember(self._absent_until, key, self._clock() + ABSENT_SECONDS)
            self._counted.pop(key, None)
        else:
            self._absent_until.pop(key, None)
            _remember(self._counted, key, counted_runs(function))
        self._forget(key, batch)

    async def _count(self, namespace: str, name: str, batch: list[Run]) -> Json:
        path = collection(JOBS, names.FUNCTION_PLURAL, namespace)
        function = await self._kube.get(path, name)
        status = merged(function, batch)
        if status is None:
            return function
        version = {"resourceVersion": function["metadata"]["resourceVersion"]}
        return await self._kube.patch_status(path, name, {"metadata": version, "status": status})

    def _forget(self, key: str, batch: list[Run]) -> None:
        """Drop runs that are counted. Runs that came since have their own turn in the queue."""
        waiting = self._pending.get(key, {})
        for run in batch:
            self._size -= waiting.pop(run.uid, None) is not None
        if not waiting:
            self._pending.pop(key, None)


def _remember(memory: "OrderedDict[str, Any]", key: str, value: object) -> None:
    """Add the newest entry at the end, and evict the oldest ones."""
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > MAX_FUNCTIONS:
        memory.popitem(last=False)


def _function_fields(key: str) -> dict[str, str]:
    """What logs about a function show."""
    namespace, _, function = key.partition("/")
    return {"namespace": namespace, "function": function}
