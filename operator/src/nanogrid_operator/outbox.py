"""Brings results to S3 that S3 did not take when their job ended, beside everything else.

The CR is the outbox: the condition ``ResultStored`` says what is still to be stored, so a restart
forgets nothing. A queue of its own, so that an S3 that hangs delays neither pods nor Redis.
"""

import asyncio
import logging

from nanogrid import wire
from nanogrid_operator import outcome
from nanogrid_operator.delivering import Delivering
from nanogrid_operator.facts import Job, job_facts
from nanogrid_operator.kube import KubeError
from nanogrid_operator.outcome import Storage
from nanogrid_operator.s3 import S3Error
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.outbox")

CAP_SECONDS = 30.0  # between two tries
AT_ONCE = 2  # of the process's few threads for S3
TURN_SECONDS = 180.0  # more than all timeouts of its calls together


class Outbox:
    """:meth:`offer` jobs to it; :meth:`run` works for ever."""

    def __init__(self, delivering: Delivering) -> None:
        self._delivering = delivering
        self._queue = WorkQueue()
        self._pending: set[str] = set()

    def offer(self, uid: str) -> None:
        """A job whose result is to be stored; one that is known already keeps its time."""
        if uid not in self._pending:
            self._pending.add(uid)
            self._queue.add(uid)

    async def run(self) -> None:
        """Store results for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            try:
                async with asyncio.timeout(TURN_SECONDS):
                    await self._turn(uid)
                self._queue.forget(uid)
            except KubeError as e:
                delay = self._queue.retry(uid, CAP_SECONDS, at_least=e.retry_after)
                log.info("job uid=%s: outbox: retry in %.1f s: %s", uid, delay, e)
            except Exception:
                delay = self._queue.retry(uid, CAP_SECONDS)
                log.exception("job uid=%s: outbox: retry in %.1f s", uid, delay)
            finally:
                self._queue.done(uid)

    async def _turn(self, uid: str) -> None:
        body = self._delivering.store.job(uid)
        job = job_facts(body) if body is not None else None
        if job is None or job.deleting or not job.unstored or not self._delivering.results.bucket:
            self._pending.discard(uid)
            return
        storage = await self._save(job)
        await self._delivering.stored(job, storage)
        if not storage.pending:
            self._pending.discard(uid)
            return
        delay = self._queue.retry(uid, CAP_SECONDS)
        log.warning("job uid=%s: outbox: retry in %.1f s: %s", uid, delay, storage.message)

    async def _save(self, job: Job) -> Storage:
        try:
            return await self._delivering.results.save(await self._whole(job))
        except S3Error as e:
            return Storage.failed(str(e))

    async def _whole(self, job: Job) -> wire.Result:
        """The decided result: from memory, else as Redis was told, else what the CR keeps."""
        held = self._delivering.held.get(job.uid)
        if held is not None:
            return held
        kept = wire.from_dict(wire.Result, job.status["result"])
        told = await self._delivering.publisher.told_before(job.request_id, job.uid)
        return told if told is not None and outcome.same_end(told, kept) else kept
