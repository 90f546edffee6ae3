"""How an attempt ends: with the job, whose result is published and then written, or with a retry.

Publish, then commit: what Redis was told is what the status and S3 say, also when the operator
dies between the two.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_operator import actions, jobstatus, outcome, session, webhook_rules
from nanogrid_operator.delivering import DELIVERY_CAP_SECONDS, Delivering
from nanogrid_operator.facts import Job, Json
from nanogrid_operator.kube import CORE, JOBS, KubeApi, KubeError, collection
from nanogrid_operator.outcome import Delivery, Outcome, Storage
from nanogrid_operator.publish import Publisher
from nanogrid_operator.s3 import ResultStore, S3Error
from nanogrid_operator.sessionstatus import Followed
from nanogrid_operator.settings import Settings
from nanogrid_operator.store import Store
from nanogrid_operator.task import InvalidSpecError
from nanogrid_operator.view import View
from nanogrid_operator.workqueue import WorkQueue
from nanogrid_operator.writer import Writer

log = logging.getLogger("nanogrid.reconcile")


class Published(NamedTuple):
    """What Redis was told, or refused for good, and the status does not say yet."""

    outcome: Outcome
    delivery: Delivery
    storage: Storage | None  # None without a bucket


@dataclass(slots=True, kw_only=True)
class Ending:
    """Everything it needs is handed in; the callbacks learn of ends that concern them."""

    settings: Settings
    store: Store
    queue: WorkQueue
    kube: KubeApi
    publisher: Publisher
    results: ResultStore
    writer: Writer
    delivering: Delivering
    followed: Followed
    clock: Callable[[], float] = time.time
    published: dict[str, Published] = field(default_factory=dict)  # by uid
    outbox: Callable[[str], None] = lambda uid: None  # bring the result of this job to S3
    counted: Callable[[Json], None] = lambda body: None  # count this run of a function

    async def finish(self, v: View, ended: Outcome) -> None:
        """Publish the result and write the terminal status."""
        job = v.job
        ended, delivery, storage = await self._publish_once(job, ended)
        webhook = self._has_webhook(job)
        status = jobstatus.final_status(
            job, v.known_pod, ended, delivery, self.clock(), storage=storage, webhook=webhook
        )
        status = self.followed.final(job, v.session, ended, status, self.clock())
        # Before the write: what is terminal is not looked at again.
        await self._remove_ways_in(job)
        if delivery.state == "Pending" or (storage is not None and storage.pending):
            self.delivering.held.put(job.uid, ended.result)
        written = await self.writer.write(job, status)
        if written is not None:
            self.counted(written)
        self.followed.forget(job)
        self.published.pop(job.uid, None)
        self.store.drop_reports(job.uid)
        self._tell(job, ended, delivery, storage)
        await self._remove_stuck(v, ended)
        if storage is not None and storage.pending:
            self.outbox(job.uid)
        if delivery.state == "Pending":
            self.queue.retry(job.uid, DELIVERY_CAP_SECONDS)

    def _tell(self, job: Job, ended: Outcome, delivery: Delivery, storage: Storage | None) -> None:
        self.writer.tell(job, ended.reason, ended.message, bad=not ended.succeeded)
        log.info(
            "job %s/%s uid=%s: %s %s exit=%s delivery=%s receivers=%s",
            job.namespace, job.name, job.uid, ended.result.status, ended.reason,
            ended.result.exit_code, delivery.state, delivery.receivers,
        )  # fmt: skip
        if storage is not None and storage.pending:
            self.writer.tell(job, storage.reason, storage.message, bad=True)
        if delivery.state == "Pending":
            reason = delivery.reason or Reason.REDIS_UNAVAILABLE
            self.writer.tell(job, reason, delivery.message, bad=True)

    async def retry(self, v: View, action: actions.Retry) -> None:
        """Write the attempt's end and go on with the next one."""
        told = await self.publisher.told_before(v.job.request_id, v.job.uid)
        if told is not None:
            # An operator before this one had decided otherwise, and could not write it any more.
            await self.finish(v, outcome.adopted(action.outcome, told))
            return
        status = jobstatus.retry_status(
            v.job, v.known_pod, action.outcome, action.counted, action.suspended, self.clock()
        )
        await self.writer.write(v.job, status)
        self.store.drop_reports(v.job.uid)
        reason = Reason(status["reason"])
        self.writer.tell(v.job, reason, status["message"], bad=not action.suspended)
        await self._remove_stuck(v, action.outcome)
        self.queue.add(v.job.uid)

    async def delete(self, job: Job) -> None:
        """Delete a finished job whose time to live is over."""
        path = collection(JOBS, names.PLURAL, job.namespace)
        await self.kube.delete(path, job.name, job.uid)
        log.info(
            "job %s/%s uid=%s: deleted, its time to live is over", job.namespace, job.name, job.uid
        )

    async def _publish_once(self, job: Job, ended: Outcome) -> Published:
        """Publish; after a status write that failed, answer what was told the first time.

        What an earlier try told stays told: an answer may have been lost, or a restart may have
        come between, and status and S3 must say the same as Redis.
        """
        known = self.published.get(job.uid)
        if known is not None:
            return known
        delivery = await self.publisher.publish(ended.result)
        if delivery.told is not None:
            ended = outcome.adopted(ended, delivery.told)
        told = Published(ended, delivery, await self._store_own(job, ended))
        if delivery.state != "Pending":
            self.published[job.uid] = told
        return told

    async def _store_own(self, job: Job, ended: Outcome) -> Storage | None:
        """Put a result into S3 that the agent did not put there, or not in these words.

        S3 being away must not keep a job from ending, for the CR and Redis have the result. What
        the agent has just been refused is left to the outbox at once.
        """
        if not self.results.bucket:
            return None
        if ended.unstored:
            return Storage.failed("the agent could not store it")
        if not ended.ours:
            return Storage()
        try:
            return await self.results.save(ended.result)
        except S3Error as e:
            log.warning("job uid=%s: the result is not in S3: %s", job.uid, e)
            return Storage.failed(str(e))

    def _has_webhook(self, job: Job) -> bool:
        try:
            spec = job.model.spec if job.model else None
            return webhook_rules.target(spec, self.settings) is not None
        except InvalidSpecError:
            return False  # that is why the job failed

    async def _remove_ways_in(self, job: Job) -> None:
        """No load balancer keeps a target or a rule for a session that has ended."""
        for base, plural, manifest in session.ways_in(job, self.settings):
            path = collection(base, plural, job.namespace)
            try:
                await self.kube.delete(path, manifest["metadata"]["name"])
            except KubeError as e:
                if e.code != 403:
                    raise
                # The way in is no longer allowed by the chart's values; it goes with the job.
                log.warning("job uid=%s: %s is left: %s", job.uid, plural, e)

    async def _remove_stuck(self, v: View, ended: Outcome) -> None:
        if ended.remove_pod and v.pod is not None:
            await self.kube.delete(collection(CORE, "pods", v.job.namespace), v.pod.name, v.pod.uid)
