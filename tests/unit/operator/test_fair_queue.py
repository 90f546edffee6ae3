"""Fairness between namespaces, in a simulated cluster with a clock of its own.

The scheduler of the simulation is a queue of pods, first in, first out. The operator creates pods
as :class:`AdmissionQueue` lets it. So a namespace is served fairly only if the operator is fair.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from typing import Any

import pytest

from nanogrid.types import Json
from nanogrid_operator.decision.admission import AdmissionQueue
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.tenant import Tenants
from support.builders import a_job, a_pod_body, running, some_settings

pytestmark = pytest.mark.security

A, B = "team-a", "team-b"
START_SECONDS = 1.0  # from the node to the first instruction
STEP_SECONDS = 0.05  # of the operator: from an event to the next pod
SCHEDULER_SECONDS = 0.02  # from a new pod to its node, or to Unschedulable

NEW = a_pod_body()
NEW["status"]["conditions"] = []
WAITING = a_pod_body(unschedulable="0/1 nodes are available: 1 Insufficient cpu.")
STARTING, RUNNING = a_pod_body(), a_pod_body(phase="Running", agent=running(), sandbox=running())


def tenant(name: str, **spec: Any) -> Json:
    """A NanoGridTenant."""
    return {"metadata": {"name": name}, "spec": spec}


@dataclass
class Cluster:
    """Nodes with room for some pods. A job of a namespace runs for a number of seconds."""

    room: int = 10
    tenants: list[Json] = field(default_factory=list)
    settings: Json = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = some_settings(**self.settings)
        known = Tenants(settings)
        assert known.replace(self.tenants) == {}
        self.now = 0.0
        self.due: list[tuple[float, int, str, Job]] = []
        self.count = 0
        self.jobs: dict[str, tuple[Job, float]] = {}
        self.scheduler: deque[Job] = deque()
        self.on_nodes = 0
        self.most_without_node = 0
        self.started: dict[str, float] = {}
        self.ended: list[tuple[float, str]] = []
        self.live: dict[str, int] = {}
        self.most_live: dict[str, int] = {}
        self.queue = AdmissionQueue(settings, self.wake, known, clock=lambda: self.now)

    def at(self, when: float, what: str, job: Job) -> None:
        self.count += 1
        heappush(self.due, (when, self.count, what, job))

    def wake(self, uid: str) -> None:
        self.at(self.now + STEP_SECONDS, "reconcile", self.jobs[uid][0])

    def submit(self, namespace: str, count: int, seconds: float, when: float = 0.0) -> list[str]:
        names = [f"{namespace}-{when}-{number:05}" for number in range(count)]
        for number, name in enumerate(names):
            job = replace(a_job(), name=name, uid=name, namespace=namespace, created=when)
            # Half to one and a half times as long, so that pods do not end all at once.
            self.jobs[name] = job, seconds * (0.5 + number * 7 % 11 / 10)
            self.at(when, "reconcile", job)
        return names

    def run(self, until: float = 10_000.0) -> None:
        """Handle all events until this time."""
        while self.due and self.due[0][0] <= until:
            self.now, _, what, job = heappop(self.due)
            getattr(self, f"_{what}")(job)

    def _reconcile(self, job: Job) -> None:
        if job.uid in self.started or job in self.scheduler:
            return
        if self.queue.wait_reason(job):
            self.queue.enqueue(job)
            return
        self.queue.leave(job.uid)
        self._count(job, 1)
        self.scheduler.append(job)
        with self.queue.reserve(job.namespace, job.name):
            self.queue.observe_pod(job.namespace, job.name, NEW)
        self.at(self.now + SCHEDULER_SECONDS, "schedule", job)
        self.most_without_node = max(self.most_without_node, len(self.scheduler))

    def _schedule(self, job: Job) -> None:
        if job in self.scheduler and self.on_nodes == self.room:
            self.queue.observe_pod(job.namespace, job.name, WAITING)
        self._place()

    def _place(self) -> None:
        while self.scheduler and self.on_nodes < self.room:
            job = self.scheduler.popleft()
            self.on_nodes += 1
            self.started[job.uid] = self.now + START_SECONDS
            self.at(self.now + START_SECONDS, "start", job)
            self.queue.observe_pod(job.namespace, job.name, STARTING)

    def _start(self, job: Job) -> None:
        self.queue.observe_pod(job.namespace, job.name, RUNNING)
        self.at(self.now + self.jobs[job.uid][1], "end", job)

    def _end(self, job: Job) -> None:
        self.on_nodes -= 1
        self.ended.append((self.now, job.namespace))
        self._count(job, -1)
        self.queue.observe_pod(job.namespace, job.name, None)
        self._place()

    def _count(self, job: Job, change: int) -> None:
        self.live[job.namespace] = self.live.get(job.namespace, 0) + change
        most = self.most_live.get(job.namespace, 0)
        self.most_live[job.namespace] = max(most, self.live[job.namespace])


def start_seconds(cluster: Cluster, when: float) -> float:
    """How long a single job of team-b takes to start, when it is submitted at this time."""
    (uid,) = cluster.submit(B, 1, 1.0, when)
    cluster.run()
    return cluster.started[uid] - when


IDLE_SECONDS = start_seconds(Cluster(), 5.0)


@pytest.mark.parametrize("when", [7.3, 20.0, 41.7])
def test_a_single_job_starts_in_twice_its_idle_time_behind_500_jobs(when: float) -> None:
    cluster = Cluster()
    cluster.submit(A, 500, 1.0)

    assert start_seconds(cluster, when) <= 2 * IDLE_SECONDS
    assert len(cluster.ended) == 501
    assert cluster.ended[-1][0] > 60, "the cluster was full all the time"


def test_without_the_limit_the_single_job_waits_behind_the_other_namespace() -> None:
    cluster = Cluster(settings={"max_unscheduled_pods": 0})
    cluster.submit(A, 500, 1.0)

    assert start_seconds(cluster, 20.0) > 3 * IDLE_SECONDS


def test_a_full_cluster_has_few_pods_without_a_node_and_is_never_idle() -> None:
    cluster = Cluster()
    cluster.submit(A, 500, 1.0)
    cluster.run(until=10.0)
    assert len(cluster.scheduler) == 2
    cluster.run()

    assert cluster.most_without_node <= 10
    ideal = 500 / cluster.room * (START_SECONDS + 1.0)
    assert cluster.now < 1.1 * ideal


@pytest.mark.parametrize(
    ("settings", "room"),
    [({"max_total_pods": 12}, 100), ({}, 12)],
    ids=["limit of the installation", "full cluster"],
)
def test_namespaces_share_by_weight(settings: Json, room: int) -> None:
    cluster = Cluster(room, [tenant(A, weight=1), tenant(B, weight=3)], settings)
    cluster.submit(A, 400, 2.0)
    cluster.submit(B, 400, 2.0)
    cluster.run(until=60.0)

    ends = [namespace for when, namespace in cluster.ended if when > 10.0]
    assert 0.20 < ends.count(A) / len(ends) < 0.30


def test_a_free_slot_of_the_installation_goes_to_the_namespace_without_pods() -> None:
    cluster = Cluster(100, settings={"max_total_pods": 10})
    cluster.submit(A, 500, 1.0)

    assert start_seconds(cluster, 20.5) <= 2 * IDLE_SECONDS
    assert sum(cluster.most_live.values()) <= 11


def test_a_limit_of_a_tenant_leaves_room_for_others_at_once() -> None:
    cluster = Cluster(tenants=[tenant(A, limits={"jobs": 3})])
    cluster.submit(A, 100, 60.0)

    assert start_seconds(cluster, 20.0) == pytest.approx(IDLE_SECONDS, abs=STEP_SECONDS)
    assert cluster.most_live[A] == 3


def test_ten_namespaces_share_ten_slots() -> None:
    cluster = Cluster(settings={"max_total_pods": 10})
    for number in range(10):
        cluster.submit(f"team-{number}", 100, 1.0)
    cluster.run(until=20.0)

    assert len(cluster.ended) > 80
    assert max(cluster.live.values()) == 1
