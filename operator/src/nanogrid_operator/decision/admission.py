"""Gives free slots to jobs, fair between namespaces; excess jobs queue without a pod. No I/O.

Pods that wait for a node form the scheduler's queue, which users do not see, knows no namespaces,
and in which the startup timeout runs. So the operator keeps that queue short, and has one queue
for each namespace here: the oldest job of a namespace is first. A slot that the limits of a
namespace leave free is granted to its next job, which is then woken to create its pod. Slots of
the whole installation go to the namespace with the fewest live pods for its weight.

Slots are counted from the pods themselves. So a restart loses nothing: jobs without a slot queue
again. An event costs O(log jobs) for one namespace; only if a limit of the whole installation
changes for all, each namespace that queues is looked at.
"""

import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from nanogrid.api.tenant import TenantLimits
from nanogrid.backoff import exponential, jitter
from nanogrid.types import Json
from nanogrid_operator.decision import limits, quota
from nanogrid_operator.decision.output_bytes import OutputBytes
from nanogrid_operator.decision.pod_use import NO_NEED, NamespaceUse, Need, pod_use
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.tenant import Tenants, with_default_limits
from nanogrid_operator.settings import Settings

Entry = tuple[float, str, str]  # the job's creation in seconds since the epoch, its name, its uid

# A queued job looks again after one second for each job before it, within these limits. The next
# one is woken, so this is for limits that end with time, and for the position in the status.
SOONEST_CHECK_SECONDS = 30.0
LATEST_CHECK_SECONDS = 300.0


@dataclass(slots=True)
class _Hold:
    """A ResourceQuota of the namespace is used up: one job at a time tries again."""

    message: str
    tries: int
    until: float  # epoch seconds


@dataclass(slots=True)
class _Queue:
    """One namespace."""

    use: NamespaceUse = field(default_factory=NamespaceUse)
    jobs: list[Entry] = field(default_factory=list)  # the next one first
    hold: _Hold | None = None
    full_until: float = 0.0  # epoch seconds
    weight: int = 0  # while it is active: jobs queue, or pods wait

    @property
    def empty(self) -> bool:
        return not (self.jobs or self.use.live or self.hold)


