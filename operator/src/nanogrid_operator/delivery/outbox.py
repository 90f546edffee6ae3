"""Stores results in S3 that S3 did not take when their job ended.

The status is the outbox: the condition ``ResultStored`` says what is still to be stored, so a
restart loses nothing. The outbox has its own queue, so an S3 that hangs delays neither pods nor
Redis.
"""

import logging
from dataclasses import dataclass, field

from nanogrid import wire
from nanogrid.kube.conventions import KubeError
from nanogrid.s3.errors import S3Error
from nanogrid_operator.decision import outcome
from nanogrid_operator.decision.outcome import Storage
from nanogrid_operator.delivery.delivery import ResultDelivery
from nanogrid_operator.delivery.pending_results import PendingResults
from nanogrid_operator.delivery.redis import Publisher
from nanogrid_operator.delivery.s3 import ResultStore
from nanogrid_operator.model.facts import Job, job_facts
from nanogrid_operator.model.tenant import Tenants
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.workqueue import WorkQueue, run_workers

log = logging.getLogger("nanogrid.outbox")

CAP_SECONDS = 30.0  # between two tries
WORKERS = 2  # the process has few threads for S3
TURN_SECONDS = 180.0  # more than all timeouts of its calls together


@dataclass(slots=True, kw_only=True)
class Outbox:
    """:meth:`offer` jobs to it; :meth:`run` works for ever."""

    tenants: Tenants
    cache: JobCache
    publisher: Publisher
    results: ResultStore
    pending_results: PendingResults
    delivery: ResultDelivery
    _queue: WorkQueue = field(default_factory=WorkQueue, init=False)
    _offered: set[str] = field(default_factory=set, init=False)

    def offer(self, uid: str) -> None:
        """A job whose result is to be stored. One that is known already keeps its time."""
        if uid not in self._offered:
            self._offered.add(uid)
            self._queue.add(uid)

    async def run(self) -> None:
        """Store results for ever."""
        await run_workers(
            self._queue,
            WORKERS,
            self._turn,
            self._failed,
            log_fields=self.cache.log_fields,
            timeout_seconds=TURN_SECONDS,
        )

    def _failed(self, uid: str, error: Exception) -> None:
        if isinstance(error, KubeError):
            delay = self._queue.retry(uid, CAP_SECONDS, at_least=error.retry_after)
            log.info("outbox: retry in %.1f s: %s", delay, error)
        else:
            delay = self._queue.retry(uid, CAP_SECONDS)
            log.error("outbox: retry in %.1f s", delay, exc_info=error)

    async def _turn(self, uid: str) -> None:
        body = self.cache.job(uid)
        job = job_facts(body) if body is not None else None
        if job is None or job.deleting or not job.unstored or not self._bucket(job):
            self._offered.discard(uid)
            return
        storage = await self._save(job)
        await self.delivery.record_storage(job, storage)
        if not storage.pending:
            self._offered.discard(uid)
            return
        delay = self._queue.retry(uid, CAP_SECONDS)
        log.warning("outbox: retry in %.1f s: %s", delay, storage.message)

    def _bucket(self, job: Job) -> str:
        return self.tenants.area(job.namespace).bucket

    async def _save(self, job: Job) -> Storage:
        try:
            area = self.tenants.area(job.namespace)
            return await self.results.save(area, await self._full_result(job))
        except S3Error as e:
            return Storage.failed(str(e))

    async def _full_result(self, job: Job) -> wire.Result:
        """The decided result: from memory, else from Redis, else the copy in the status."""
        pending = self.pending_results.get(job.uid)
        if pending is not None:
            return pending
        kept = wire.from_dict(wire.Result, job.status["result"])
        owner = self.delivery.owner(job, kept.attempt)
        previous = await self.publisher.previous_result(owner)
        same = previous is not None and outcome.same_end(previous, kept)
        return self.delivery.keys.sign(previous if previous is not None and same else kept)
