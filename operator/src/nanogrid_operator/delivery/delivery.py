"""What follows a job's end: delivery of its result to Redis, S3 and a webhook after an outage.

The status is the outbox. The outcome in a terminal status never changes. These methods change
only its delivery.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from nanogrid import wire
from nanogrid.reasons import Reason, sentence
from nanogrid.result_auth import NotAuthenticError
from nanogrid.result_copy import shortened
from nanogrid.s3.errors import S3Error
from nanogrid.types import Json
from nanogrid_operator.decision import outcome, webhook
from nanogrid_operator.decision.objective import counts_for_objective
from nanogrid_operator.decision.outcome import Delivery, Storage
from nanogrid_operator.decision.result_owner import ResultOwner
from nanogrid_operator.decision.webhook import Record
from nanogrid_operator.delivery.pending_results import PendingResults
from nanogrid_operator.delivery.redis import Publisher
from nanogrid_operator.delivery.s3 import ResultStore
from nanogrid_operator.model.facts import Job, job_facts
from nanogrid_operator.model.pod_facts import pod_facts
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.model.targets import REDIS, S3, WEBHOOK
from nanogrid_operator.model.tenant import Tenants
from nanogrid_operator.status.job import (
    delivered_status,
    delivery_reason,
    storage_status,
    webhook_status,
)
from nanogrid_operator.status.traces import JobTraces
from nanogrid_operator.status.writer import Writer
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.reconcile")

DELIVERY_CAP_SECONDS = 5.0  # a Redis that is back has all results within ten seconds


@dataclass(slots=True, kw_only=True)
class ResultDelivery:
    """Delivers results of finished jobs and writes what became of it.

    ``on_delivered`` receives the seconds from the terminal status of a job whose code has run until
    Redis has its result.
    """

    tenants: Tenants
    keys: ResultKeys
    cache: JobCache
    queue: WorkQueue
    publisher: Publisher
    results: ResultStore
    pending_results: PendingResults
    writer: Writer
    on_delivered: Callable[[float], None]
    traces: JobTraces
    clock: Callable[[], float] = time.time

    async def deliver(self, job: Job) -> None:
        """Publish the result of a finished job that Redis does not have yet."""
        result = await self.result_of(job)
        delivery = await self.publisher.publish(result, self.owner(job, result.attempt))
        if delivery.state == "Pending":
            await self._still_pending(job, delivery)
            return
        previous = delivery.previous_result
        if job.completed is not None and counts_for_objective(job, result, delivery):
            self.on_delivered(self.clock() - job.completed)
        if previous is not None and not outcome.same_end(previous, result):
            # Happens only if the operator restarted between publishing and writing the status, and
            # Redis was away since. A terminal status does not change, so it names the difference.
            message = (
                f"Redis received {previous.status} {previous.reason} of attempt "
                f"{previous.attempt} before a restart"
            )
            delivery = replace(delivery, message=message)
            log.error("the status differs from the delivered result: %s", message)
        written = await self._write_delivery(job, delivery)
        refused = "" if delivery.state == "Delivered" else Reason.REQUEST_ID_CONFLICT.value
        self.traces.delivered(written, REDIS, error=refused)
        if delivery.replaced:
            text = sentence(Reason.RESULT_NOT_AUTHENTIC, delivery.replaced)
            self.writer.record_event(job, Reason.RESULT_NOT_AUTHENTIC, text, bad=True)
        if delivery.state == "Delivered":
            self.writer.record_event(job, Reason.DELIVERED, "The result reached Redis late")
        else:
            self.writer.record_event(job, Reason.REQUEST_ID_CONFLICT, delivery.message, bad=True)

    async def _still_pending(self, job: Job, delivery: Delivery) -> None:
        """Try again soon. Write the status only if the cause, and so the hint, has changed."""
        if delivery.reason is not None and delivery_reason(job) != delivery.reason:
            await self._write_delivery(job, delivery)
            self.writer.record_event(job, delivery.reason, delivery.message, bad=True)
        delay = self.queue.retry(job.uid, DELIVERY_CAP_SECONDS)
        log.warning("delivery: retry in %.1f s: %s", delay, delivery.message)

    async def _write_delivery(self, job: Job, delivery: Delivery) -> Json | None:
        now = self.clock()
        bare = replace(delivery, message="", stream_id=None)
        return await self.writer.write(
            job,
            delivered_status(job, delivery, now),
            fallback=lambda _: delivered_status(job, bare, now),
        )

    def owner(self, job: Job, attempt: int) -> ResultOwner:
        """The attempt with which a finished job ended."""
        body = self.cache.pod(job.uid, attempt) or self.cache.gone(job.uid, attempt)
        pod = pod_facts(body) if body is not None else None
        area = self.tenants.area(job.namespace)
        return ResultOwner(area=area, job=job, attempt=attempt, pod=pod)

    async def result_of(self, job: Job) -> wire.Result:
        """The signed result as it was decided; from S3 if the status has a shortened copy only."""
        pending = self.pending_results.get(job.uid)
        return self.keys.sign(pending or await self._kept_result(job))

    async def _kept_result(self, job: Job) -> wire.Result:
        kept = wire.from_dict(wire.Result, job.status["result"])
        if not shortened(wire.to_dict(kept)):
            return kept
        try:
            stored = await self.results.load(self.tenants.area(job.namespace), job.request_id)
        except (S3Error, NotAuthenticError) as e:
            log.warning("delivering the status's copy of the result: %s", e)
            return kept
        if stored is not None and self.owner(job, kept.attempt).believes(stored):
            return stored if stored.reason == kept.reason else kept
        return kept

    async def record_storage(self, job: Job, storage: Storage) -> None:
        """Write the answer of S3 to a result that it did not take before.

        Raises:
            KubeError: The status could not be written.
        """
        now = self.clock()
        status = storage_status(job, storage, now)
        if status is None:
            return
        bare = storage_status(job, replace(storage, message=""), now) or {}
        written = await self.writer.write(job, status, fallback=lambda _: bare)
        if not storage.pending:
            error = "" if storage.reason is Reason.STORED else storage.reason.value
            self.traces.delivered(written, S3, error=error)
        if storage.reason is Reason.STORED:
            self.writer.record_event(job, Reason.STORED, "The result reached S3 late")
        else:
            self.writer.record_event(job, storage.reason, storage.message, bad=True)

    async def record_webhook(self, uid: str, record: Record) -> None:
        """Write the answer of a webhook.

        Raises:
            KubeError: The status could not be written.
        """
        body = self.cache.job(uid)
        if body is None:
            return
        job = job_facts(body)
        now, bare = self.clock(), replace(record, message="", last_status=None)
        written = await self.writer.write(
            job,
            webhook_status(job, record, now),
            fallback=lambda _: webhook_status(job, bare, now),
        )
        if record.state != webhook.PENDING:
            bad = record.state != webhook.DELIVERED
            reason = webhook.REASONS[record.state]
            error = reason.value if bad else ""
            self.traces.delivered(written, WEBHOOK, error=error, tries=record.attempts)
            self.writer.record_event(job, reason, sentence(reason, record.message), bad=bad)