class AdmissionQueue:
    """See the module's docstring.

    Args:
        settings: Limits of the installation; 0 is no limit.
        wake: Reconciles the job of this uid.
        tenants: Limits and weight of each namespace.
        outputs: What each namespace stored in the last 24 hours.
        clock: The time in epoch seconds.
    """

    def __init__(
        self,
        settings: Settings,
        wake: Callable[[str], None],
        tenants: Tenants,
        outputs: OutputBytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._wake, self._tenants = settings, wake, tenants
        self._outputs = outputs or OutputBytes(tenants)
        self._clock = clock
        self._namespaces: dict[str, _Queue] = {}
        self._queued: dict[str, tuple[str, Entry, Need]] = {}  # by the job's uid
        self._granted: dict[str, str] = {}  # the job's uid -> namespace
        self._live = 0  # of all namespaces
        self._weights = 0  # of all active namespaces

    def observe_pod(self, namespace: str, name: str, body: Json | None) -> None:
        """A pod has changed, or is gone (None)."""
        queue = self._of(namespace)
        live, unschedulable = queue.use.live, queue.use.unschedulable
        changed = queue.use.observe(name, None if body is None else pod_use(body))
        self._live += queue.use.live - live
        if unschedulable or queue.use.unschedulable:
            queue.full_until = self._clock() + limits.FULL_SECONDS
        if changed:
            queue.hold = None  # a pod that ended leaves room, and one that exists had room
        self.wake_next(namespace)

    def forget_job(self, uid: str) -> None:
        """A job was deleted: the jobs behind it move up."""
        namespace = self._namespace_of(uid)
        if self.leave(uid):
            self.wake_next(namespace)

    @contextmanager
    def reserve(self, namespace: str, name: str, need: Need = NO_NEED) -> Iterator[None]:
        """Reserve a slot for a pod while it is being created."""
        self._claim(namespace, name, need)
        try:
            yield
        finally:
            self._release(namespace, name)
            self.wake_next(namespace)

    def wait_reason(self, job: Job, need: Need = NO_NEED) -> str:
        """Why there is no slot for a job's pod now; empty if there is one.

        Older jobs of the namespace that queue get the free slots first.
        """
        self._grant(job.namespace)  # a limit may have ended with time
        if job.uid in self._granted:
            return ""
        queue = self._of(job.namespace)
        reason = self._reached(job.namespace, self._next_need(queue) if queue.jobs else need)
        return reason or ("older jobs of this namespace are next" if queue.jobs else "")

    def position(self, job: Job) -> tuple[int, int]:
        """The place of a job in the queue of its namespace, from 1, and the length of the queue."""
        jobs = self._of(job.namespace).jobs
        length = len(jobs) + (job.uid not in self._queued)
        return bisect_left(jobs, _entry(job)) + 1, length

    def check_seconds(self, job: Job) -> float:
        """When a queued job looks again without being woken."""
        position, _ = self.position(job)
        hold = self._of(job.namespace).hold
        if hold is not None and position == 1:
            return max(0.1, hold.until - self._clock())
        return min(LATEST_CHECK_SECONDS, max(SOONEST_CHECK_SECONDS, float(position)))

    def enqueue(self, job: Job, need: Need = NO_NEED) -> None:
        """Add a job to the queue; a job that is queued already keeps its position."""
        if job.uid not in self._queued and job.uid not in self._granted:
            entry = _entry(job)
            insort(self._of(job.namespace).jobs, entry)
            self._queued[job.uid] = job.namespace, entry, need
            self._activity(job.namespace)
            self._grant(job.namespace)

    def leave(self, uid: str) -> bool:
        """Remove a job from the queue, or its grant; returns whether it had either."""
        granted = self._granted.pop(uid, None)
        if granted is not None:
            self._release(granted, uid)
            return True
        namespace, entry, _ = self._queued.pop(uid, ("", None, None))
        if entry is None:
            return False
        jobs = self._of(namespace).jobs
        del jobs[bisect_left(jobs, entry)]
        return True

    def hold(self, namespace: str, message: str) -> None:
        """A ResourceQuota refused a pod that fits later: one job tries again, after a back-off."""
        queue = self._of(namespace)
        tries = queue.hold.tries + 1 if queue.hold else 0
        pause = exponential(tries, quota.FIRST_PAUSE_SECONDS, quota.LONGEST_PAUSE_SECONDS)
        queue.hold = _Hold(message, tries, self._clock() + jitter(pause, 0.8, 1.0))

    def wake_next(self, namespace: str) -> None:
        """Grant the free slots of a namespace, and others that this makes free."""
        queue = self._of(namespace)
        more = self._activity(namespace) or self._settings.max_total_pods > 0
        self._grant(*([n for n, q in self._namespaces.items() if q.jobs] if more else [namespace]))
        if queue.jobs and queue.hold:
            self._wake(queue.jobs[0][2])  # it tries when the back-off is over
        if queue.empty:
            self._namespaces.pop(namespace, None)

    def wake_all(self, namespaces: Iterable[str]) -> None:
        """The tenants of these namespaces have changed, and with them the shares of all others."""
        for namespace in namespaces:
            self._activity(namespace)
        self._grant(*[n for n, queue in self._namespaces.items() if queue.jobs])

    def queued(self, namespace: str) -> list[str]:
        """The uids of the jobs in the queue, the next one first."""
        return [uid for _, _, uid in self._of(namespace).jobs]

    def lengths(self) -> dict[str, tuple[int, float]]:
        """Of each queue: its length, and the creation of its oldest job in epoch seconds."""
        return {n: (len(q.jobs), q.jobs[0][0]) for n, q in self._namespaces.items() if q.jobs}

    def _of(self, namespace: str) -> _Queue:
        return self._namespaces.setdefault(namespace, _Queue())

    def _namespace_of(self, uid: str) -> str:
        return self._granted.get(uid) or self._queued.get(uid, ("", None, None))[0]

    def _next_need(self, queue: _Queue) -> Need:
        return self._queued[queue.jobs[0][2]][2]

    def _grant(self, *namespaces: str) -> None:
        """Grant free slots, first to the namespace with the fewest live pods for its weight."""
        heap = [self._rank(n) for n in namespaces if self._of(n).jobs]
        heapify(heap)
        while heap:
            *_, namespace = heappop(heap)
            queue = self._of(namespace)
            if self._reached(namespace, self._next_need(queue)):
                continue
            uid = queue.jobs.pop(0)[2]
            *_, need = self._queued.pop(uid)
            self._granted[uid] = namespace
            self._claim(namespace, uid, need)
            self._wake(uid)
            if queue.jobs:
                heappush(heap, self._rank(namespace))

    def _rank(self, namespace: str) -> tuple[float, Entry, str]:
        queue = self._of(namespace)
        return (queue.use.live + 1) / self._weight(namespace), queue.jobs[0], namespace

    def _claim(self, namespace: str, key: str, need: Need) -> None:
        queue = self._of(namespace)
        before = queue.use.live
        queue.use.claim(key, need)
        self._live += queue.use.live - before
        self._activity(namespace)

    def _release(self, namespace: str, key: str) -> None:
        queue = self._of(namespace)
        before = queue.use.live
        queue.use.release(key)
        self._live += queue.use.live - before

    def _activity(self, namespace: str) -> bool:
        """Keep the sum of the active weights; returns whether the shares of others grow."""
        queue = self._of(namespace)
        old = queue.weight
        queue.weight = self._weight(namespace) if queue.jobs or queue.use.waiting else 0
        self._weights += queue.weight - old
        return queue.weight < old

    def _weight(self, namespace: str) -> int:
        try:
            return self._tenants.of(namespace).weight
        except InvalidSpecError:
            return 1

    def _limits(self, namespace: str) -> TenantLimits:
        try:
            return self._tenants.of(namespace).limits
        except InvalidSpecError:
            return TenantLimits()  # no job can run: each one ends when it is its turn

    def settings_of(self, namespace: str) -> Settings:
        """The settings with the default limits of jobs in this namespace."""
        return with_default_limits(self._settings, self._limits(namespace))

    def _reached(self, namespace: str, need: Need) -> str:
        """Which limit leaves no slot for the next job of a namespace; empty if none does."""
        queue, most = self._of(namespace), self._settings.max_total_pods
        tenant = self._limits(namespace)
        if queue.hold and (queue.use.claims or self._clock() < queue.hold.until):
            return queue.hold.message
        if 0 < most <= self._live:
            return f"{most} pods of all namespaces are live, the limit (sandbox.maxTotalPods)"
        where = self._tenants.limits_from(namespace)
        if over := self._outputs.over(namespace, self._clock()):
            return (
                f"outputs of the last 24 hours have {over[0]} bytes and the limit is "
                f"{tenant.output_bytes_per_day} (limits.outputBytesPerDay of {where}); they are "
                f"below it at {timestamp(over[1])}"
            )
        mine = queue.weight or self._weight(namespace)
        others = self._weights - queue.weight
        now = limits.Limits(
            settings=self._settings,
            tenant=tenant,
            tenant_from=where,
            share=mine / (mine + others),
            full=queue.use.unschedulable > 0 or self._clock() < queue.full_until,
        )
        return limits.reached(queue.use, need, now)


def _entry(job: Job) -> Entry:
    return job.created, job.name, job.uid
