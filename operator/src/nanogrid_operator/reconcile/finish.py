"""How an attempt ends: with the job, whose result is published and then written, or with a retry.

Publish first, then commit: status and S3 always show the result that Redis received, even if the
operator dies between the two steps.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, NamedTuple

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, JOBS, KubeError, collection
from nanogrid.reasons import Reason
from nanogrid.s3.errors import S3Error
from nanogrid.types import Json
from nanogrid_operator.decision import actions, outcome, webhook
from nanogrid_operator.decision.objective import counts_for_objective
from nanogrid_operator.decision.outcome import Delivery, Outcome, Storage
from nanogrid_operator.decision.result_owner import ResultOwner
from nanogrid_operator.decision.snapshot import Snapshot
from nanogrid_operator.delivery.delivery import DELIVERY_CAP_SECONDS
from nanogrid_operator.delivery.pending_results import PendingResults
from nanogrid_operator.delivery.redis import Publisher
from nanogrid_operator.delivery.s3 import ResultStore
from nanogrid_operator.model.code_end import code_end
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import Pod
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.model.tenant import Tenants
from nanogrid_operator.reconcile.end_events import record_end
from nanogrid_operator.reconcile.exposures import Exposures
from nanogrid_operator.reconcile.unanswered import UnansweredWrites, maybe_written
from nanogrid_operator.settings import Settings
from nanogrid_operator.status.job import final_status, retry_status
from nanogrid_operator.status.live_memory import LiveMemory
from nanogrid_operator.status.session import SessionStatusTracker
from nanogrid_operator.status.traces import JobTraces
from nanogrid_operator.status.writer import Writer
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.reconcile")

CHANGED: Final = 409
CHANGED_SECONDS: Final = 2.0  # until the watch has brought the change of a job


class PublishedEnd(NamedTuple):
    """An end that Redis has received, or refused for good, and that the status does not show."""

    outcome: Outcome
    delivery: Delivery
    storage: Storage | None  # None without a bucket


@dataclass(slots=True, kw_only=True)
class JobFinisher:
    """Ends attempts and jobs.

    ``store_late`` stores the result of this job in S3 later. ``on_finished`` gets each job with a
    terminal status, ``on_retried`` the namespace and reason of each attempt that another one
    follows, and ``on_delivered`` the seconds from the end of the code until Redis has the result.
    """

    settings: Settings
    tenants: Tenants
    keys: ResultKeys
    cache: JobCache
    queue: WorkQueue
    kube: KubeApi
    publisher: Publisher
    results: ResultStore
    pending_results: PendingResults
    writer: Writer
    tracker: SessionStatusTracker
    memory: LiveMemory
    exposures: Exposures
    traces: JobTraces
    store_late: Callable[[str], None]
    on_finished: Callable[[Json], None]
    on_retried: Callable[[str, str], None]
    on_delivered: Callable[[float], None]
    clock: Callable[[], float] = time.time
    _published: dict[str, PublishedEnd] = field(default_factory=dict, init=False)  # by uid
    _unanswered: UnansweredWrites = field(default_factory=UnansweredWrites, init=False)

    def published(self, uid: str) -> Outcome | None:
        """The outcome that Redis has and the status does not show yet."""
        end = self._published.get(uid)
        return None if end is None else end.outcome

    def forget(self, uid: str) -> None:
        """The job was deleted."""
        self._published.pop(uid, None)
        self._unanswered.forget(uid)

    def observe(self, job: Job) -> None:
        """Do what follows a write of this job that had no answer, if its status shows the write."""
        self._unanswered.observe(job)

    async def finish(self, snapshot: Snapshot, ended: Outcome) -> None:
        """Publish the result and write the terminal status."""
        job = snapshot.job
        began = self.clock()
        end = await self._publish_once(snapshot, ended)
        published = began, self.clock()
        ended, delivery, storage = end
        # Before the write, because a finished job is not reconciled again.
        await self.exposures.remove(job)
        if delivery.state == "Pending" or (storage is not None and storage.pending):
            self.pending_results.put(job.uid, ended.result)
        await self._write(
            job,
            self._status(snapshot, end, snapshot.known_pod),
            fallback=lambda refusal: self._minimal_status(snapshot, end, refusal),
            follow=partial(self._follow_end, snapshot, end, published),
            final=True,
        )
        self.tracker.forget(job)
        self.memory.forget_job(job.uid)
        self._published.pop(job.uid, None)
        self.cache.drop_reports(job.uid)
        record_end(self.writer, job, ended, delivery, storage)
        await self._remove_pod(snapshot, ended)
        if storage is not None and storage.pending:
            self.store_late(job.uid)
        if delivery.state == "Pending":
            self.queue.retry(job.uid, DELIVERY_CAP_SECONDS)

    def _follow_end(
        self, snapshot: Snapshot, end: PublishedEnd, published: tuple[float, float], body: Json
    ) -> None:
        """Count a job whose terminal status is written, and send its spans."""
        self.on_finished(body)
        self.traces.finished(snapshot, end.outcome, end.delivery, published, body)

    async def _write(
        self,
        job: Job,
        status: Json,
        *,
        fallback: Callable[[str], Json],
        follow: Callable[[Json], None],
        final: bool,
    ) -> None:
        """Write the end of an attempt, and of its job if it is ``final``; see :class:`Writer`.

        ``follow`` gets the job with this status once; without an answer, when it is observed.
        """
        body = self.cache.job(job.uid)
        try:
            written = await self.writer.write(job, status, fallback=fallback)
        except KubeError as e:
            if maybe_written(e) and body is not None:
                # The cache keeps little of a finished job.
                full = {**body, "status": {**(body.get("status") or {}), **status}}
                self._unanswered.put(job, partial(follow, full), final=final)
            raise
        self._unanswered.forget(job.uid)
        if written is not None:
            follow(written)

    def _status(self, snapshot: Snapshot, end: PublishedEnd, pod: Pod | None) -> Json:
        job, now = snapshot.job, self.clock()
        status = final_status(
            job,
            pod,
            end.outcome,
            end.delivery,
            now,
            storage=end.storage,
            webhook=self._has_webhook(job),
        )
        return self.tracker.final(job, snapshot.session, end.outcome, status, now)

    def _minimal_status(self, snapshot: Snapshot, end: PublishedEnd, refusal: str) -> Json:
        """The terminal status of a job whose full status the API server refuses."""
        job, storage = snapshot.job, end.storage
        bare = PublishedEnd(
            outcome.minimal(job, end.outcome, refusal),
            Delivery(state=end.delivery.state, reason=end.delivery.reason),
            storage and Storage(reason=storage.reason),
        )
        return self._status(snapshot, bare, None)

    async def retry(self, snapshot: Snapshot, action: actions.Retry) -> None:
        """Write the attempt's end and continue with the next attempt."""
        job = snapshot.job
        previous = await self.publisher.previous_result(self._owner(snapshot))
        if previous is not None:
            # An earlier operator decided differently, and could not write its decision.
            await self.finish(snapshot, outcome.adopted(action.outcome, previous))
            return

        def status_of(pod: Pod | None, ended: Outcome) -> Json:
            now = self.clock()
            return retry_status(job, pod, ended, action.counted, action.suspended, now)

        status = status_of(snapshot.known_pod, action.outcome)
        await self._write(
            job,
            status,
            fallback=lambda why: status_of(None, outcome.minimal(job, action.outcome, why)),
            follow=partial(self._follow_retry, snapshot, action.outcome, self.clock()),
            final=False,
        )
        self.cache.drop_reports(job.uid)
        reason = Reason(status["reason"])
        self.writer.record_event(job, reason, status["message"], bad=not action.suspended)
        await self._remove_pod(snapshot, action.outcome)
        self.queue.add(job.uid)

    def _follow_retry(self, snapshot: Snapshot, ended: Outcome, at: float, body: Json) -> None:
        """Count an attempt whose end is written and that another one follows; send its spans."""
        self.on_retried(snapshot.job.namespace, ended.reason.value)
        self.traces.retried(snapshot, ended, at, body)

    async def delete(self, job: Job) -> None:
        """Delete a finished job whose time to live is over, as the operator knows it.

        Somebody may have changed it since, to keep it or to give it more time. As the controller
        of batch/v1 Jobs, the operator then decides again.
        """
        path = collection(JOBS, names.PLURAL, job.namespace)
        version, gone = job.resource_version, frozenset({404})
        try:
            await self.kube.delete(path, job.name, job.uid, version=version, gone=gone)
        except KubeError as e:
            if e.code != CHANGED:
                raise
            self.queue.add(job.uid, CHANGED_SECONDS)
            return
        log.info("deleted, its time to live is over")

    def _owner(self, snapshot: Snapshot) -> ResultOwner:
        job = snapshot.job
        area = self.tenants.area(job.namespace)
        return ResultOwner(area=area, job=job, attempt=job.attempt, pod=snapshot.known_pod)

    async def _publish_once(self, snapshot: Snapshot, ended: Outcome) -> PublishedEnd:
        """Sign and publish the result. After a failed status write, return the first end again.

        What an earlier try delivered stays: its answer may have been lost, or a restart came
        between, and status and S3 must show the same result as Redis. A value that no operator
        published is replaced: who can write to Redis cannot change the end of a job.
        """
        job = snapshot.job
        known = self._published.get(job.uid)
        if known is not None:
            return known
        ended = replace(ended, result=self.keys.sign(ended.result))
        delivery = await self.publisher.publish(ended.result, self._owner(snapshot))
        if counts_for_objective(job, ended.result, delivery):
            upload = ended.result.timings.upload_millis
            at = code_end(snapshot.known_pod, snapshot.reported_at, upload)
            if at is not None:
                self.on_delivered(self.clock() - at)
        if delivery.previous_result is not None:
            ended = outcome.adopted(ended, self.keys.sign(delivery.previous_result))
        published = PublishedEnd(ended, delivery, await self._store_own(job, ended))
        if delivery.state != "Pending":
            self._published[job.uid] = published
        return published

    async def _store_own(self, job: Job, ended: Outcome) -> Storage | None:
        """Store a result in S3 that the agent did not store, or stored differently.

        An outage of S3 must not keep a job from ending, because the status and Redis have the
        result. If S3 has just refused the agent, the outbox stores the result.
        """
        area = self.tenants.area(job.namespace)
        if not area.bucket:
            return None
        if ended.unstored:
            return Storage.failed("the agent could not store it")
        if not ended.ours:
            return Storage()
        try:
            return await self.results.save(area, ended.result)
        except S3Error as e:
            log.warning("the result is not in S3: %s", e)
            return Storage.failed(str(e))

    def _has_webhook(self, job: Job) -> bool:
        try:
            return webhook.target(job.spec, self.settings) is not None
        except InvalidSpecError:
            return False  # that is why the job failed

    async def _remove_pod(self, snapshot: Snapshot, ended: Outcome) -> None:
        pod = snapshot.pod
        if ended.remove_pod and pod is not None:
            path = collection(CORE, "pods", snapshot.job.namespace)
            await self.kube.delete(path, pod.name, pod.uid)
