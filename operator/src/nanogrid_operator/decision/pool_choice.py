"""Which pool a job takes a pod from. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from nanogrid.api.job import ExecutionJob, Spec
from nanogrid.api.pool import PoolSpec
from nanogrid.api.runtime import ResourceLimits, ResourceRequests, Resources, Runtime
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pool import Pool

Amounts = TypeVar("Amounts", ResourceLimits, ResourceRequests)


@dataclass(frozen=True, slots=True)
class PoolChoice:
    """The pool of a job; None if it has none, and ``why`` if it should have one."""

    pool: Pool | None = None
    why: str = ""


NO_POOL = PoolChoice()


def choose_pool(job: Job, pools: Sequence[Pool], default: str) -> PoolChoice:
    """The pool that the job names, that selects it, or that is the default of namespaces.

    Args:
        job: The job.
        pools: The pools of its namespace, by name.
        default: The name of the default pool; empty: there is none.
    """
    spec = job.spec
    if spec is None:
        return NO_POOL
    by_name = {pool.name: pool for pool in pools}
    if spec.pool_ref is not None:
        name = spec.pool_ref.name
        if name not in by_name:
            why = f"There is no ExecutionPool {name} in namespace {job.namespace}"
            return PoolChoice(None, why)
        return _usable(by_name[name])
    labels = (job.model.metadata.get("labels") or {}) if job.model else {}
    for pool in pools:
        if _selects(pool, labels) and _has_mode(pool, spec):
            return _usable(pool)
    pool_of_all = by_name.get(default)
    if pool_of_all is None or not _has_mode(pool_of_all, spec):
        return NO_POOL
    return _usable(pool_of_all)


def _selects(pool: Pool, labels: Mapping[str, str]) -> bool:
    selector = pool.spec.job_selector if pool.spec else None
    return selector is not None and selector.matches(labels)


def _has_mode(pool: Pool, spec: Spec) -> bool:
    """Whether a pool's pods are for such jobs; it may be that of an invalid pool."""
    return pool.spec is None or pool.spec.mode == spec.mode


def _usable(pool: Pool) -> PoolChoice:
    if pool.spec is None:
        return PoolChoice(None, f"ExecutionPool {pool.name} is not valid: {pool.error}")
    if pool.deleting:
        return PoolChoice(None, f"ExecutionPool {pool.name} is being deleted")
    return PoolChoice(pool)


def with_pool(job: Job, pools: Sequence[Pool]) -> Job:
    """The job with what it takes from the pool that it names: image, resources, service account.

    It takes them for a cold start too, so that code meets the same sandbox either way. The job's
    own fields come first.
    """
    spec = job.spec
    if spec is None or spec.pool_ref is None or job.model is None:
        return job
    choice = choose_pool(job, pools, "")
    if choice.pool is None or choice.pool.spec is None:
        return job
    changes = _taken(spec, choice.pool.spec)
    if not changes:
        return job
    model: ExecutionJob = job.model.model_copy(update={"spec": spec.model_copy(update=changes)})
    return replace(job, model=model)


def _resources(own: Resources, pools: Resources) -> Resources:
    """Own resources, with the pool's limit and request of each of which the job gives neither."""
    parts = (own.limits or ResourceLimits(), own.requests or ResourceRequests())
    given = {name for part in parts for name, value in part if value is not None}

    def filled(mine: Amounts, theirs: Amounts | None) -> Amounts:
        added = {name: value for name, value in theirs or () if name not in given}
        return mine.model_copy(update=added)

    limits, requests = filled(parts[0], pools.limits), filled(parts[1], pools.requests)
    return Resources(
        limits=limits if limits.amounts() else None,
        requests=requests if requests.amounts() else None,
    )


def _taken(spec: Spec, pool: PoolSpec) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if pool.runtime is not None:
        own = spec.runtime or Runtime()
        found["runtime"] = pool.runtime.model_copy(update=own.model_dump(exclude_none=True))
    if pool.resources is not None:
        found["resources"] = _resources(spec.resources or Resources(), pool.resources)
    if spec.service_account_name is None and pool.service_account_name is not None:
        found["service_account_name"] = pool.service_account_name
    return found
