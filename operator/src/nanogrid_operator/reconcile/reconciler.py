"""One pass for one job: cached objects, facts, a decision, one action.

Only this module, and :mod:`.start`, :mod:`.finish` and :mod:`nanogrid_operator.delivery` which
carry out its decisions, call the Kubernetes API, Redis and S3 for a job. Errors go up to the
worker, and its queue hands out the key again after a back-off.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, KubeError, collection
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason, sentence
from nanogrid.types import Json
from nanogrid_operator.decision import actions, decide, retry
from nanogrid_operator.decision.admission import AdmissionQueue
from nanogrid_operator.decision.enforcement import OPEN, NetworkAdmission, admission
from nanogrid_operator.decision.outcome import Outcome
from nanogrid_operator.decision.snapshot import Snapshot
from nanogrid_operator.delivery.delivery import ResultDelivery
from nanogrid_operator.delivery.pending_results import PendingResults
from nanogrid_operator.kube.objects import names_pod
from nanogrid_operator.kube.secrets import S3SecretReplica
from nanogrid_operator.manifests.task import base_memory_limit
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import Job, job_facts
from nanogrid_operator.model.lifecycle import settled
from nanogrid_operator.model.pod_facts import Pod, pod_facts
from nanogrid_operator.reconcile.claims import PodClaims
from nanogrid_operator.reconcile.exposures import Exposures
from nanogrid_operator.reconcile.finish import JobFinisher
from nanogrid_operator.reconcile.network_probe import NetworkProbe
from nanogrid_operator.reconcile.recovery import ResultRecovery
from nanogrid_operator.reconcile.start import PodStarter
from nanogrid_operator.reconcile.waiting import QueuePlace, Waiting
from nanogrid_operator.settings import Settings
from nanogrid_operator.status.job import progress_status
from nanogrid_operator.status.live_memory import LiveMemory
from nanogrid_operator.status.session import SessionFacts, SessionStatusTracker
from nanogrid_operator.status.traces import JobTraces
from nanogrid_operator.status.writer import REFUSED_CODES, Writer
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.reconcile")

# What a job does, or waits for, without a problem: no Event.
EXPECTED = frozenset({
    Reason.QUEUED, Reason.NETWORK_UNKNOWN, Reason.POD_CREATED, Reason.SYNCING, Reason.EXECUTING,
})  # fmt: skip
MEMORY_SECONDS = 2.0  # for the write of a running job's memory, which a result may wait for
MEMORY_SHARE = 4  # one of so many workers may write memory: a slow API server stops no results
REMOVED_SECONDS = 1.0  # until the next pass after a lingering pod was deleted


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Acts for one job at a time.

    ``send_webhook`` and ``store_late`` bring the result of this job to its webhook and to S3.
    """

    settings: Settings
    cache: JobCache
    queue: WorkQueue
    kube: KubeApi
    secrets: S3SecretReplica
    admission: AdmissionQueue
    waiting: Waiting
    network: NetworkProbe
    pending_results: PendingResults
    writer: Writer
    tracker: SessionStatusTracker
    memory: LiveMemory
    exposures: Exposures
    claims: PodClaims
    starter: PodStarter
    recovery: ResultRecovery
    finisher: JobFinisher
    delivery: ResultDelivery
    traces: JobTraces
    send_webhook: Callable[[str], None]
    store_late: Callable[[str], None]
    clock: Callable[[], float] = time.time
    _memory_writes: int = field(default=0, init=False)  # in progress

    async def reconcile(self, uid: str) -> None:
        """Decide and act once for one job."""
        body = self.cache.job(uid)
        if body is None:
            self._forget(uid)
            return
        try:
            await self._reconcile(uid, body)
        except Exception:
            self.admission.forget_job(uid)  # a failing job holds no slot while it backs off
            raise

    async def _reconcile(self, uid: str, body: Json) -> None:
        snapshot = self._snapshot(self.claims.with_pool(job_facts(body)))
        job = snapshot.job
        self.finisher.observe(job)
        if job.webhook_pending:
            self.send_webhook(uid)
        if job.unstored:
            self.store_late(uid)
        if settled(body):
            self.pending_results.drop(uid)
        published = self.finisher.published(uid)
        if published is not None and not job.finished and not job.deleting:
            # Redis has the result: the status must show it, even if a new decision would differ.
            await self.finisher.finish(snapshot, published)
            return
        action = decide.decide(snapshot)
        was_queued = not isinstance(action, actions.Enqueue) and self.waiting.leave(job)
        try:
            if isinstance(action, actions.Recover):
                action = await self._recover(snapshot, action.fallback)
            await self._act(snapshot, action)
        finally:
            if was_queued:  # another job may have the slot that this one waited for
                self.admission.wake_next(job.namespace)

    def _forget(self, uid: str) -> None:
        """The job was deleted."""
        self.traces.deleted(uid)
        self.finisher.forget(uid)
        self.pending_results.drop(uid)
        self.waiting.forget(uid)
        self.recovery.forget(uid)
        self.exposures.forget(uid)
        self.claims.forget(uid)

    async def _recover(self, snapshot: Snapshot, fallback: Outcome) -> actions.Action:
        """Read the result from S3; if there is none, use the fallback."""
        job, pod = snapshot.job, snapshot.known_pod
        stored, fallback = await self.recovery.stored_result(job, pod, fallback)
        return decide.recovered(snapshot, stored, fallback)

    def _snapshot(self, job: Job) -> Snapshot:
        uid, attempt = job.uid, job.attempt
        pod, gone = self.cache.pod(uid, attempt), self.cache.gone(uid, attempt)
        report = self.cache.report(uid, attempt)
        named = names_pod(job.status, job.name, uid, attempt)
        observed, now = self.cache.session(uid, attempt), self.clock()
        facts = pod_facts(pod) if pod else None
        session = SessionFacts(facts, observed, self.exposures.known(job))
        gone_facts = pod_facts(gone) if gone else None
        written = None
        if report is None and not job.finished:
            written = self.recovery.written_report(job, facts or gone_facts)
        had_pod = gone is not None or named or self.cache.missed_pod(uid, attempt)
        has_slot = pod is not None or had_pod or job.finished
        queue = QueuePlace() if has_slot else self.waiting.place(job)
        pods = [pod_facts(each) for each in self.cache.pods(uid)]
        others = tuple(each for each in pods if job.finished or each.attempt < attempt)
        return Snapshot(
            job=job,
            pod=facts,
            gone=gone_facts,
            had_pod=had_pod,
            report=report[0] if report else None,
            reported_at=report[1] if report else None,
            written_report=written,
            rejection=self.cache.rejection(uid, attempt),
            inspection=self.cache.inspection(uid, attempt),
            memory_limit_bytes=self._memory_limit(job),
            wait_reason=queue.reason,
            queue_check=queue.check,
            queue_due=queue.due,
            ungated_at=self.waiting.ungated_at(job, facts),
            network=OPEN if has_slot else self._network(job),
            session=observed,
            session_due=self.tracker.due(job, session, now),
            session_check=self.tracker.next_check(job, now),
            memory_due=self.memory.due(job),
            exposure=session.exposure,
            exposure_check=self.exposures.next_look(job),
            other_pods=others,
            default_ttl=self.settings.default_ttl,
            now=now,
        )

    def _network(self, job: Job) -> NetworkAdmission:
        if job.spec is None:
            return OPEN
        return admission(job.spec, self.network.condition, self.settings)

    def _memory_limit(self, job: Job) -> int | None:
        if job.spec is None or job.finished:
            return None
        try:
            settings = self.admission.settings_of(job.namespace)
            return retry.memory_limit(job, base_memory_limit(job.spec, settings))
        except InvalidSpecError:
            return None

    async def _act(self, snapshot: Snapshot, action: actions.Action) -> None:
        job = snapshot.job
        match action:
            case actions.Wait(seconds):
                self.queue.add(job.uid, seconds)
            case actions.Pin(ref):
                await self._end_if_refused(job, await self.starter.pin(job, ref))
            case actions.Create() if not self.cache.confirmed:
                pass  # the first LIST of a new leader enqueues the job again
            case actions.Create(attempt):
                await self._end_if_refused(job, await self.starter.create(job, attempt))
            case actions.Enqueue(shown):
                self.waiting.enqueue(job)
                # The startup timeout does not run in the queue, so forget when it began.
                self.cache.drop_rejection(job.uid, job.attempt)
                await self._act(snapshot, shown)
            case actions.Inspect() | actions.ObserveExposure():
                await self.starter.look(job, action)
            case actions.Progress():
                await self._progress(snapshot, action)
            case actions.ShowMemory(seconds):
                await self._show_memory(snapshot)
                self.queue.add(job.uid, seconds)
            case actions.Stop(reason, pod):
                await self._stop(snapshot, pod, reason)
            case _:
                await self._act_on_end(snapshot, action)

    async def _act_on_end(self, snapshot: Snapshot, action: actions.Action) -> None:
        match action:
            case actions.Retry():
                await self.finisher.retry(snapshot, action)
            case actions.Finish(result):
                await self.finisher.finish(snapshot, result)
            case actions.Deliver():
                await self.delivery.deliver(snapshot.job)
            case actions.RemovePod(pod):
                await self._remove_lingering(snapshot.job, pod)
            case actions.DeleteJob():
                await self.finisher.delete(snapshot.job)

    async def _end_if_refused(self, job: Job, refused: Outcome | None) -> None:
        """End a job that can have no pod. The try took time, so this uses a new snapshot."""
        if refused is not None:
            await self.finisher.finish(self._snapshot(job), refused)

    async def _progress(self, snapshot: Snapshot, action: actions.Progress) -> None:
        job = snapshot.job
        status = progress_status(job, snapshot.pod, action.phase, action.reason, action.message)
        session = SessionFacts(snapshot.pod, snapshot.session, snapshot.exposure)
        status |= self.tracker.progress(job, session, snapshot.now)
        if action.reason is Reason.EXECUTING:
            status |= self.memory.status(job, snapshot.pod)
            self.memory.written(job)
        if action.reason is Reason.CONFIG_ERROR:
            # The most likely cause is our Secret: the namespace may have been created again.
            self.secrets.forget(job.namespace)
            await self.secrets.ensure(job.namespace)
        bare = progress_status(job, None, action.phase, action.reason, sentence(action.reason))
        try:
            await self.writer.write(job, status, fallback=lambda _: bare)
        except KubeError as e:
            if e.code not in REFUSED_CODES:
                raise
            log.error("its progress is not shown: %s", e)
        self.tracker.written(job, snapshot.now)
        if snapshot.wait_reason:
            self.waiting.written(job)
        self.queue.add(job.uid, action.seconds)
        if problem := self.tracker.problem(job, session):
            self.writer.record_event(job, problem.reason, problem.message, bad=True)
        same = job.status.get("reason") == action.reason
        if same and (snapshot.session_due or snapshot.queue_due):
            return  # new counts of a session, and a new position, are not transitions
        if action.reason in EXPECTED:
            self.writer.record(action.reason, action.message)
            return
        bad = action.phase is Phase.PENDING
        self.writer.record_event(job, action.reason, action.message, bad=bad)

    async def _show_memory(self, snapshot: Snapshot) -> None:
        """Write the memory of the running code; if that fails, a later turn of the job does it."""
        job = snapshot.job
        status = self.memory.status(job, snapshot.pod)
        self.memory.written(job)
        if all(job.status.get(name) == value for name, value in status.items()):
            return
        if self._memory_writes >= max(1, self.settings.workers // MEMORY_SHARE):
            self.memory.failed(job)
            return
        self._memory_writes += 1
        try:
            async with asyncio.timeout(MEMORY_SECONDS):
                await self.writer.write(job, status)
        except (KubeError, TimeoutError) as e:
            log.info("its memory is not shown: %s", e or "no answer")
            self.memory.failed(job)
        finally:
            self._memory_writes -= 1

    async def _delete_pod(self, job: Job, pod: Pod) -> None:
        path = collection(CORE, "pods", job.namespace)
        deleted = await self.kube.delete(path, pod.name, pod.uid)
        if deleted is not None:
            self.cache.put_pod(deleted)  # the watch may lag, and the pod is stopped only once

    async def _remove_lingering(self, job: Job, pod: Pod) -> None:
        await self._delete_pod(job, pod)
        log.warning("pod %s outlived its attempt and is deleted", pod.name)
        self.queue.add(job.uid, REMOVED_SECONDS)

    async def _stop(self, snapshot: Snapshot, pod: Pod, reason: Reason) -> None:
        job = snapshot.job
        await self._delete_pod(job, pod)
        text = sentence(Reason.STOPPING, sentence(reason))
        phase = Phase(job.status.get("phase") or Phase.PENDING)
        await self._progress(snapshot, actions.Progress(phase, Reason.STOPPING, text, 5.0))
