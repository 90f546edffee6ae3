"""Clocks that differ: the API server dates objects, the operator and each node have their own.

One minute after the job's creation, by the API server's clock; the operator's or the node's is ten
minutes off. No job may end early for that, and none may be held up.
"""

from email.utils import formatdate
from typing import Any

import pytest

from unit.builders import CREATED, JOB_UID, Json, ended, running, time_text, waiting
from unit.fakes import JOBS, World

TEN_MINUTES = 600.0
WAITING: Json = {"agent": waiting(), "sandbox": waiting()}
RUNNING: Json = {"phase": "Running", "agent": running(), "sandbox": running()}


def set_clocks(world: World, skew: float, age: float = 60.0) -> None:
    """The API server's is ``age`` seconds after the job's creation; the operator has heard it."""
    world.kube.clock = lambda: CREATED + age
    world.now = CREATED + age + skew
    date = formatdate(world.kube.clock(), usegmt=True)
    world.kube.server_time.heard(date, world.now, world.now, at=0.0)


def after_a_minute(skew: float, pod: Json, **spec: Any) -> World:
    """A job whose pod was created a minute ago, for an operator whose clock is off."""
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
@pytest.mark.parametrize(
    "skew",
    [
        pytest.param(0.0, id="right"),
        pytest.param(-TEN_MINUTES, id="behind"),
        pytest.param(TEN_MINUTES, id="ahead"),
    ],
)
async def test_no_job_ends_early_by_the_operators_clock(
    skew: float, what: str, pod: Json, spec: Json
) -> None:
    world = after_a_minute(skew, pod, **spec)
    if what == "grace of a deletion":
        stored = world.store.pod(JOB_UID, 0)
        assert stored is not None
        stored["metadata"]["deletionTimestamp"] = time_text(120)

    await world.reconcile()

    assert world.status.get("phase") not in ("Failed", "Succeeded"), world.status.get("reason")
    assert not any(line.startswith("DELETE") for line in world.kube.writes)


@pytest.mark.parametrize(
    "skew",
    [
        pytest.param(0.0, id="right"),
        pytest.param(TEN_MINUTES, id="ahead"),
        pytest.param(-TEN_MINUTES, id="behind"),
    ],
)
async def test_a_running_job_is_shown_at_once_by_any_clock(skew: float) -> None:
    world = after_a_minute(skew, RUNNING)

    await world.reconcile()

    assert world.status.get("phase") == "Running"


@pytest.mark.parametrize("skew", [-TEN_MINUTES, TEN_MINUTES], ids=["behind", "ahead"])
async def test_no_job_ends_early_by_a_nodes_clock(skew: float) -> None:
    """The kubelet dates the end of a sync; the startup timeout counts anew from there."""
    synced = ended(0, age=30 + skew)
    world = after_a_minute(0, {**WAITING, "sync": synced})

    await world.reconcile()

    assert world.status.get("phase") not in ("Failed", "Succeeded")


@pytest.mark.parametrize(("waited", "over"), [(250.0, False), (350.0, True)])
async def test_the_startup_timeout_is_kept_when_clocks_agree(waited: float, over: bool) -> None:
    """The control: what the tests above find missing does happen in its time."""
    world = after_a_minute(0, WAITING)
    set_clocks(world, 0, age=waited)

    await world.reconcile()

    assert (world.status.get("reason") == "StartupTimeout") is over


@pytest.mark.parametrize(
    "skew",
    [
        pytest.param(0.0, id="right"),
        pytest.param(-TEN_MINUTES, id="behind"),
        pytest.param(TEN_MINUTES, id="ahead"),
    ],
)
async def test_a_time_to_live_is_not_shortened_by_the_clock_of_another_operator(
    skew: float,
) -> None:
    """An operator with the right clock dated the end; its successor has a clock of its own."""
    world = World(ttlSecondsAfterFinished=300)
    body = world.kube.objects[f"{JOBS}/sales"]
    body["status"] = {
        "phase": "Succeeded",
        "completionTime": time_text(30),
        "delivery": {"state": "Delivered"},
    }
    world.store.put_job(body | {"metadata": body["metadata"] | {"resourceVersion": "11"}})
    set_clocks(world, skew)

    await world.reconcile()

    assert f"{JOBS}/sales" in world.kube.objects, "deleted early"
