"""Clocks that differ: those of the API server, which dates objects, the operator and the nodes.

It is one minute after the job's creation by the API server's clock. The clock of the operator or a
node is ten minutes off. No job may end early because of that, and none may be delayed.
"""

from email.utils import formatdate
from typing import Any

import pytest

from nanogrid.types import Json
from support.builders import CREATED, a_pod_body, ended, running, time_text, waiting
from support.operator_fakes import JOBS
from support.operator_world import World

TEN_MINUTES = 600.0
any_clock = pytest.mark.parametrize(
    "skew", [0.0, -TEN_MINUTES, TEN_MINUTES], ids=["right", "behind", "ahead"]
)
WAITING: Json = {"agent": waiting(), "sandbox": waiting()}
RUNNING: Json = {"phase": "Running", "agent": running(), "sandbox": running()}


def set_clocks(world: World, skew: float, age: float = 60.0) -> None:
    """Set the API server's clock to ``age`` after the job's creation; the operator observes it."""
    world.kube.clock = lambda: CREATED + age
    world.now = CREATED + age + skew
    date = formatdate(world.kube.clock(), usegmt=True)
    world.kube.server_clock.observe(date, world.now, world.now, at=0.0)


def after_a_minute(skew: float, pod: Json, **spec: Any) -> World:
    """A job whose pod was created a minute ago, and an operator whose clock is off."""
    world = World(**spec)
    world.see_pod(**pod)
    set_clocks(world, skew)
    return world


SPECS: list[tuple[str, Json, Json]] = [
    ("startup timeout", WAITING, {}),
    ("deadline", RUNNING, {"activeDeadlineSeconds": 300}),
    ("grace of a deletion", {**RUNNING, "deleting": True}, {}),
]


@pytest.mark.parametrize(("what", "pod", "spec"), SPECS)
@any_clock
async def test_a_wrong_clock_of_the_operator_ends_no_job_early(
    skew: float, what: str, pod: Json, spec: Json
) -> None:
    world = after_a_minute(skew, pod, **spec)
    if what == "grace of a deletion":
        body = a_pod_body(version=21, **pod)
        body["metadata"]["deletionTimestamp"] = time_text(120)
        world.cache.put_pod(body)

    await world.reconcile()

    assert world.status.get("phase") not in ("Failed", "Succeeded"), world.status.get("reason")
    assert not any(line.startswith("DELETE") for line in world.kube.writes)


@any_clock
async def test_a_running_job_is_shown_at_once_with_any_clock(skew: float) -> None:
    world = after_a_minute(skew, RUNNING)

    await world.reconcile()

    assert world.status.get("phase") == "Running"


@pytest.mark.parametrize("skew", [-TEN_MINUTES, TEN_MINUTES], ids=["behind", "ahead"])
async def test_a_wrong_clock_of_a_node_ends_no_job_early(skew: float) -> None:
    """The kubelet dates the end of a sync, where the startup timeout starts over."""
    synced = ended(0, age=30 + skew)
    world = after_a_minute(0, {**WAITING, "sync": synced})

    await world.reconcile()

    assert world.status.get("phase") not in ("Failed", "Succeeded")


@pytest.mark.parametrize(("waited", "over"), [(250.0, False), (350.0, True)])
async def test_the_startup_timeout_applies_when_clocks_agree(waited: float, over: bool) -> None:
    """The counterpart of the tests above: the timeout does end the job in time."""
    world = after_a_minute(0, WAITING)
    set_clocks(world, 0, age=waited)

    await world.reconcile()

    assert (world.status.get("reason") == "StartupTimeout") is over


@any_clock
async def test_the_clock_of_another_operator_does_not_shorten_a_time_to_live(
    skew: float,
) -> None:
    """An operator with the right clock dated the end; the next operator has another clock."""
    world = World(ttlSecondsAfterFinished=300)
    body = world.kube.objects[f"{JOBS}/sales"]
    body["status"] = {
        "phase": "Succeeded",
        "completionTime": time_text(30),
        "delivery": {"state": "Delivered"},
    }
    world.cache.put_job(body | {"metadata": body["metadata"] | {"resourceVersion": "11"}})
    set_clocks(world, skew)

    await world.reconcile()

    assert f"{JOBS}/sales" in world.kube.objects, "deleted early"
