"""Which jobs get a pod: the limits hold, the oldest job comes first, every job gets its turn."""

from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.types import Json
from nanogrid_operator.decision.admission import AdmissionQueue
from nanogrid_operator.decision.pod_use import pod_use
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.tenant import Tenants
from support.builders import a_job, a_pod_body, running, some_settings, waiting

pytestmark = pytest.mark.security

HERE, THERE = "team-a", "team-b"


def a_named_job(name: str, created: float = 0.0, namespace: str = HERE) -> Job:
    return replace(a_job(), name=name, uid=f"uid-{name}", created=created, namespace=namespace)


@dataclass
class Namespaces:
    """A queue that records which jobs it wakes. A job's pod has the job's name."""

    max_waiting_pods: int = 2
    max_pods: int = 0
    woken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        limits = some_settings(
            max_waiting_pods=self.max_waiting_pods,
            max_pods=self.max_pods,
            max_unscheduled_pods=0,
            max_total_waiting_pods=0,
        )
        self.queue = AdmissionQueue(limits, self.woken.append, Tenants(limits))

    def reconcile(self, job: Job) -> bool:
        """Reconcile a job; returns whether it got its pod."""
        if self.queue.wait_reason(job):
            self.queue.enqueue(job)
            return False
        self.queue.leave(job.uid)
        with self.queue.reserve(job.namespace, job.name):
            self.queue.observe_pod(job.namespace, job.name, a_pod_body())
        return True

    def starts(self, job: Job) -> None:
        body = a_pod_body(phase="Running", agent=running(), sandbox=running())
        self.queue.observe_pod(job.namespace, job.name, body)

    def ends(self, job: Job) -> None:
        self.queue.observe_pod(job.namespace, job.name, a_pod_body(phase="Succeeded"))


def test_excess_jobs_queue_when_enough_pods_wait_for_a_node() -> None:
    namespaces, jobs = Namespaces(), [a_named_job(f"j{n}", n) for n in range(4)]

    assert [namespaces.reconcile(job) for job in jobs] == [True, True, False, False]
    assert namespaces.woken == []
    namespaces.starts(jobs[0])
    assert namespaces.woken == ["uid-j2"]
    assert namespaces.reconcile(jobs[2])
    assert namespaces.queue.queued(HERE) == ["uid-j3"]


def test_the_wait_reason_names_the_limit_and_its_setting() -> None:
    namespaces = Namespaces(max_waiting_pods=1)
    namespaces.reconcile(a_named_job("first"))

    assert namespaces.queue.wait_reason(a_named_job("second")) == (
        "1 pods of this namespace wait for a node, which is the limit (sandbox.maxWaitingPods)"
    )


def test_live_pods_count_until_they_end() -> None:
    namespaces, (first, second) = (
        Namespaces(max_pods=1),
        (a_named_job("first"), a_named_job("second", 1)),
    )

    assert namespaces.reconcile(first)
    namespaces.starts(first)
    assert not namespaces.reconcile(second)
    assert "(sandbox.maxPods)" in namespaces.queue.wait_reason(second)
    namespaces.ends(first)
    assert namespaces.woken == [second.uid]
    assert namespaces.reconcile(second)


def test_namespaces_have_separate_queues() -> None:
    namespaces = Namespaces(max_waiting_pods=1)

    assert namespaces.reconcile(a_named_job("first"))
    assert not namespaces.reconcile(a_named_job("second"))
    assert namespaces.reconcile(a_named_job("other", namespace=THERE))


def test_without_limits_no_job_queues() -> None:
    namespaces = Namespaces(max_waiting_pods=0)

    assert all(namespaces.reconcile(a_named_job(f"j{n}")) for n in range(500))


def test_older_jobs_come_first_in_the_queue() -> None:
    namespaces = Namespaces(max_waiting_pods=1)
    first, late, early = (a_named_job(name, at) for name, at in (("a", 0), ("b", 9), ("c", 5)))

    namespaces.reconcile(first)
    namespaces.reconcile(late)
    namespaces.reconcile(early)
    assert namespaces.queue.queued(HERE) == [early.uid, late.uid]


def test_a_newer_job_does_not_get_the_slot_of_a_job_that_was_woken() -> None:
    namespaces = Namespaces(max_waiting_pods=1)
    first, second, newer = (a_named_job(f"j{n}", n) for n in range(3))

    namespaces.reconcile(first)
    namespaces.reconcile(second)
    namespaces.starts(first)  # the second job is woken, and not reconciled yet
    assert not namespaces.reconcile(newer)
    assert namespaces.reconcile(second)


