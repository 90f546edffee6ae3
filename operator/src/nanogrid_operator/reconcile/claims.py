"""Claims a waiting pod of a pool for an attempt, so that the attempt starts at once.

An attempt must never have two pods, also if two operators act at the same time, or one dies in
between. A pod of the attempt's own has a fixed name, so that a second create is a conflict. A pod
of a pool has another name. So an Event with a fixed name comes first and decides: it names the pod
that the attempt takes, or says that it starts cold. Its second create is a conflict, and whoever
gets it follows the Event that exists. Then one PATCH makes the pod the job's: it has the pod's
resourceVersion, so two jobs cannot take one pod. Then the task is handed over.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from nanogrid import wire
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, KubeError, collection
from nanogrid.types import Json
from nanogrid_operator.decision.pool_choice import PoolChoice, choose_pool, with_pool
from nanogrid_operator.decision.pool_fit import misfit
from nanogrid_operator.manifests.hand_over import claim_patch, hand_over
from nanogrid_operator.model.claim import ClaimProofs, is_claimed
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import Job, job_facts
from nanogrid_operator.model.pool import Miss, Pool, PoolPod, pool_pod_facts
from nanogrid_operator.reconcile.claim_records import ClaimRecord, ClaimRecords
from nanogrid_operator.reconcile.pool_templates import PoolTemplates
from nanogrid_operator.reconcile.prepare import Preparation, Start
from nanogrid_operator.settings import Settings
from nanogrid_operator.watch.agents import WaitingAgents
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.watch.pools import PoolCache

log = logging.getLogger("nanogrid.claims")

TRIES: Final = 5  # of pods that others take first; then the attempt starts cold
CHECK_SECONDS: Final = 10.0
UNREAD_SECONDS: Final = 60.0  # an agent asks again within seconds if its request was lost
GIVE_UP_SECONDS: Final = 1  # the code has not started, so there is nothing to store
GONE: Final = 404
CHANGED: Final = 409
REFUSED: Final = frozenset({400, 403, 422})  # an admission policy, or a right that is missing


class PodGone(Exception):
    """The pod that the attempt had claimed is gone: whether the code ran is not known."""


@dataclass(slots=True, kw_only=True)
class PodClaims:
    """Claims pods.

    Attributes:
        settings: The operator's settings.
        cache: The jobs and their pods.
        pools: The pools and the pods that wait.
        agents: The agents that wait at this process.
        templates: What the pods of a pool are.
        records: The Events that decide.
        kube: The API server.
        proofs: Show what the operator has claimed.
        preparation: Makes the task of an attempt.
        wanted: Is called when a job wants a pod of a pool; True: it got one.
        claimed: Is called with the pool, and the seconds of the claim.
        missed: Is called once for each attempt that has a pool and starts cold.
        clock: Seconds since the epoch.
        monotonic: Seconds of durations.
    """

    settings: Settings
    cache: JobCache
    pools: PoolCache
    agents: WaitingAgents
    templates: PoolTemplates
    records: ClaimRecords
    kube: KubeApi
    proofs: ClaimProofs
    preparation: Preparation
    wanted: Callable[[Pool, bool], None]
    claimed: Callable[[Pool, float], None]
    missed: Callable[[Pool, Miss], None]
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    # Why an attempt starts cold, by the job's uid and attempt.
    _cold: dict[tuple[str, int], str] = field(default_factory=dict, init=False)

    def with_pool(self, job: Job) -> Job:
        """The job with what it takes from its pool, and with the way its attempt has started."""
        job = with_pool(job, self.pools.pools(job.namespace))
        message = self._cold.get((job.uid, job.attempt), "")
        return replace(job, start_message=message) if message else job

    def choice(self, job: Job) -> PoolChoice:
        """The pool of a job."""
        pools = self.pools.pools(job.namespace)
        return choose_pool(job, pools, self.settings.default_pool)

    async def run(self) -> None:
        """Give up pods whose agents do not fetch their task; for ever.

        An operator that takes over does not know which agents have read their task: such a pod ends
        with its deadline.
        """
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for pod_uid in self.agents.unread(UNREAD_SECONDS):
                await self.give_up(pod_uid)

    def task_of(self, pod_uid: str) -> wire.HandOver | None:
        """The task of a pod that is claimed; None if it is not, or if the attempt has ended."""
        found = self.pools.attempt_of(pod_uid)
        if found is None:
            return None
        uid, attempt = found
        body, pod = self.cache.job(uid), self.cache.pod(uid, attempt)
        if body is None or pod is None or pod["metadata"]["uid"] != pod_uid:
            return None
        if pod["metadata"].get("deletionTimestamp"):
            return None  # code that starts now would be stopped at once
        job = self.with_pool(job_facts(body))
        if job.finished or job.deleting or job.attempt != attempt or job.model is None:
            return None
        return hand_over(job.model, self.preparation.task(job, attempt), pod, self.settings)

    async def claim(self, start: Start, choice: PoolChoice) -> Json | None:
        """Claim a pod for an attempt; returns it, or None: the attempt starts cold.

        Raises:
            KubeError: It is not known whether the pod is claimed. The next try finds out.
            PodGone: A pod was claimed before, and is gone.
        """
        began = self.monotonic()
        pool = choice.pool
        why = choice.why or (self._misfit(start, pool) if pool is not None else "")
        with ExitStack() as chosen:
            found = await self._claim(start, pool, why, chosen)
            if found is None:
                return None
            self.cache.put_pod(found)
            self.pools.put_pod(found)
            task = hand_over(start.model, start.task, found, self.settings)
            self.agents.hand_over(found["metadata"]["uid"], task)
        if pool is not None:
            self.claimed(pool, self.monotonic() - began)
        return found

    async def give_up(self, pod_uid: str) -> None:
        """Delete a claimed pod whose agent did not take its task: the attempt has lost its pod.

        The agent may only be frozen, so no other pod starts before this one is gone.
        """
        found = self.pools.attempt_of(pod_uid)
        pod = None if found is None else self.cache.pod(*found)
        if pod is None:
            return
        meta = pod["metadata"]
        log.warning("pod %s is deleted: its agent does not take its task", meta["name"])
        path = collection(CORE, "pods", meta["namespace"])
        try:
            await self.kube.delete(path, meta["name"], pod_uid, grace_seconds=GIVE_UP_SECONDS)
        except KubeError as e:
            log.warning("pod %s cannot be deleted: %s", meta["name"], e)

    def forget(self, uid: str) -> None:
        """The job was deleted."""
        for attempt in [a for a in self._cold if a[0] == uid]:
            del self._cold[attempt]

    async def _claim(
        self, start: Start, choice: Pool | None, why: str, chosen: ExitStack
    ) -> Json | None:
        """See :meth:`claim`; ``chosen`` keeps other claims from the pods that this one tries."""
        pool = None if why else choice
        pod = self._choose(pool, chosen)
        miss = Miss.MISFIT if why else Miss.CONFLICT if pod else Miss.EMPTY
        if pool is not None and pod is None:
            why = f"No pod of ExecutionPool {pool.name} was ready"
        record = await self.records.decide(start.job, start.name, pod, why)
        if pool is not None and record.own:  # the job wants a pod once, however often calls fail
            self.wanted(pool, pod is not None)
        for _ in range(TRIES):
            if not record.pod_uid:
                break
            found = await self._take(start, record)
            if found is not None:
                return found
            pod = self._choose(pool, chosen)
            why = "" if pod else "Other jobs took the pods that were ready"
            record = await self.records.change(start.job, record, pod, why)
        if record.pod_uid:
            record = await self.records.change(start.job, record, None, "Other jobs were first")
            if record.pod_uid:
                raise KubeError(CHANGED, "Conflict", "another process claims a pod for the attempt")
        key = start.job.uid, start.job.attempt
        if choice is not None and record.own and key not in self._cold:
            self.missed(choice, miss)  # what others have decided, they have counted
        self._cold[key] = record.message
        return None

    def _misfit(self, start: Start, pool: Pool) -> str:
        spec = start.job.spec
        if spec is None:
            return ""  # an invalid job starts no pod
        try:
            why = misfit(spec, start.pod, self.templates.of(pool).pod)
        except InvalidSpecError as e:
            return f"ExecutionPool {pool.name}: {e}"
        return f"The job does not fit ExecutionPool {pool.name}: {why}" if why else ""

    def _choose(self, pool: Pool | None, chosen: ExitStack) -> PoolPod | None:
        """The oldest pod whose agent waits here."""
        if pool is None:
            return None
        version = self.templates.of(pool).version
        for pod in self.pools.pods(pool):
            usable = pod.version == version and not (pod.deleting or pod.ended)
            if usable and self.agents.waits(pod.uid):
                chosen.callback(self._ask_again, pod.uid)
                chosen.enter_context(self.agents.taken(pod.uid))
                return pod
        return None

    def _ask_again(self, pod_uid: str) -> None:
        """The watch may have brought the claim of a pod before an answer that did not come."""
        if self.pools.attempt_of(pod_uid) is not None:
            self.agents.leave(pod_uid)

    async def _take(self, start: Start, record: ClaimRecord) -> Json | None:
        """Make the pod of a record the job's; None if another job has it, or it is about to end."""
        path = collection(CORE, "pods", start.job.namespace)
        known = self.pools.waiting_pod(record.pod_uid) if record.own else None
        pod = None if known is None else known[1]
        renewed = record.own
        for _ in range(TRIES):
            if pod is None:
                body = await self._read(path, record)
                if body is None:
                    self._check_gone(start, record)
                    return None
                if self.proofs.holds(body, start.job.uid, start.task.attempt):
                    return body  # an earlier PATCH had no answer
                pod = pool_pod_facts(body)
                if is_claimed(body) or pod.deleting or pod.ended:
                    return None
                if not renewed:
                    await self.records.renew(start.job, record, pod)
                    renewed = True
            try:
                return await self.kube.patch(path, pod.name, self._patch(start, record, pod))
            except KubeError as e:
                if e.code in REFUSED:
                    log.warning("pod %s cannot be claimed: %s", pod.name, e)
                    return None
                if e.code not in (GONE, CHANGED):
                    raise
                pod = None
        return None

    async def _read(self, path: str, record: ClaimRecord) -> Json | None:
        """The pod of a record; None if it is gone."""
        try:
            body = await self.kube.get(path, record.pod_name)
        except KubeError as e:
            if e.code != GONE:
                raise
            return None
        return body if body["metadata"]["uid"] == record.pod_uid else None

    def _check_gone(self, start: Start, record: ClaimRecord) -> None:
        """The pod of a record is gone. At the first try it cannot have been the job's.

        Raises:
            PodGone: An earlier try may have claimed it.
        """
        if not record.own:
            self.cache.put_missed_pod(start.job.namespace, start.name)
            raise PodGone(record.pod_name)

    def _patch(self, start: Start, record: ClaimRecord, pod: PoolPod) -> Json:
        return claim_patch(
            start.pod,
            annotation=record.annotation,
            version=pod.resource_version,
            uid=pod.uid,
            age=max(0.0, self.clock() - pod.created),
        )
