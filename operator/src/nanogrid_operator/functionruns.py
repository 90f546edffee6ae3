"""Counts runs of functions on their Functions' status, beside everything else.

Best effort, on derived data: a queue of its own, at most one write per function every two seconds,
and nothing that a job waits for. What a dead operator had not counted is found again by the full
LIST of the next one. Two operators that count the same run conflict on resourceVersion, and the
second one finds it counted.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from nanogrid import names
from nanogrid_operator import functionstatus
from nanogrid_operator.facts import timestamp
from nanogrid_operator.functionstatus import Known, Run
from nanogrid_operator.kube import JOBS, KubeApi, KubeError, collection
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.functions")

Json = dict[str, Any]

BATCH_SECONDS = 2.0  # between two writes to one function
CAP_SECONDS = 30.0  # between two tries
TRIES = 10  # at one batch; then the next full LIST offers its runs again
AT_ONCE = 2
TURN_SECONDS = 180.0  # more than all timeouts of its calls together
RECENT_SECONDS = 3600.0  # of what a LIST shows, older ends were counted long ago
ABSENT_SECONDS = 60.0  # for which nobody asks again for a function that was not there
MOST_PENDING = 10_000  # runs in memory
MOST_FUNCTIONS = 200  # whose counted runs are remembered


class FunctionRuns:
    """:meth:`offer` ended jobs to it; :meth:`run` works for ever."""

    def __init__(self, kube: KubeApi, clock: Callable[[], float] = time.time) -> None:
        self._kube = kube
        self._clock = clock
        self._queue = WorkQueue()
        self._pending: dict[str, dict[str, Run]] = {}  # by function, then by the job's uid
        self._size = 0  # runs in it
        self._failures: dict[str, int] = {}
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._absent: OrderedDict[str, float] = OrderedDict()  # and until when that is believed

    @property
    def idle(self) -> bool:
        """Whether no run waits to be counted."""
        return self._size == 0

    def listed(self, job: Json) -> None:
        """A job that a LIST shows: offered if it ended of late."""
        completed = (job.get("status") or {}).get("completionTime") or ""
        if completed >= timestamp(self._clock() - RECENT_SECONDS):
            self.offer(job)

    def offer(self, job: Json) -> None:
        """A job, as the API server gives it; one that is no ended run of a function is none.

        Never raises: the job's own protocol goes on, whatever its object looks like.
        """
        try:
            run = functionstatus.run_of(job)
        except Exception:
            uid = (job.get("metadata") or {}).get("uid")
            log.exception("job uid=%s is not counted: its status cannot be read", uid)
            return
        if run is None:
            return
        key = f"{run.namespace}/{run.function}"
        absent = not run.sure and self._absent.get(key, 0.0) > self._clock()
        counted = self._known.get(key)
        if absent or (counted is not None and counted.has(run)):
            return
        if run.uid in self._pending.get(key, {}):
            return
        if self._size >= MOST_PENDING:
            log.warning("job uid=%s is not counted yet: too many wait before it", run.uid)
            return
        self._pending.setdefault(key, {})[run.uid] = run
        self._size += 1
        self._queue.add(key, BATCH_SECONDS)

    async def run(self) -> None:
        """Count runs for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await self._turn(key)
                self._queue.forget(key)
                self._failures.pop(key, None)
            except Exception as e:
                self._failed(key, e)
            finally:
                self._queue.done(key)

    def _failed(self, key: str, error: Exception) -> None:
        tries = self._failures[key] = self._failures.get(key, 0) + 1
        if tries >= TRIES:
            del self._failures[key]
            self._queue.forget(key)
            left = list(self._pending.get(key, {}).values())
            self._forget(key, left)
            said = "function %s: %d runs are not counted until the next LIST: %s"
            log.error(said, key, len(left), error)
            return
        at_least = error.retry_after if isinstance(error, KubeError) else 0.0
        delay = self._queue.retry(key, CAP_SECONDS, at_least=at_least)
        if isinstance(error, KubeError):
            log.info("function %s: retry in %.1f s: %s", key, delay, error)
        else:
            log.error("function %s: retry in %.1f s", key, delay, exc_info=error)

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
            # Deleted, or never there: functionId may be any word.
            _remember(self._absent, key, self._clock() + ABSENT_SECONDS)
            self._known.pop(key, None)
        else:
            self._absent.pop(key, None)
            _remember(self._known, key, functionstatus.known(function))
        self._forget(key, batch)

    async def _count(self, namespace: str, name: str, batch: list[Run]) -> Json:
        path = collection(JOBS, names.FUNCTION_PLURAL, namespace)
        function = await self._kube.get(path, name)
        status = functionstatus.merged(function, batch)
        if status is None:
            return function
        version = {"resourceVersion": function["metadata"]["resourceVersion"]}
        return await self._kube.patch_status(path, name, {"metadata": version, "status": status})

    def _forget(self, key: str, batch: list[Run]) -> None:
        """Drop what is counted; what came meanwhile has its own place in the queue."""
        waiting = self._pending.get(key, {})
        for run in batch:
            self._size -= waiting.pop(run.uid, None) is not None
        if not waiting:
            self._pending.pop(key, None)


def _remember(memory: "OrderedDict[str, Any]", key: str, value: object) -> None:
    """Put the newest last, and let the oldest go when there are too many."""
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > MOST_FUNCTIONS:
        memory.popitem(last=False)
