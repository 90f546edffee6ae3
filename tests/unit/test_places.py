"""Which jobs may have a pod: never more than the limits, the oldest first, nobody forgotten."""

from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid_operator.facts import Job
from nanogrid_operator.places import Json, Places, waits
from unit.builders import a_job, a_pod_body, running, some_settings, waiting

HERE, THERE = "team-a", "team-b"


def a_named_job(name: str, created: float = 0.0, namespace: str = HERE) -> Job:
    return replace(a_job(), name=name, uid=f"uid-{name}", created=created, namespace=namespace)


@dataclass
class Town:
    """Places, and who was woken; a job's pod has the job's name."""

    max_waiting_pods: int = 2
    max_pods: int = 0
    woken: list[str] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        limits = some_settings(max_waiting_pods=self.max_waiting_pods, max_pods=self.max_pods)
        self.places = Places(limits, lambda uid: uid not in self.deleted, self.woken.append)

    def ask(self, job: Job) -> bool:
        """What a turn of a worker does: whether the job got its pod."""
        if self.places.crowded(job):
            self.places.enqueue(job)
            return False
        self.places.leave(job.uid)
        with self.places.taken(job.namespace, job.name):
            self.places.saw(job.namespace, job.name, a_pod_body())
        return True

    def starts(self, job: Job) -> None:
        body = a_pod_body(phase="Running", agent=running(), sandbox=running())
        self.places.saw(job.namespace, job.name, body)

    def ends(self, job: Job) -> None:
        self.places.saw(job.namespace, job.name, a_pod_body(phase="Succeeded"))


def test_so_many_pods_wait_for_a_node_and_the_next_job_waits_for_them() -> None:
    town, jobs = Town(), [a_named_job(f"j{n}", n) for n in range(4)]

    assert [town.ask(job) for job in jobs] == [True, True, False, False]
    assert town.woken == []
    town.starts(jobs[0])
    assert town.woken == ["uid-j2"]
    assert town.ask(jobs[2])
    assert town.places.waiting(HERE) == ["uid-j3"]


def test_what_holds_a_job_back_is_named_with_its_setting() -> None:
    town = Town(max_waiting_pods=1)
    town.ask(a_named_job("first"))

    assert town.places.crowded(a_named_job("second")) == (
        "1 pods of this namespace wait for a node, which is the most at once "
        "(sandbox.maxWaitingPods)"
    )


def test_pods_that_run_count_until_they_end() -> None:
    town, (first, second) = Town(max_pods=1), (a_named_job("first"), a_named_job("second", 1))

    assert town.ask(first)
    town.starts(first)
    assert not town.ask(second)
    assert "(sandbox.maxPods)" in town.places.crowded(second)
    town.ends(first)
    assert town.woken == [second.uid]
    assert town.ask(second)


def test_a_namespace_does_not_wait_for_another() -> None:
    town = Town(max_waiting_pods=1)

    assert town.ask(a_named_job("first"))
    assert not town.ask(a_named_job("second"))
    assert town.ask(a_named_job("other", namespace=THERE))


def test_without_limits_nobody_waits() -> None:
    town = Town(max_waiting_pods=0)

    assert all(town.ask(a_named_job(f"j{n}")) for n in range(500))


def test_an_older_job_goes_before_those_that_wait() -> None:
    town = Town(max_waiting_pods=1)
    first, late, early = (a_named_job(name, at) for name, at in (("a", 0), ("b", 9), ("c", 5)))

    town.ask(first)
    town.ask(late)
    town.ask(early)
    assert town.places.waiting(HERE) == [early.uid, late.uid]


def test_a_newer_job_does_not_take_the_place_of_one_that_was_woken() -> None:
    town = Town(max_waiting_pods=1)
    first, second, newer = (a_named_job(f"j{n}", n) for n in range(3))

    town.ask(first)
    town.ask(second)
    town.starts(first)  # second is woken, and not yet looked at
    assert not town.ask(newer)
    assert town.ask(second)


