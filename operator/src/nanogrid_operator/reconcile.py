"""What is stored about a job → facts → a decision → one act.

With :mod:`starting`, :mod:`ending` and :mod:`delivering`, which act on its word, the only caller
of the Kubernetes API, Redis and S3 on a job's behalf. Errors go up to the worker, whose queue tries
the key again with back-off.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nanogrid.reasons import Reason, sentence
from nanogrid.status import Phase
from nanogrid_operator import actions, decide, jobstatus, outcome, retry
from nanogrid_operator.delivering import Delivering
from nanogrid_operator.ending import Ending
from nanogrid_operator.events import Events
from nanogrid_operator.facts import Job, job_facts, pod_facts
from nanogrid_operator.kube import CORE, KubeApi, collection
from nanogrid_operator.outcome import Outcome
from nanogrid_operator.places import Places
from nanogrid_operator.pod import pod_name
from nanogrid_operator.publish import Publisher
from nanogrid_operator.s3 import ResultStore, S3Error
from nanogrid_operator.secrets import S3SecretReplica
from nanogrid_operator.sessionstatus import Followed
from nanogrid_operator.settings import Settings
from nanogrid_operator.slim import settled
from nanogrid_operator.starting import Starting
from nanogrid_operator.store import Store
from nanogrid_operator.task import InvalidSpecError, base_memory_limit
from nanogrid_operator.view import View
from nanogrid_operator.workqueue import WorkQueue
from nanogrid_operator.writer import Writer

log = logging.getLogger("nanogrid.reconcile")

EXPECTED = frozenset({Reason.POD_CREATED, Reason.QUEUED})  # of a job that is pending
UNREADABLE_SECONDS = 600.0  # for which a result that only S3 can have is asked for


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
    clock: Callable[[], float] = time.time
    webhook: Callable[[str], None] = lambda uid: None  # tell the webhook of this job
    followed: Followed = field(init=False)
    places: Places = field(init=False)
    writer: Writer = field(init=False)
    starting: Starting = field(init=False)
    delivering: Delivering = field(init=False)
    ending: Ending = field(init=False)
    # Since when S3 does not say whether it has an attempt's result, in epoch seconds.
    unreadable: dict[tuple[str, int], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Its parts, which share what it was given."""
        self.followed = Followed(self.settings)
        self.places = Places(self.settings, self.store.has, self.queue.add)
        self.store.pod_changed = self.places.saw
        self.writer = Writer(store=self.store, kube=self.kube, events=self.events, clock=self.clock)
        self.starting = Starting(
            settings=self.settings,
            store=self.store,
            queue=self.queue,
            kube=self.kube,
            secrets=self.secrets,
            places=self.places,
            writer=self.writer,
            clock=self.clock,
        )
        self.delivering = Delivering(
            store=self.store,
            queue=self.queue,
            publisher=self.publisher,
            results=self.results,
            writer=self.writer,
            clock=self.clock,
        )
        self.ending = Ending(
            settings=self.settings,
            store=self.store,
            queue=self.queue,
            kube=self.kube,
            publisher=self.publisher,
            results=self.results,
            writer=self.writer,
            delivering=self.delivering,
            followed=self.followed,
            clock=self.clock,
        )

    async def reconcile(self, uid: str) -> None:
        """Decide and act once for one job."""
        body = self.store.job(uid)
        if body is None:
            self.places.leave(uid)
            self.ending.published.pop(uid, None)
            self.delivering.held.drop(uid)
            for attempt in [a for a in self.unreadable if a[0] == uid]:
                del self.unreadable[attempt]
            return
        view = self._view(job_facts(body))
        if view.job.webhook_pending:
            self.webhook(uid)
        if view.job.unstored:
            self.ending.outbox(uid)
        if settled(body):
            self.delivering.held.drop(uid)
        told = self.ending.published.get(uid)
        if told is not None and not view.job.finished and not view.job.deleting:
            # The result is out: whatever would be decided now, the status has to say the same.
            await self.ending.finish(view, told.outcome)
            return
        action = decide.decide(view)
        waited = not isinstance(action, actions.Enqueue) and self.places.leave(uid)
        try:
            if isinstance(action, actions.Recover):
                action = await self._recover(view, action.fallback)
            await self._act(view, action)
        finally:
            if waited:  # the place that it had in view may be another's
                self.places.wake_next(view.job.namespace)

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
        had_pod = gone is not None or named or self.store.witnessed(uid, attempt)
        return View(
            job=job,
            pod=facts,
            gone=pod_facts(gone) if gone else None,
            had_pod=had_pod,
            report=told[0] if told else None,
            reported_at=told[1] if told else None,
            rejection=self.store.rejection(uid, attempt),
            inspection=self.store.inspection(uid, attempt),
            memory_limit_bytes=self._memory_limit(job),
            crowded="" if pod or had_pod or job.finished else self.places.crowded(job),
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
                await self._started(v.job, await self.starting.pin(v.job))
            case actions.Create(attempt):
                await self._started(v.job, await self.starting.create(v.job, attempt))
            case actions.Enqueue(shown):
                self.places.enqueue(v.job)
                self.store.drop_rejection(v.job.uid, v.job.attempt)  # its time stands still here
                await self._act(v, shown)
            case actions.Inspect():
                await self.starting.inspect(v)
            case actions.Progress():
                await self._progress(v, action)
            case actions.Stop(reason):
                await self._stop(v, reason)
            case _:
                await self._act_on_end(v, action)

    async def _act_on_end(self, v: View, action: actions.Action) -> None:
        match action:
            case actions.Retry():
                await self.ending.retry(v, action)
            case actions.Finish(result):
                await self.ending.finish(v, result)
            case actions.Deliver():
                await self.delivering.deliver(v.job)
            case actions.DeleteJob():
                await self.ending.delete(v.job)

    async def _started(self, job: Job, refused: Outcome | None) -> None:
        """End a job that can have no pod; what was tried may have taken a while: look anew."""
        if refused is not None:
            await self.ending.finish(self._view(job), refused)

    async def _progress(self, v: View, action: actions.Progress) -> None:
        status = jobstatus.progress_status(
            v.job, v.pod, action.phase, action.reason, action.message
        )
        status |= self.followed.progress(v.job, v.pod, v.session, v.now)
        if action.reason is Reason.CONFIG_ERROR:
            # The likeliest thing to be missing is ours: the namespace may have been made anew.
            self.secrets.forget(v.job.namespace)
            await self.secrets.ensure(v.job.namespace)
        await self.writer.write(v.job, status)
        self.followed.wrote(v.job, v.now)
        if v.session_due and v.job.status.get("reason") == action.reason:
            self.queue.add(v.job.uid, action.seconds)
            return  # the counts of a session that goes on are no transition
        bad = action.phase is Phase.PENDING and action.reason not in EXPECTED
        self.writer.tell(v.job, action.reason, action.message, bad=bad)
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
