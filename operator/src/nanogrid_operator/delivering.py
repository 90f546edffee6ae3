"""What follows a job's end: its result on the way to Redis, S3 and a webhook that were away.

The CR is the outbox. A terminal status never changes in what it says of the job; these methods
change only what it says of the delivery.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from nanogrid import wire
from nanogrid.reasons import Reason, sentence
from nanogrid_operator import jobstatus, outcome, webhook_rules
from nanogrid_operator.facts import Job, job_facts
from nanogrid_operator.held import Held
from nanogrid_operator.outcome import Delivery, Storage
from nanogrid_operator.publish import Publisher
from nanogrid_operator.s3 import ResultStore, S3Error
from nanogrid_operator.store import Store
from nanogrid_operator.webhook_rules import Record
from nanogrid_operator.workqueue import WorkQueue
from nanogrid_operator.writer import Writer

log = logging.getLogger("nanogrid.reconcile")

DELIVERY_CAP_SECONDS = 5.0  # a Redis that is back has all results within ten seconds


@dataclass(slots=True, kw_only=True)
class Delivering:
    """Everything it needs is handed in; ``held`` are whole results that are still owed."""

    store: Store
    queue: WorkQueue
    publisher: Publisher
    results: ResultStore
    writer: Writer
    held: Held = field(default_factory=Held)
    clock: Callable[[], float] = time.time

    async def deliver(self, job: Job) -> None:
        """Publish the result of a finished job that Redis does not have yet."""
        result = await self.result_of(job)
        delivery = await self.publisher.publish(result)
        if delivery.state == "Pending":
            await self._still_pending(job, delivery)
            return
        if delivery.told is not None and not outcome.same_end(delivery.told, result):
            # Only after a restart that came between publishing and the status, with Redis away
            # since: a terminal status does not change, so it says what Redis was told.
            t = delivery.told
            said = f"Redis was told {t.status} {t.reason} of attempt {t.attempt} before a restart"
            delivery = replace(delivery, message=said)
            log.error("job %s/%s uid=%s: %s", job.namespace, job.name, job.uid, said)
        await self.writer.write(job, jobstatus.delivered_status(job, delivery, self.clock()))
        if delivery.state == "Delivered":
            self.writer.tell(job, Reason.DELIVERED, "The result reached Redis late")
        else:
            self.writer.tell(job, Reason.REQUEST_ID_CONFLICT, delivery.message, bad=True)

    async def _still_pending(self, job: Job, delivery: Delivery) -> None:
        """Try again soon; a write only when the cause, and so the cure, is another one."""
        if delivery.reason is not None and jobstatus.delivery_reason(job) != delivery.reason:
            await self.writer.write(job, jobstatus.delivered_status(job, delivery, self.clock()))
            self.writer.tell(job, delivery.reason, delivery.message, bad=True)
        delay = self.queue.retry(job.uid, DELIVERY_CAP_SECONDS)
        log.warning("job uid=%s: delivery retry in %.1f s: %s", job.uid, delay, delivery.message)

    async def result_of(self, job: Job) -> wire.Result:
        """The result as it was decided; from S3 where the CR keeps a shortened copy only."""
        held = self.held.get(job.uid)
        if held is not None:
            return held
        kept = wire.from_dict(wire.Result, job.status["result"])
        if not jobstatus.shortened(kept):
            return kept
        try:
            stored = await self.results.load(job.request_id)
        except S3Error as e:
            log.warning("job uid=%s: delivering the CR's copy of the result: %s", job.uid, e)
            return kept
        ours = (job.uid, kept.attempt, kept.reason)
        if stored is not None and (stored.job.uid, stored.attempt, stored.reason) == ours:
            return stored
        return kept

    async def stored(self, job: Job, storage: Storage) -> None:
        """Write what S3 said to a result that it did not take before.

        Raises:
            KubeError: the status could not be written.
        """
        status = jobstatus.storage_status(job, storage, self.clock())
        if status is None:
            return
        await self.writer.write(job, status)
        if storage.reason is Reason.STORED:
            self.writer.tell(job, Reason.STORED, "The result reached S3 late")
        else:
            self.writer.tell(job, storage.reason, storage.message, bad=True)

    async def webhook_told(self, uid: str, record: Record) -> None:
        """Write what a webhook answered.

        Raises:
            KubeError: the status could not be written.
        """
        body = self.store.job(uid)
        if body is None:
            return
        job = job_facts(body)
        await self.writer.write(job, jobstatus.webhook_status(job, record, self.clock()))
        if record.state != webhook_rules.PENDING:
            bad = record.state != webhook_rules.DELIVERED
            reason = webhook_rules.REASONS[record.state]
            self.writer.tell(job, reason, sentence(reason, record.message), bad=bad)
