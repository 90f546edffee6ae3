"""What is stored about a job → facts → a decision → one act.

The only caller of the Kubernetes API, Redis and S3 on a job's behalf, and the only writer of
status. Errors go up to the worker, whose queue tries the key again with back-off.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from nanogrid import names, wire
from nanogrid.reasons import Reason, sentence
from nanogrid.status import Phase
from nanogrid_operator import (
    actions,
    decide,
    functionref,
    jobstatus,
    outcome,
    retry,
    session,
    webhook_rules,
)
from nanogrid_operator.events import Events
from nanogrid_operator.facts import Job, Json, job_facts, pod_facts, warning_of
from nanogrid_operator.held import Held
from nanogrid_operator.kube import CORE, JOBS, KubeApi, KubeError, collection
from nanogrid_operator.outcome import Delivery, Outcome, Storage
from nanogrid_operator.pod import build_pod, pod_name
from nanogrid_operator.publish import Publisher
from nanogrid_operator.s3 import ResultStore, S3Error
from nanogrid_operator.secrets import S3SecretReplica
from nanogrid_operator.sessionstatus import Followed
from nanogrid_operator.settings import Settings
from nanogrid_operator.slim import settled
from nanogrid_operator.store import Inspection, Store
from nanogrid_operator.task import InvalidSpecError, base_memory_limit
from nanogrid_operator.view import View
from nanogrid_operator.webhook_rules import Record
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.reconcile")

# Answers to a pod create that no repetition mends, and those that somebody can mend meanwhile
# (quota, admission policy, a missing service account).
INVALID_CODES = frozenset({400, 422})
DELIVERY_CAP_SECONDS = 5.0  # a Redis that is back has all results within ten seconds
REFUSED_CODES = frozenset({403, 404})
UNREADABLE_SECONDS = 600.0  # for which a result that only S3 can have is asked for


class Published(NamedTuple):
    """What Redis was told, or refused for good, and the status does not say yet."""

    outcome: Outcome
    delivery: Delivery
    storage: Storage | None  # None without a bucket


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Acts for one job at a time; everything it needs is handed in."""

    settings: Settings
    store: Store
    queue: WorkQueue
    kube: KubeApi
    publisher: Publisher
    results: ResultStore
    secrets: S3SecretReplica
    events: Events
    followed: "Followed" = field(init=False)
    clock: Callable[[], float] = time.time
    published: dict[str, Published] = field(default_factory=dict)  # by uid
    webhook: Callable[[str], None] = lambda uid: None  # tell the webhook of this job
    outbox: Callable[[str], None] = lambda uid: None  # bring the result of this job to S3
    ended: Callable[[Json], None] = lambda body: None  # count this run of a function
    held: Held = field(default_factory=Held)
    # Since when S3 does not say whether it has an attempt's result, in epoch seconds.
    unreadable: dict[tuple[str, int], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The memory of what sessions' statuses say."""
        self.followed = Followed(self.settings)

    async def reconcile(self, uid: str) -> None:
        """Decide and act once for one job."""
        body = self.store.job(uid)
        if body is None:
            self.published.pop(uid, None)
            self.held.drop(uid)
            for attempt in [a for a in self.unreadable if a[0] == uid]:
                del self.unreadable[attempt]
            return
        view = self._view(job_facts(body))
        if view.job.webhook_pending:
            self.webhook(uid)
        if view.job.unstored:
            self.outbox(uid)
        if settled(body):
            self.held.drop(uid)
        told = self.published.get(uid)
        if told is not None and not view.job.finished and not view.job.deleting:
            # The result is out: whatever would be decided now, the status has to say the same.
            await self._finish(view, told.outcome)
            return
        action = decide.decide(view)
        if isinstance(action, actions.Recover):
            action = await self._recover(view, action.fallback)
        await self._act(view, action)

    async def _recover(self, v: View, fallback: Outcome) -> actions.Action:
        """Ask S3 for the result. Without it, a fallback that knows the exit code will do.

        Otherwise S3 is asked again, but not for ever: then the job ends and says so.
        """
        uid = v.job.uid
        try:
            stored = await self.results.load(v.job.request_id)
        except S3Error as e:
            since = self.unreadable.setdefault((uid, v.job.attempt), self.clock())
            if fallback.result.exit_code is not None:
                log.warning("job uid=%s: taking the agent's short copy: %s", uid, e)
            elif self.clock() < since + UNREADABLE_SECONDS:
                raise
            else:
                said = f"{fallback.reason}; {e}"
                fallback = outcome.failure(v.job, Reason.RESULT_UNREADABLE, said)
            stored = None
        self.unreadable.pop((uid, v.job.attempt), None)
        return decide.recovered(v, stored, fallback)

    def _view(self, job: Job) -> View:
        uid, attempt = job.uid, job.attempt
        pod, gone = self.store.pod(uid, attempt), self.store.gone(uid, attempt)
        told = self.store.report(uid, attempt)
        named = job.status.get("podName") == pod_name(job.name, uid, attempt)
        seen, now = self.store.session(uid, attempt), self.clock()
        facts = pod_facts(pod) if pod else None
        witnessed = self.store.witnessed(uid, attempt)
        return View(
            job=job,
            pod=facts,
            gone=pod_facts(gone) if gone else None,
            had_pod=gone is not None or named or witnessed,
            report=told[0] if told else None,
            reported_at=told[1] if told else None,
            rejection=self.store.rejection(uid, attempt),
            inspection=self.store.inspection(uid, attempt),
            memory_limit_bytes=self._memory_limit(job),
            session=seen,
            session_due=self.followed.due(job, facts, seen, now),
            session_check=self.followed.check(job, now),
            now=now,
        )

    def _memory_limit(self, job: Job) -> int | None:
        if job.model is None or job.finished:
            return None
        try:
            return retry.memory_limit(job, base_memory_limit(job.model.spec, self.settings))
        except InvalidSpecError:
            return None

    async def _act(self, v: View, action: actions.Action) -> None:
        match action:
            case actions.Wait(seconds):
                self.queue.add(v.job.uid, seconds)
            case actions.Pin():
                await self._pin(v.job)
            case actions.Create(attempt):
                await self._create(v.job, attempt)
            case actions.Inspect():
                await self._inspect(v)
            case actions.Progress():
                await self._progress(v, action)
            case actions.Stop(reason):
                await self._stop(v, reason)
            case _:
                await self._act_on_end(v, action)

    async def _act_on_end(self, v: View, action: actions.Action) -> None:
        match action:
            case actions.Retry():
                await self._retry(v, action)
            case actions.Finish(result):
                await self._finish(v, result)
            case actions.Deliver():
                await self._deliver(v.job)
            case actions.DeleteJob():
                await self._delete_job(v.job)

    async def _pin(self, job: Job) -> None:
        """Read the job's function once; another operator that does so too is a conflict."""
        ref = job.model.spec.function_ref if job.model else None
        assert ref is not None  # noqa: S101 decide pins jobs that refer to a function
        found: Json | None = None
        try:
            path = collection(JOBS, names.FUNCTION_PLURAL, job.namespace)
            found = await self.kube.get(path, ref.name)
        except KubeError as e:
            if e.code == 403:
                self._note_refusal(job, job.attempt, e.message)
                return
            if e.code != 404:
                raise
        try:
            pinned = functionref.pin(ref, found, self.settings)
        except functionref.FunctionRefused as e:
            await self._finish(self._view(job), outcome.failure(job, e.reason, str(e)))
            return
        await self._write(job, jobstatus.pinned_status(job, pinned))
        self.queue.add(job.uid)

    async def _create(self, job: Job, attempt: int) -> None:
        assert job.model is not None  # noqa: S101 decide answers Finish for an invalid spec
        try:
            base = base_memory_limit(job.model.spec, self.settings)
            memory = retry.memory_limit(job, base)
            webhook_rules.target(job.model.spec, self.settings)  # before the code runs
            manifest = build_pod(
                job.model, attempt, self.settings, memory if memory != base else None
            )
        except ValueError as e:
            invalid = outcome.failure(job, Reason.INVALID_SPEC, str(e))
            await self._finish(self._view(job), invalid)
            return
        refused = session.refusal(job, self.settings)
        if refused:
            await self._finish(self._view(job), outcome.failure(job, Reason.INVALID_SPEC, refused))
            return
        path = collection(CORE, "pods", job.namespace)
        name = manifest["metadata"]["name"]
        try:
            await self.secrets.ensure(job.namespace)
            await self._create_companions(job)
            created = await self.kube.create(path, manifest)
        except KubeError as e:
            if e.code in INVALID_CODES:
                await self._finish(
                    self._view(job), outcome.failure(job, Reason.POD_REJECTED, e.message)
                )
                return
            if e.code in REFUSED_CODES:
                self._note_refusal(job, attempt, e.message)
                return
            if e.code != 409:
                raise
            created = await self.kube.get(path, name)
            if not _owned(created, job):
                detail = f"pod {name} exists and belongs to somebody else"
                foreign = outcome.failure(job, Reason.NAME_CONFLICT, detail)
                await self._finish(self._view(job), foreign)
                return
        self.store.put_pod(created)
        self._tell(job, Reason.POD_CREATED, f"Created pod {name}")
        self.queue.add(job.uid, decide.PROGRESS_AFTER_SECONDS)

    async def _create_companions(self, job: Job) -> None:
        """What a session needs beside its pod; what exists is this job's own by its name."""
        for base, plural, manifest in session.companions(job, self.settings):
            try:
                await self.kube.create(collection(base, plural, job.namespace), manifest)
            except KubeError as e:
                if e.code != 409:
                    raise

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

    async def _inspect(self, v: View) -> None:
        assert v.pod is not None  # noqa: S101 decide inspects pods that are there
        path = collection(CORE, "events", v.job.namespace)
        of_pod = f"involvedObject.uid={v.pod.uid},type=Warning"
        events, _ = await self.kube.list(path, fields=of_pod)
        inspection = Inspection(warning_of(events), self.clock())
        self.store.put_inspection(v.job.uid, v.job.attempt, inspection)
        self.queue.add(v.job.uid)

    def _note_refusal(self, job: Job, attempt: int, message: str) -> None:
        self.store.put_rejection(job.uid, attempt, message, self.clock())
        self.queue.add(job.uid)

    async def _progress(self, v: View, action: actions.Progress) -> None:
        status = jobstatus.progress_status(
            v.job, v.pod, action.phase, action.reason, action.message
        )
        status |= self.followed.progress(v.job, v.pod, v.session, v.now)
        if action.reason is Reason.CONFIG_ERROR:
            # The likeliest thing to be missing is ours: the namespace may have been made anew.
            self.secrets.forget(v.job.namespace)
            await self.secrets.ensure(v.job.namespace)
        await self._write(v.job, status)
        self.followed.wrote(v.job, v.now)
        if v.session_due and v.job.status.get("reason") == action.reason:
            self.queue.add(v.job.uid, action.seconds)
            return  # the counts of a session that goes on are no transition
        bad = action.phase is Phase.PENDING and action.reason is not Reason.POD_CREATED
        self._tell(v.job, action.reason, action.message, bad=bad)
        self.queue.add(v.job.uid, action.seconds)

    async def _stop(self, v: View, reason: Reason) -> None:
        assert v.pod is not None  # noqa: S101 decide stops pods that are there
        path = collection(CORE, "pods", v.job.namespace)
        ending = await self.kube.delete(path, v.pod.name, v.pod.uid)
        if ending is not None:
            self.store.put_pod(ending)  # the watch may lag, and the pod is to be stopped once
        text = sentence(Reason.STOPPING, sentence(reason))
        phase = Phase(v.job.status.get("phase") or Phase.PENDING)
        await self._progress(v, actions.Progress(phase, Reason.STOPPING, text, 5.0))

    async def _retry(self, v: View, action: actions.Retry) -> None:
        told = await self.publisher.told_before(v.job.request_id, v.job.uid)
        if told is not None:
            # An operator before this one had decided otherwise, and could not write it any more.
            await self._finish(v, outcome.adopted(action.outcome, told))
            return
        status = jobstatus.retry_status(
            v.job, v.known_pod, action.outcome, action.counted, action.suspended, self.clock()
        )
        await self._write(v.job, status)
        self.store.drop_reports(v.job.uid)
        self._tell(v.job, Reason(status["reason"]), status["message"], bad=not action.suspended)
        await self._remove_stuck(v, action.outcome)
        self.queue.add(v.job.uid)

    async def _finish(self, v: View, ended: Outcome) -> None:
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
            self.held.put(job.uid, ended.result)
        written = await self._write(job, status)
        if written is not None:
            self.ended(written)
        self.followed.forget(job)
        self.published.pop(job.uid, None)
        self.store.drop_reports(job.uid)
        self._tell(job, ended.reason, ended.message, bad=not ended.succeeded)
        log.info(
            "job %s/%s uid=%s: %s %s exit=%s delivery=%s receivers=%s",
            job.namespace, job.name, job.uid, ended.result.status, ended.reason,
            ended.result.exit_code, delivery.state, delivery.receivers,
        )  # fmt: skip
        await self._remove_stuck(v, ended)
        if storage is not None and storage.pending:
            self._tell(job, storage.reason, storage.message, bad=True)
            self.outbox(job.uid)
        if delivery.state == "Pending":
            reason = delivery.reason or Reason.REDIS_UNAVAILABLE
            self._tell(job, reason, delivery.message, bad=True)
            self.queue.retry(job.uid, DELIVERY_CAP_SECONDS)

    def _has_webhook(self, job: Job) -> bool:
        try:
            spec = job.model.spec if job.model else None
            return webhook_rules.target(spec, self.settings) is not None
        except InvalidSpecError:
            return False  # that is why the job failed

    async def webhook_told(self, uid: str, record: Record) -> None:
        """Write what a webhook answered.

        Raises:
            KubeError: the status could not be written.
        """
        body = self.store.job(uid)
        if body is None:
            return
        job = job_facts(body)
        await self._write(job, jobstatus.webhook_status(job, record, self.clock()))
        if record.state != webhook_rules.PENDING:
            bad = record.state != webhook_rules.DELIVERED
            reason = webhook_rules.REASONS[record.state]
            self._tell(job, reason, sentence(reason, record.message), bad=bad)

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

    async def result_stored(self, job: Job, storage: Storage) -> None:
        """Write what S3 said to a result that it did not take before.

        Raises:
            KubeError: the status could not be written.
        """
        status = jobstatus.storage_status(job, storage, self.clock())
        if status is None:
            return
        await self._write(job, status)
        if storage.reason is Reason.STORED:
            self._tell(job, Reason.STORED, "The result reached S3 late")
        else:
            self._tell(job, storage.reason, storage.message, bad=True)

    async def _remove_stuck(self, v: View, ended: Outcome) -> None:
        if ended.remove_pod and v.pod is not None:
            await self.kube.delete(collection(CORE, "pods", v.job.namespace), v.pod.name, v.pod.uid)

    async def _delete_job(self, job: Job) -> None:
        path = collection(JOBS, names.PLURAL, job.namespace)
        await self.kube.delete(path, job.name, job.uid)
        log.info(
            "job %s/%s uid=%s: deleted, its time to live is over", job.namespace, job.name, job.uid
        )

    def _tell(self, job: Job, reason: Reason, message: str, *, bad: bool = False) -> None:
        """One log line and one Event per transition."""
        log.info("job %s/%s uid=%s: %s", job.namespace, job.name, job.uid, reason)
        self.events.post(job, reason, message, self.clock(), bad=bad)

    async def _deliver(self, job: Job) -> None:
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
        await self._write(job, jobstatus.delivered_status(job, delivery, self.clock()))
        if delivery.state == "Delivered":
            self._tell(job, Reason.DELIVERED, "The result reached Redis late")
        else:
            self._tell(job, Reason.REQUEST_ID_CONFLICT, delivery.message, bad=True)

    async def _still_pending(self, job: Job, delivery: Delivery) -> None:
        """Try again soon; a write only when the cause, and so the cure, is another one."""
        if delivery.reason is not None and jobstatus.delivery_reason(job) != delivery.reason:
            await self._write(job, jobstatus.delivered_status(job, delivery, self.clock()))
            self._tell(job, delivery.reason, delivery.message, bad=True)
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

    async def _write(self, job: Job, status: Json) -> Json | None:
        """Write the status; a concurrent change is a conflict, and decided anew.

        Returns:
            The job as it is now; None when it is gone.
        """
        body = {"metadata": {"resourceVersion": job.resource_version}, "status": status}
        path = collection(JOBS, names.PLURAL, job.namespace)
        try:
            written = await self.kube.patch_status(path, job.name, body)
        except KubeError as e:
            if e.code == 404:
                self.store.drop_job(job.uid)
                return None
            if e.code == 409:
                self.store.put_job(await self.kube.get(path, job.name))
            raise
        self.store.put_job(written)
        return written


def _owned(pod: Json, job: Job) -> bool:
    owners = pod["metadata"].get("ownerReferences") or []
    return any(o.get("uid") == job.uid for o in owners)
