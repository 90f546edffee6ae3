"""Whether limits leave a slot for one more pod of a namespace, and which one does not. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from nanogrid.api.tenant import TenantLimits
from nanogrid.quantity import quantity
from nanogrid.sizes import size_text
from nanogrid_operator.decision.pod_use import NamespaceUse, Need
from nanogrid_operator.settings import Settings

FULL_PODS = 4  # pods of all namespaces without a node, in a full cluster
FULL_SECONDS = 10.0  # how long a cluster counts as full after a pod was Unschedulable
_TOTAL_WAITING = "sandbox.maxTotalWaitingPods"
_UNSCHEDULED = "sandbox.maxUnscheduledPods"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one namespace now.

    ``share`` is its part of what all namespaces share: its weight divided by the weights of all
    namespaces whose jobs queue or whose pods wait.
    """

    settings: Settings
    tenant: TenantLimits
    tenant_from: str
    share: float
    full: bool  # the cluster had no room for a pod of the namespace in the last seconds

    @property
    def unscheduled(self) -> int:
        """How many pods of the namespace may be without a node; 0 is no limit.

        In a full cluster they form the scheduler's queue, so there are just enough for the next
        pods that end. A namespace alone leaves half of the places to one that may come.
        """
        limit = self.settings.max_unscheduled_pods
        if limit == 0:
            return 0
        if not self.full:
            return part(limit, self.share)
        return part(min(limit, FULL_PODS), 0.5 if self.share == 1 else self.share)


def part(limit: int, share: float) -> int:
    """A namespace's part of a limit: at least one, so that no namespace is shut out."""
    return max(1, round(limit * share))


def reached(use: NamespaceUse, need: Need, limits: Limits) -> str:
    """Which limit leaves no slot for one more pod; empty if none does."""
    return next(_reached(use, need, limits), "")


def _reached(use: NamespaceUse, need: Need, limits: Limits) -> Iterator[str]:
    settings, tenant = limits.settings, limits.tenant
    for count, limit, state, where in (
        (use.waiting, settings.max_waiting_pods, "wait for a node", "sandbox.maxWaitingPods"),
        (use.live, settings.max_pods, "are live", "sandbox.maxPods"),
        (use.live, tenant.jobs or 0, "are live", f"limits.jobs of {limits.tenant_from}"),
        (use.unscheduled, limits.unscheduled, "have no node yet", _UNSCHEDULED),
    ):
        if 0 < limit <= count:
            yield f"{limit} pods of this namespace {state}, which is the limit ({where})"
    most = settings.max_total_waiting_pods
    if most > 0 and part(most, limits.share) <= use.waiting:
        yield (
            f"{use.waiting} pods of this namespace wait for a node, which is its share of the "
            f"limit {most} ({_TOTAL_WAITING})"
        )
    yield from _resources(use, need, limits)


def _resources(use: NamespaceUse, need: Need, limits: Limits) -> Iterator[str]:
    if never_fits(need, limits.tenant, limits.tenant_from):
        return  # the job ends with this reason, so it does not hold up the queue
    cpu, memory = _resource_limits(limits.tenant)
    if cpu is not None and use.cpu_millis + need.cpu_millis > cpu:
        yield (
            f"the pods of this namespace have {_cores(use.cpu_millis)} CPU and this job needs "
            f"{_cores(need.cpu_millis)}; the limit is {_cores(cpu)} "
            f"(limits.cpu of {limits.tenant_from})"
        )
    if memory is not None and use.memory_bytes + need.memory_bytes > memory:
        yield (
            f"the pods of this namespace have {size_text(use.memory_bytes)} of memory and this job "
            f"needs {size_text(need.memory_bytes)}; the limit is {size_text(memory)} "
            f"(limits.memory of {limits.tenant_from})"
        )


def never_fits(need: Need, tenant: TenantLimits, tenant_from: str) -> str:
    """Why a job alone exceeds a limit of its namespace, so that it can never run; or empty."""
    cpu, memory = _resource_limits(tenant)
    if cpu is not None and need.cpu_millis > cpu:
        return (
            f"resources.limits.cpu is {_cores(need.cpu_millis)}, and all jobs of the namespace "
            f"together may have {_cores(cpu)} (limits.cpu of {tenant_from}): lower it"
        )
    if memory is not None and need.memory_bytes > memory:
        return (
            f"resources.limits.memory is {size_text(need.memory_bytes)}, and all jobs of the "
            f"namespace together may have {size_text(memory)} (limits.memory of {tenant_from}): "
            "lower it"
        )
    return ""


def _resource_limits(tenant: TenantLimits) -> tuple[int | None, int | None]:
    """CPU in thousandths of a core, memory in bytes."""
    cpu = None if tenant.cpu is None else int(quantity(tenant.cpu) * 1000)
    return cpu, None if tenant.memory is None else int(quantity(tenant.memory))


def _cores(millis: int) -> str:
    return f"{millis / 1000:g}"
