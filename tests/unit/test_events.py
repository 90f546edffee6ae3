"""Events tell a job's story: one per transition, never in the way of the work."""

import asyncio
from typing import Any

import pytest

from nanogrid.reasons import Reason
from nanogrid_operator import events as events_module
from nanogrid_operator.events import Events, event
from unit.builders import (
    CREATED,
    CREATED_TEXT,
    JOB_UID,
    a_failed_result,
    a_job,
    a_report,
    a_result,
    a_stopped_result,
    ended,
    running,
)
from unit.fakes import CREATE_POD, JOBS, WRITE_STATUS, FakeKube, World

RUNNING = {"phase": "Running", "agent": running(), "sandbox": running()}


def test_an_event_is_about_the_job_as_kubectl_describe_looks_for_it() -> None:
    made = event(a_job(), Reason.POD_CREATED, "Created pod p", CREATED, bad=False)

    name = made["metadata"].pop("name")
    assert name.startswith("sales.")
    assert made == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "team-a"},
        "involvedObject": {
            "apiVersion": "nanogrid.io/v1alpha1",
            "kind": "ExecutionJob",
            "namespace": "team-a",
            "name": "sales",
            "uid": JOB_UID,
            "resourceVersion": "10",
        },
        "type": "Normal",
        "reason": "PodCreated",
        "message": "Created pod p",
        "source": {"component": "nanogrid-operator"},
        "firstTimestamp": CREATED_TEXT,
        "lastTimestamp": CREATED_TEXT,
        "count": 1,
    }


def test_no_two_events_have_one_name() -> None:
    names = {
        event(a_job(), Reason.RETRYING, "", CREATED, bad=True)["metadata"]["name"]
        for _ in range(100)
    }

    assert len(names) == 100
    assert max(len(name) for name in names) <= 253


def test_what_went_wrong_is_a_warning_of_bounded_length() -> None:
    made = event(a_job(), Reason.OOM_KILLED, "m" * 5000, CREATED, bad=True)

    assert (made["type"], len(made["message"])) == ("Warning", 1024)


async def test_an_event_that_is_not_taken_does_no_harm() -> None:
    kube = FakeKube()
    kube.refuse("EVENT", 403, "Forbidden")
    events = Events(kube)

    events.post(a_job(), Reason.POD_CREATED, "", CREATED, bad=False)
    events.post(a_job(), Reason.EXECUTING, "", CREATED, bad=False)
    await asyncio.sleep(0)

    assert [e["reason"] for e in kube.events] == ["Executing"]


async def test_events_that_the_api_server_does_not_take_in_time_do_not_pile_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events_module, "MAX_PENDING", 3)
    kube = FakeKube()
    events = Events(kube)

    for _ in range(10):
        events.post(a_job(), Reason.EXECUTING, "", CREATED, bad=False)
    await asyncio.sleep(0.01)
    events.post(a_job(), Reason.COMPLETED, "", CREATED, bad=False)
    await asyncio.sleep(0)

    assert [e["reason"] for e in kube.events] == ["Executing"] * 3 + ["Completed"]


# One per transition.


async def told(world: World, times: int = 3) -> list[str]:
    """The reasons of all events after so many more turns of a worker."""
    for _ in range(times):
        await world.reconcile()
    return world.events


async def test_a_short_job_has_a_beginning_and_an_end() -> None:
    world = World()
    await world.reconcile()
    world.see_pod(version=200, **RUNNING)
    await world.reconcile()
    world.push(a_report())

    assert await told(world) == ["PodCreated", "Completed"]
    assert [e["type"] for e in world.kube.events] == ["Normal", "Normal"]


async def test_a_long_one_tells_that_it_runs() -> None:
    world = World()
    await world.reconcile()
    world.see_pod(version=200, **RUNNING)
    world.now = CREATED + 5

    assert await told(world) == ["PodCreated", "Executing"]


async def test_a_failure_is_a_warning() -> None:
    world = World()
    world.see_pod(**RUNNING)
    world.push(a_report(a_failed_result()))

    assert await told(world) == ["NonZeroExit"]
    assert world.kube.events[0]["type"] == "Warning"


async def test_a_retry_is_told_with_the_end_of_the_attempt_before() -> None:
    world = World(backoffLimit=1)
    world.see_pod(**RUNNING)
    world.push(a_report(a_failed_result()))

    assert await told(world) == ["Retrying"]
    assert world.kube.events[0]["message"].startswith("Attempt 0 ended: ")
    world.now += 10
    assert await told(world) == ["Retrying", "PodCreated"]


async def test_a_suspended_job_tells_it_and_that_is_no_warning() -> None:
    world = World(suspend=True)

    assert await told(world) == ["Suspended"]
    assert world.kube.events[0]["type"] == "Normal"


async def test_a_stop_is_told_and_then_how_it_ended() -> None:
    world = World(cancel=True)
    world.see_pod(**RUNNING)
    await world.reconcile()
    world.see_pod(deleting=True, version=200, **RUNNING)
    await world.reconcile()
    world.push(a_report(a_stopped_result()))

    assert await told(world) == ["Stopping", "Cancelled"]


async def test_a_stop_is_told_once_while_the_watch_lags() -> None:
    world = World(cancel=True)
    world.see_pod(**RUNNING)

    assert await told(world) == ["Stopping"]
    assert world.kube.writes.count(WRITE_STATUS) == 1


async def test_a_refused_pod_is_told_once() -> None:
    world = World()
    for _ in range(2):
        world.kube.refuse("POST", 403, "Forbidden", "exceeded quota")

    await told(world)
    world.now += 3
    reasons = await told(world)

    assert world.kube.writes.count(CREATE_POD) == 2
    assert reasons == ["PodRejected"]


async def test_a_late_delivery_is_told_after_its_delay() -> None:
    world = await _undelivered()
    world.redis.up = True

    assert await told(world) == ["Completed", "RedisUnavailable", "Delivered"]


async def test_a_late_conflict_is_not_told_as_a_delivery() -> None:
    world = await _undelivered()
    world.redis.up, world.redis.taken = True, True

    reasons = await told(world)

    assert world.end == ("Succeeded", "Completed", "Conflict")
    assert reasons == ["Completed", "RedisUnavailable", "RequestIdConflict"]


async def _undelivered() -> World:
    world = World()
    world.see_pod(**RUNNING)
    world.push(a_report(a_result()))
    world.redis.up = False
    await world.reconcile()
    return world


async def test_a_job_ends_without_events_if_need_be() -> None:
    world = World()
    for _ in range(9):
        world.kube.refuse("EVENT", 500)
    world.see_pod(agent=ended(1), **{"phase": "Failed"})

    assert await told(world) == []
    assert world.end == ("Failed", "AgentFailed", "Delivered")


@pytest.mark.parametrize("spec", [{}, {"backoffLimit": 1}], ids=["the end", "a retry"])
async def test_a_conflict_that_is_tried_again_is_told_once(spec: Any) -> None:
    world = World(**spec)
    world.see_pod(**RUNNING)
    world.push(a_report(a_failed_result()))
    world.kube.touch(JOBS, "sales")

    await world.work()

    assert len([r for r in world.events if r in ("NonZeroExit", "Retrying")]) == 1
