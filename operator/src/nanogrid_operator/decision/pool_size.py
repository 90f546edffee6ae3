"""How many pods a pool should have waiting, and which it creates and deletes. Pure."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from nanogrid.api.pool import PoolSpec
from nanogrid_operator.model.pool import PoolPod

BURST_SECONDS = 10.0  # about the time in which a pod is replaced: demand within it needs a pod each
KEPT_SECONDS = 300.0  # how long a burst keeps the target up
MOST_CREATED = 20  # at the same time: the API server and the nodes have other work
STARTING_SECONDS = 300.0  # a pod that is not ready by then is replaced
SILENT_SECONDS = 60.0  # a pod whose agent has stopped to ask for a task is replaced
# Jobs that have just begun need the CPU first, so new pods are created this long after the last
# claim. If less than half of the pods are left, a burst that goes on delays them at most so long.
PAUSE_SECONDS = 0.5
MOST_PAUSE_SECONDS = 1.5


@dataclass(slots=True)
class Demand:
    """When jobs wanted a pod of a pool, in seconds of any one clock."""

    _wanted: deque[float] = field(default_factory=deque)

    def add(self, now: float) -> None:
        """A job wants a pod, whether or not it gets one."""
        self._wanted.append(now)

    def peak(self, now: float) -> int:
        """The most jobs within BURST_SECONDS of the last KEPT_SECONDS."""
        wanted = self._wanted
        while wanted and wanted[0] < now - KEPT_SECONDS:
            wanted.popleft()
        most = first = 0
        times = list(wanted)
        for last, at in enumerate(times):
            while times[first] < at - BURST_SECONDS:
                first += 1
            most = max(most, last - first + 1)
        return most

    @property
    def empty(self) -> bool:
        """Whether no job wanted a pod lately, as of the last :meth:`peak`."""
        return not self._wanted


def target_of(spec: PoolSpec, peak: int) -> int:
    """How many pods should wait: as many as the largest recent burst, within the pool's bounds."""
    return max(spec.least_ready, min(spec.most_ready, peak))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPlan:
    """What to do for a pool now, and the counts of its status."""

    ready: int
    starting: int
    create: int = 0
    delete: tuple[PoolPod, ...] = ()
    problem: str = ""  # why pods do not get ready
    failed: int = 0  # pods that ended, or did not start in time: they slow the creation down

    def with_problem(self, problem: str) -> "PoolPlan":
        """The plan with a reason why pods do not get ready."""
        return replace(self, problem=problem)


class Agents(Protocol):
    """What is known of the agents in the pods of a pool, by the pod's uid."""

    def waits(self, pod_uid: str) -> bool:
        """Whether the agent waits for a task now."""

    def last_waited(self, pod_uid: str) -> float | None:
        """When it last waited, in seconds since the epoch; None: never, as far as known."""


def plan(
    pods: Sequence[PoolPod],
    agents: Agents,
    version: str,
    target: int,
    max_age_seconds: float,
    since: float,
    now: float,
) -> PoolPlan:
    """What a pool needs.

    Args:
        pods: Those that no job has claimed, the oldest first.
        agents: What is known of their agents.
        version: Of the manifest that the pool's pods should have.
        target: How many should wait.
        max_age_seconds: At which a pod is replaced.
        since: When this process began to lead, in seconds since the epoch: agents ask it since.
        now: Seconds since the epoch.
    """
    waits = agents.waits
    alive = [pod for pod in pods if not pod.deleting]
    failed = [pod for pod in alive if pod.ended or _late(pod, agents, since, now)]
    outdated = [pod for pod in alive if pod not in failed and pod.version != version]
    usable = [pod for pod in alive if pod not in failed and pod.version == version]
    ready = [pod for pod in usable if waits(pod.uid)]
    starting = [pod for pod in usable if not waits(pod.uid)]
    old = [pod for pod in ready if now - pod.created > max_age_seconds]
    missing = target - (len(usable) - len(old))
    # An old pod goes when the pods that replace it are ready.
    surplus = old[: max(0, len(ready) - target)]
    if not surplus and not starting:
        surplus = ready[: max(0, len(ready) - target)]
    problems = [pod.problem for pod in [*failed, *starting] if pod.problem]
    return PoolPlan(
        ready=len(ready),
        starting=len(starting),
        create=max(0, min(missing, MOST_CREATED - len(starting))),
        delete=(*failed, *outdated, *surplus),
        problem=problems[0] if problems and len(ready) < target else "",
        failed=len(failed),
    )


def _late(pod: PoolPod, agents: Agents, since: float, now: float) -> bool:
    """Whether the pod's agent has not asked for a task for too long."""
    if agents.waits(pod.uid):
        return False
    waited = agents.last_waited(pod.uid)
    if waited is not None:
        return now - waited > SILENT_SECONDS
    return now - max(pod.created, since) > STARTING_SECONDS


def create_at(first_claim: float, last_claim: float, found: PoolPlan, target: int) -> float:
    """When new pods are created, in seconds of the clock of the claims.

    Args:
        first_claim: The first one since pods were created.
        last_claim: The last one.
        found: How many wait.
        target: How many should wait.
    """
    due = last_claim + PAUSE_SECONDS
    return due if 2 * found.ready >= target else min(due, first_claim + MOST_PAUSE_SECONDS)