@pytest.mark.parametrize("leaves", ["deleted", "suspended"])
def test_a_job_that_leaves_the_queue_delays_no_other_job(leaves: str) -> None:
    namespaces = Namespaces(max_waiting_pods=1)
    first, second, third = (a_named_job(f"j{n}", n) for n in range(3))
    for job in (first, second, third):
        namespaces.reconcile(job)

    if leaves == "deleted":
        namespaces.queue.forget_job(second.uid)
    else:
        assert namespaces.queue.leave(second.uid)
    namespaces.ends(first)

    assert namespaces.woken == [third.uid]
    assert namespaces.reconcile(third)


def test_a_pod_that_is_being_created_has_a_reserved_slot() -> None:
    namespaces = Namespaces(max_waiting_pods=1)
    second = a_named_job("second", 1)

    with namespaces.queue.reserve(HERE, "first"):
        assert not namespaces.reconcile(second)
    assert namespaces.woken == [second.uid], "the create failed"


def test_a_failed_create_releases_its_slot() -> None:
    namespaces = Namespaces(max_waiting_pods=1)

    with pytest.raises(OSError, match="no answer"), namespaces.queue.reserve(HERE, "first"):
        raise OSError("no answer")

    assert namespaces.reconcile(a_named_job("second"))


@pytest.mark.parametrize(
    ("pod", "counts"),
    [
        (a_pod_body(), True),
        (a_pod_body(sync=waiting()), True),
        (a_pod_body(sync=running()), False),
        (a_pod_body(agent=waiting("ImagePullBackOff", "no such image")), False),
        (a_pod_body(phase="Running", agent=running(), sandbox=running()), False),
        (a_pod_body(phase="Failed"), False),
    ],
    ids=["new", "volumes", "inputs", "missing image", "running", "ended"],
)
def test_only_pods_that_wait_for_a_node_count(pod: Json, counts: bool) -> None:
    assert pod_use(pod).waits is counts


def test_a_pod_under_deletion_is_live_and_does_not_wait_for_a_node() -> None:
    body = a_pod_body()
    body["metadata"]["deletionTimestamp"] = "2025-10-09T08:53:20Z"
    namespaces = Namespaces(max_waiting_pods=0, max_pods=1)
    namespaces.queue.observe_pod(HERE, "first", body)

    assert not pod_use(body).waits
    assert namespaces.queue.wait_reason(a_named_job("second"))
    namespaces.queue.observe_pod(HERE, "first", None)
    assert not namespaces.queue.wait_reason(a_named_job("second"))


@dataclass
class Jobs:
    """Twelve jobs that workers reconcile in any order."""

    namespaces: Namespaces
    random: Random

    def __post_init__(self) -> None:
        self.jobs = {f"uid-j{n:02}": a_named_job(f"j{n:02}", n // 3) for n in range(12)}
        self.state = dict.fromkeys(self.jobs, "new")
        self.settle(list(self.jobs))

    def settle(self, due: list[str] | None = None) -> None:
        """Run workers until no job is due."""
        due = due or []
        while due or self.namespaces.woken:
            due += self.namespaces.woken
            self.namespaces.woken.clear()
            self.random.shuffle(due)
            uid = due.pop()
            if self.state[uid] in ("new", "queued"):
                self.state[uid] = "waits" if self.namespaces.reconcile(self.jobs[uid]) else "queued"
            self.check_limits()

    def check_limits(self) -> None:
        waiting = list(self.state.values()).count("waits")
        live = waiting + list(self.state.values()).count("runs")
        assert waiting <= (self.namespaces.max_waiting_pods or 12)
        assert live <= (self.namespaces.max_pods or 12)

    def apply(self, step: str, uid: str) -> None:
        """Apply a step to a job, if its state allows it."""
        job, state = self.jobs[uid], self.state[uid]
        if step == "deleted" and state == "queued":
            self.namespaces.queue.forget_job(uid)
            self.state[uid] = "over"
        elif step == "starts" and state == "waits":
            self.namespaces.starts(job)
            self.state[uid] = "runs"
        elif step in ("ends", "vanishes") and state in ("waits", "runs"):
            body = a_pod_body(phase="Succeeded") if step == "ends" else None
            self.namespaces.queue.observe_pod(HERE, job.name, body)
            self.state[uid] = "over"
        self.settle()


@given(
    st.integers(0, 3),
    st.integers(0, 3),
    st.lists(
        st.tuples(
            st.sampled_from(["starts", "ends", "vanishes", "deleted"]),
            st.integers(0, 11).map(lambda n: f"uid-j{n:02}"),
        ),
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_the_limits_always_hold_and_every_job_gets_its_turn(
    most_waiting: int, most: int, steps: list[tuple[str, str]], random: Random
) -> None:
    everyone = Jobs(Namespaces(max_waiting_pods=most_waiting, max_pods=most), random)

    for step, uid in steps:
        everyone.apply(step, uid)
    for _ in everyone.jobs:  # when all pods end, every job gets its turn
        for uid in everyone.jobs:
            everyone.apply("ends", uid)

    assert set(everyone.state.values()) == {"over"}
