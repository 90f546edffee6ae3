"""Keeps pods waiting in each pool: creates those that are missing, and deletes the others.

A pool without a change costs no request. Pods are counted as ready while their agents wait here.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from nanogrid import names
from nanogrid.backoff import exponential
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, JOBS, KubeError, collection
from nanogrid.types import Json
from nanogrid_operator.decision.pool_size import Demand, PoolPlan, create_at, plan, target_of
from nanogrid_operator.kube.network_policies import NetworkPolicies
from nanogrid_operator.kube.secrets import S3SecretReplica
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.pool import Pool, PoolPod, PoolSize
from nanogrid_operator.reconcile.pool_templates import PoolTemplates
from nanogrid_operator.status.pool import PoolCounts, changed, invalid_status, pool_status
from nanogrid_operator.watch.agents import WaitingAgents
from nanogrid_operator.watch.pools import PoolCache
from nanogrid_operator.workqueue import WorkQueue, run_workers

log = logging.getLogger("nanogrid.pools")

WORKERS: Final = 4
CHECK_SECONDS: Final = 30.0  # when the demand or the age of pods may ask for a change
KEEP_SECONDS: Final = 120.0  # for one pass
STATUS_SECONDS: Final = 2.0  # between two writes of a status
FIRST_PAUSE_SECONDS: Final = 1.0  # after pods that could not be created, or failed
LONGEST_PAUSE_SECONDS: Final = 60.0
TOKEN_BYTES: Final = 4  # eight hex digits
GRACE_SECONDS: Final = 1  # nothing of a job is in it, and a frozen pod would use its own up
GONE: Final = frozenset({404})  # not 409: a pod that has changed stays


@dataclass(slots=True)
class _State:
    """What this process knows of a pool; ``counts`` go on from the status."""

    key: str
    counts: PoolCounts
    demand: Demand = field(default_factory=Demand)
    claims: tuple[float, float] | None = None  # first and last since pods were created, monotonic
    written_at: float = 0.0  # the last status, monotonic seconds
    failures: int = 0
    not_before: float = 0.0  # no pod is created before, monotonic seconds
    problem: str = ""  # why the last pod could not be created
    status: Json = field(default_factory=dict)  # that the last pass found, written or not


@dataclass(slots=True, kw_only=True)
class PoolKeeper:
    """:meth:`run` keeps all pools, from the keys that are in its queue."""

    pools: PoolCache
    agents: WaitingAgents
    templates: PoolTemplates
    queue: WorkQueue
    kube: KubeApi
    policies: NetworkPolicies
    secrets: S3SecretReplica
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _states: dict[str, _State] = field(default_factory=dict, init=False)  # by the pool's uid
    _since: float = field(default=0.0, init=False)  # when this process began to lead

    async def run(self) -> None:
        """Keep the pools for ever."""
        self._since = self.clock()
        self.queue.resume()
        for key in self.pools.all_keys():
            self.queue.add(key)
        await run_workers(
            self.queue,
            WORKERS,
            self.keep,
            self._failed,
            log_fields=lambda key: {"pool": key},
            timeout_seconds=KEEP_SECONDS,
        )

    def wanted(self, pool: Pool, got: bool) -> None:
        """A job wants a pod of a pool; ``got``: one was ready."""
        state = self._state(pool)
        state.demand.add(self.monotonic())
        if got:
            now = self.monotonic()
            state.claims = (state.claims[0] if state.claims else now, now)
        else:
            state.counts.misses += 1
        self.queue.add(pool.key)

    def claimed(self, pool: Pool, seconds: float) -> None:
        """A job has a pod of a pool, after so long."""
        counts = self._state(pool).counts
        counts.claims += 1
        counts.seconds.append(seconds)

    def sizes(self) -> Iterator[PoolSize]:
        """The pools that this process keeps, as of their last passes."""
        for key in self.pools.all_keys():
            pool = self.pools.pool(key)
            state = None if pool is None else self._states.get(pool.uid)
            if pool is None or pool.deleting or state is None or not state.status:
                continue
            counts = {name: state.status[name] for name in ("target", "ready", "starting")}
            yield PoolSize(pool=pool, **counts, claimed=self.pools.claimed(pool))

    async def keep(self, key: str) -> None:
        """One pass for one pool."""
        pool = self.pools.pool(key)
        if pool is None:
            self._forget(key)
        if pool is None or pool.deleting:
            return
        state = self._state(pool)
        try:
            version = self.templates.of(pool).version
        except InvalidSpecError as e:
            await self._close(pool, state, str(e))
            return
        assert pool.spec is not None  # noqa: S101 its template exists
        now = self.monotonic()
        target = target_of(pool.spec, state.demand.peak(now))
        found = self._plan(pool, version, target)
        await self._delete(pool, found.delete)
        if found.failed:
            self._slow_down(state, found.problem)
        if found.create:
            await self._fill(pool, state, found, target)
        elif found.ready >= target:
            state.failures, state.problem = 0, ""
        await self._show(pool, state, target, version)
        self.queue.add(key, CHECK_SECONDS)

    def _forget(self, key: str) -> None:
        """The pool was deleted."""
        for uid in [uid for uid, state in self._states.items() if state.key == key]:
            del self._states[uid]
            self.templates.forget(uid)

    def _plan(self, pool: Pool, version: str, target: int) -> PoolPlan:
        assert pool.spec is not None  # noqa: S101 its template exists
        return plan(
            self.pools.pods(pool),
            self.agents,
            version,
            target,
            pool.spec.max_age_seconds,
            self._since,
            self.clock(),
        )

    async def _fill(self, pool: Pool, state: _State, found: PoolPlan, target: int) -> None:
        """Create what is missing, or come back when it is time to."""
        due = state.not_before
        if state.claims is not None:
            due = max(due, create_at(*state.claims, found, target))
        wait = due - self.monotonic()
        if wait > 0:
            self.queue.add(pool.key, wait)
            return
        state.claims = None
        try:
            await self.policies.ensure(pool.namespace)
            await self.secrets.ensure(pool.namespace)
            async with asyncio.TaskGroup() as group:
                for _ in range(found.create):
                    group.create_task(self._create(pool))
        except* KubeError as errors:
            self._slow_down(state, str(errors.exceptions[0]))
            log.warning("cannot create pods of pool %s: %s", pool.key, state.problem)
        self.queue.add(pool.key, max(0.1, state.not_before - self.monotonic()))

    async def _create(self, pool: Pool) -> None:
        manifest = self.templates.pod(pool, secrets.token_hex(TOKEN_BYTES))
        created = await self.kube.create(collection(CORE, "pods", pool.namespace), manifest)
        self.pools.put_pod(created)

    async def _delete(self, pool: Pool, pods: tuple[PoolPod, ...]) -> None:
        """Delete pods, unless a job has claimed them since."""
        path = collection(CORE, "pods", pool.namespace)
        for pod in pods:
            if self.agents.is_taken(pod.uid):
                continue
            try:
                left = await self.kube.delete(
                    path,
                    pod.name,
                    pod.uid,
                    version=pod.resource_version,
                    grace_seconds=GRACE_SECONDS,
                    gone=GONE,
                )
            except KubeError as e:
                log.info("pod %s of pool %s stays for now: %s", pod.name, pool.key, e)
                continue
            if left is not None:
                self.pools.put_pod(left)
            log.info("pod %s of pool %s deleted: %s", pod.name, pool.key, pod.problem or "surplus")

    def _slow_down(self, state: _State, problem: str) -> None:
        pause = exponential(state.failures, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        state.failures += 1
        state.problem = problem
        state.not_before = self.monotonic() + pause

    async def _close(self, pool: Pool, state: _State, why: str) -> None:
        """The pool can have no pods."""
        await self._delete(pool, tuple(p for p in self.pools.pods(pool) if not p.deleting))
        claimed = self.pools.claimed(pool)
        status = invalid_status(pool, why, claimed, state.counts, self.clock())
        await self._write(pool, state, status)
        self.queue.add(pool.key, CHECK_SECONDS)

    async def _show(self, pool: Pool, state: _State, target: int, version: str) -> None:
        found = self._plan(pool, version, target)
        claimed, now = self.pools.claimed(pool), self.clock()
        if state.problem and found.ready < target and not found.problem:
            found = found.with_problem(state.problem)
        await self._write(pool, state, pool_status(pool, found, target, claimed, state.counts, now))

    async def _write(self, pool: Pool, state: _State, status: Json) -> None:
        state.status = status
        if not changed(pool, status):
            return
        wait = state.written_at + STATUS_SECONDS - self.monotonic()
        if wait > 0:
            self.queue.add(pool.key, wait)
            return
        state.written_at = self.monotonic()
        path = collection(JOBS, names.POOL_PLURAL, pool.namespace)
        try:
            self.pools.put_pool(await self.kube.patch_status(path, pool.name, {"status": status}))
        except KubeError as e:
            if e.code != 404:
                raise

    def _state(self, pool: Pool) -> _State:
        known = self._states.get(pool.uid)
        if known is None:
            known = self._states[pool.uid] = _State(pool.key, PoolCounts.of(pool))
        return known

    def _failed(self, key: str, error: Exception) -> None:
        delay = self.queue.retry(key)
        if isinstance(error, KubeError):
            log.warning("pool %s: retry in %.1f s: %s", key, delay, error)
        else:
            log.error("pool %s: retry in %.1f s: unexpected error", key, delay, exc_info=error)
