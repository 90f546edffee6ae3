"""How many pods a pool has, and which it creates and deletes."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from nanogrid_operator.decision.pool_size import (
    BURST_SECONDS,
    KEPT_SECONDS,
    MOST_CREATED,
    MOST_PAUSE_SECONDS,
    PAUSE_SECONDS,
    SILENT_SECONDS,
    STARTING_SECONDS,
    Demand,
    PoolPlan,
    create_at,
    plan,
    target_of,
)
from nanogrid_operator.model.pool import PoolPod
from support.pool_world import a_pool

NOW = 100_000.0
AGE = 3600.0


@dataclass
class Agents:
    """``waiting`` and ``last`` are by the pod's uid."""

    waiting: set[str] = field(default_factory=set)
    last: dict[str, float] = field(default_factory=dict)

    def waits(self, pod_uid: str) -> bool:
        return pod_uid in self.waiting

    def last_waited(self, pod_uid: str) -> float | None:
        return self.last.get(pod_uid)


def a_pod(name: str, age: float = 10.0, **changes: Any) -> PoolPod:
    given = {"version": "v1", "resource_version": "5", **changes}
    return PoolPod(name=name, uid=name, created=NOW - age, **given)


def planned(
    *pods: PoolPod,
    target: int = 2,
    ready: str = "",
    last: dict[str, float] | None = None,
    since: float = 0.0,
) -> PoolPlan:
    """The plan for pods, of which ``ready`` names those whose agents wait."""
    agents = Agents(set(ready.split()), last or {})
    return plan(pods, agents, "v1", target, AGE, since, NOW)


def names(found: PoolPlan) -> list[str]:
    return [pod.name for pod in found.delete]


def test_missing_pods_are_created() -> None:
    found = planned(a_pod("a"), ready="a", target=3)

    assert (found.ready, found.starting, found.create, found.delete) == (1, 0, 2, ())


def test_pods_that_start_are_not_missing() -> None:
    found = planned(a_pod("a"), a_pod("b"), ready="a")

    assert (found.ready, found.starting, found.create, found.delete) == (1, 1, 0, ())


def test_a_bounded_number_is_created_at_once() -> None:
    assert planned(target=500).create == MOST_CREATED
    assert planned(*map(a_pod, "abc"), target=500).create == MOST_CREATED - 3


def test_the_oldest_surplus_pods_are_deleted_when_none_starts() -> None:
    pods = [a_pod("a", 30), a_pod("b", 20), a_pod("c", 10)]

    assert names(planned(*pods, ready="a b c", target=1)) == ["a", "b"]
    assert names(planned(*pods, ready="a b", target=1)) == []


def test_an_old_pod_goes_when_its_replacement_is_ready() -> None:
    pods = [a_pod("old", AGE + 1), a_pod("a"), a_pod("new")]

    before = planned(*pods[:2], ready="old a")
    meanwhile = planned(*pods, ready="old a")
    after = planned(*pods, ready="old a new")

    assert (before.create, names(before)) == (1, [])
    assert (meanwhile.create, names(meanwhile)) == (0, [])
    assert (after.create, names(after)) == (0, ["old"])


def test_a_pod_of_another_version_is_replaced() -> None:
    found = planned(a_pod("a", version="v0"), a_pod("b"), ready="a b")

    assert (found.ready, found.create, names(found), found.failed) == (1, 1, ["a"], 0)


def test_a_pod_that_ended_is_replaced_and_says_why() -> None:
    found = planned(a_pod("a", ended=True, problem="Evicted"), a_pod("b"), ready="b")

    assert (found.create, names(found), found.failed) == (1, ["a"], 1)
    assert found.problem == "Evicted"


def test_a_pod_that_is_being_deleted_does_not_count() -> None:
    found = planned(a_pod("a", deleting=True), a_pod("b"), ready="a b")

    assert (found.ready, found.create, names(found)) == (1, 1, [])


@pytest.mark.parametrize(("age", "late"), [(STARTING_SECONDS, False), (STARTING_SECONDS + 1, True)])
def test_a_pod_that_is_not_ready_in_time_is_replaced(age: float, late: bool) -> None:
    found = planned(a_pod("a", age, problem="no node"), target=1)

    assert (names(found) == ["a"], found.failed == 1, found.create == 1) == (late, late, late)
    assert found.problem == "no node"


@pytest.mark.parametrize(("silent", "late"), [(SILENT_SECONDS, False), (SILENT_SECONDS + 1, True)])
def test_a_pod_whose_agent_has_stopped_to_ask_is_replaced(silent: float, late: bool) -> None:
    found = planned(a_pod("a", 1000), last={"a": NOW - silent}, target=1)

    assert (names(found) == ["a"]) == late


def test_after_a_restart_of_the_operator_agents_have_time_to_ask() -> None:
    pods = [a_pod("a", 3000), a_pod("b", 3000)]

    soon = planned(*pods, ready="a", since=NOW - 5)
    late = planned(*pods, ready="a", since=NOW - STARTING_SECONDS - 1)

    assert (soon.ready, soon.starting, soon.create, names(soon)) == (1, 1, 0, [])
    assert (late.create, names(late)) == (1, ["b"])


def test_a_problem_is_shown_only_while_pods_are_missing() -> None:
    assert planned(a_pod("a"), a_pod("b", problem="no node"), ready="a", target=1).problem == ""
    assert planned(a_pod("a"), a_pod("b", problem="no node"), ready="a").problem == "no node"


@pytest.mark.parametrize(
    ("spec", "peak", "target"),
    [
        ({}, 0, 1),
        ({}, 9, 1),
        ({"minReady": 2, "maxReady": 8}, 0, 2),
        ({"minReady": 2, "maxReady": 8}, 5, 5),
        ({"minReady": 2, "maxReady": 8}, 50, 8),
        ({"maxReady": 0}, 5, 0),
    ],
)
def test_the_target_follows_the_demand_within_bounds(
    spec: dict[str, int], peak: int, target: int
) -> None:
    found = a_pool(**spec).spec
    assert found is not None
    assert target_of(found, peak) == target


def test_a_burst_is_the_most_jobs_within_its_time() -> None:
    demand = Demand()
    for at in (0.0, 1.0, 2.0, 50.0, 51.0):
        demand.add(at)

    assert demand.peak(60.0) == 3
    assert demand.peak(KEPT_SECONDS) == 3
    assert demand.peak(KEPT_SECONDS + 3.0) == 2
    assert demand.peak(KEPT_SECONDS + 52.0) == 0


def test_jobs_that_are_further_apart_are_no_burst() -> None:
    demand = Demand()
    for number in range(5):
        demand.add(number * (BURST_SECONDS + 1))

    assert demand.peak(60.0) == 1


@pytest.mark.parametrize(
    ("first", "last", "ready", "at"),
    [
        (10.0, 10.0, 1, 10.0 + PAUSE_SECONDS),
        (10.0, 10.0, 0, 10.0 + PAUSE_SECONDS),
        (10.0, 19.0, 1, 19.0 + PAUSE_SECONDS),
        (10.0, 19.0, 0, 10.0 + MOST_PAUSE_SECONDS),
    ],
)
def test_new_pods_wait_a_little_after_claims(
    first: float, last: float, ready: int, at: float
) -> None:
    assert create_at(first, last, PoolPlan(ready=ready, starting=0), 2) == at