@pytest.mark.parametrize("leaves", ["deleted", "suspended"])
def test_a_job_that_leaves_holds_up_nobody(leaves: str) -> None:
    town = Town(max_waiting_pods=1)
    first, second, third = (a_named_job(f"j{n}", n) for n in range(3))
    for job in (first, second, third):
        town.ask(job)

    if leaves == "deleted":
        town.deleted.add(second.uid)
    else:
        assert town.places.leave(second.uid)
    town.ends(first)

    assert town.woken == [third.uid]
    assert town.ask(third)


def test_a_pod_that_is_being_created_has_its_place() -> None:
    town = Town(max_waiting_pods=1)
    second = a_named_job("second", 1)

    with town.places.taken(HERE, "first"):
        assert not town.ask(second)
    assert town.woken == [second.uid], "it could not be created"


def test_a_create_that_comes_to_nothing_gives_its_place_back() -> None:
    town = Town(max_waiting_pods=1)

    with pytest.raises(OSError, match="no answer"), town.places.taken(HERE, "first"):
        raise OSError("no answer")

    assert town.ask(a_named_job("second"))


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
    ids=["new", "for its volumes", "inputs", "for an image that is not there", "runs", "over"],
)
def test_what_waits_for_a_node(pod: Json, counts: bool) -> None:
    assert waits(pod) is counts


def test_a_pod_that_is_deleted_does_not_wait_but_lives() -> None:
    body = a_pod_body()
    body["metadata"]["deletionTimestamp"] = "2025-10-09T08:53:20Z"
    town = Town(max_waiting_pods=0, max_pods=1)
    town.places.saw(HERE, "first", body)

    assert not waits(body)
    assert town.places.crowded(a_named_job("second"))
    town.places.saw(HERE, "first", None)
    assert not town.places.crowded(a_named_job("second"))


@dataclass
class Crowd:
    """Twelve jobs in a town, whose workers take what is due in any order."""

    town: Town
    random: Random

    def __post_init__(self) -> None:
        self.jobs = {f"uid-j{n:02}": a_named_job(f"j{n:02}", n // 3) for n in range(12)}
        self.state = dict.fromkeys(self.jobs, "new")
        self.settle(list(self.jobs))

    def settle(self, due: list[str] | None = None) -> None:
        """Workers go on until nothing is due."""
        due = due or []
        while due or self.town.woken:
            due += self.town.woken
            self.town.woken.clear()
            self.random.shuffle(due)
            uid = due.pop()
            if self.state[uid] in ("new", "queued"):
                self.state[uid] = "waits" if self.town.ask(self.jobs[uid]) else "queued"
            self.keeps_limits()

    def keeps_limits(self) -> None:
        waiting = list(self.state.values()).count("waits")
        live = waiting + list(self.state.values()).count("runs")
        assert waiting <= (self.town.max_waiting_pods or 12)
        assert live <= (self.town.max_pods or 12)

    def happens(self, step: str, uid: str) -> None:
        """Something befalls a job, if it can."""
        job, state = self.jobs[uid], self.state[uid]
        if step == "deleted" and state == "queued":
            self.town.deleted.add(uid)
            self.state[uid] = "over"
        elif step == "starts" and state == "waits":
            self.town.starts(job)
            self.state[uid] = "runs"
        elif step in ("ends", "vanishes") and state in ("waits", "runs"):
            body = a_pod_body(phase="Succeeded") if step == "ends" else None
            self.town.places.saw(HERE, job.name, body)
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
def test_never_more_than_the_limits_and_nobody_is_forgotten(
    most_waiting: int, most: int, steps: list[tuple[str, str]], random: Random
) -> None:
    crowd = Crowd(Town(max_waiting_pods=most_waiting, max_pods=most), random)

    for step, uid in steps:
        crowd.happens(step, uid)
    for _ in crowd.jobs:  # as all pods end, every job has its turn
        for uid in crowd.jobs:
            crowd.happens("ends", uid)

    assert set(crowd.state.values()) == {"over"}
