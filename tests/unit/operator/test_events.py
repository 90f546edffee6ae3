"""Events: one for each start of a job and each problem, and they never delay the work."""

import asyncio
import logging
from typing import Any

import pytest

from nanogrid.reasons import Reason
from nanogrid_operator.status.events import Events, event
from support.builders import (
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
from support.operator_fakes import CREATE_POD, JOBS, WRITE_STATUS, FakeKube
from support.operator_world import World

RUNNING = {"phase": "Running", "agent": running(), "sandbox": running()}


def test_an_event_involves_the_job_so_that_kubectl_describe_finds_it() -> None:
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


def test_event_names_are_unique() -> None:
    names = {
        event(a_job(), Reason.RETRYING, "", CREATED, bad=True)["metadata"]["name"]
        for _ in range(100)
    }

    assert len(names) == 100
    assert max(len(name) for name in names) <= 253


def test_a_failure_is_a_warning_of_bounded_length() -> None:
    made = event(a_job(), Reason.OOM_KILLED, "m" * 5000, CREATED, bad=True)

    assert (made["type"], len(made["message"])) == ("Warning", 1024)


async def test_a_rejected_event_does_no_harm() -> None:
    kube = FakeKube()
    kube.refuse("EVENT", 403, "Forbidden")
    events = Events(kube)

    events.post(a_job(), Reason.POD_CREATED, "", CREATED, bad=False)
    events.post(a_job(), Reason.EXECUTING, "", CREATED, bad=False)
    await asyncio.sleep(0)

    assert [e["reason"] for e in kube.events] == ["Executing"]


async def test_the_number_of_pending_events_is_bounded() -> None:
    kube = FakeKube()
    events = Events(kube, max_pending=3)

    for _ in range(10):
        events.post(a_job(), Reason.EXECUTING, "", CREATED, bad=False)
    await asyncio.sleep(0.01)
    events.post(a_job(), Reason.COMPLETED, "", CREATED, bad=False)
    await asyncio.sleep(0)

    assert [e["reason"] for e in kube.events] == ["Executing"] * 3 + ["Completed"]


# A start, a retry or a problem.


async def events_after(world: World, times: int = 3) -> list[str]:
    """The reasons of all Events after this many more passes."""
    for _ in range(times):
        await world.reconcile()
    return world.events


async def test_a_job_that_completes_has_one_event_and_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "nanogrid.reconcile")

    world = World()
    await world.reconcile()
    world.see_pod(version=200, **RUNNING)
    await world.reconcile()
    world.push(a_report())

    assert await events_after(world) == ["PodCreated"]
    assert world.kube.events[0]["type"] == "Normal"
    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert [text for text in caplog.messages if " " not in text] == ["PodCreated", "Completed"]


async def test_a_long_job_has_no_event_when_it_runs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nanogrid.reconcile")
    world = World()
    await world.reconcile()
    world.see_pod(version=200, **RUNNING)
    world.now = CREATED + 5

    assert await events_after(world) == ["PodCreated"]
    assert world.status["reason"] == "Executing"
    assert caplog.messages.count("Executing") == 1


async def test_a_failure_is_a_warning() -> None:
    world = World()
    world.see_pod(**RUNNING)
    world.push(a_report(a_failed_result()))

    assert await events_after(world) == ["NonZeroExit"]
    assert world.kube.events[0]["type"] == "Warning"


async def test_a_retry_names_the_end_of_the_previous_attempt() -> None:
    world = World(backoffLimit=1)
    world.see_pod(**RUNNING)
    world.push(a_report(a_failed_result()))

    assert await events_after(world) == ["Retrying"]
    assert world.kube.events[0]["message"].startswith("Attempt 0 ended: ")
    world.now += 10
    assert await events_after(world) == ["Retrying", "PodCreated"]


async def test_a_suspension_is_a_normal_event() -> None:
    world = World(suspend=True)

    assert await events_after(world) == ["Suspended"]
    assert world.kube.events[0]["type"] == "Normal"


async def test_a_stopped_job_has_an_event_for_the_stop_and_for_its_end() -> None:
    world = World(cancel=True)
    world.see_pod(**RUNNING)
    await world.reconcile()
    world.see_pod(deleting=True, version=200, **RUNNING)
    await world.reconcile()
    world.push(a_report(a_stopped_result()))

    assert await events_after(world) == ["Stopping", "Cancelled"]


async def test_a_stop_has_one_event_while_the_watch_lags() -> None:
    world = World(cancel=True)
    world.see_pod(**RUNNING)

    assert await events_after(world) == ["Stopping"]
    assert world.kube.writes.count(WRITE_STATUS) == 1


async def test_a_rejected_pod_has_one_event() -> None:
    world = World()
    for _ in range(2):
        world.kube.refuse("POST", 403, "Forbidden", "exceeded quota")

    await events_after(world)
    world.now += 3
    reasons = await events_after(world)

    assert world.kube.writes.count(CREATE_POD) == 2
    assert reasons == ["PodRejected"]


async def test_a_late_delivery_has_an_event_after_that_of_its_delay() -> None:
    world = await _undelivered()
    world.redis.up = True

    assert await events_after(world) == ["RedisUnavailable", "Delivered"]


async def test_a_late_conflict_is_not_recorded_as_a_delivery() -> None:
    world = await _undelivered()
    world.redis.up, world.redis.taken = True, True

    reasons = await events_after(world)

    assert world.end == ("Succeeded", "Completed", "Conflict")
    assert reasons == ["RedisUnavailable", "RequestIdConflict"]


async def _undelivered() -> World:
    world = World()
    world.see_pod(**RUNNING)
    world.push(a_report(a_result()))
    world.redis.up = False
    await world.reconcile()
    return world


async def test_a_job_ends_even_if_no_event_is_taken() -> None:
    world = World()
    for _ in range(9):
        world.kube.refuse("EVENT", 500)
    world.see_pod(agent=ended(1), **{"phase": "Failed"})

    assert await events_after(world) == []
    assert world.end == ("Failed", "AgentFailed", "Delivered")


@pytest.mark.parametrize("spec", [{}, {"backoffLimit": 1}], ids=["the end", "a retry"])
async def test_a_conflict_on_the_status_gives_no_second_event(spec: Any) -> None:
    world = World(**spec)
    world.see_pod(**RUNNING)
    world.push(a_report(a_failed_result()))
    world.kube.touch(JOBS, "sales")

    await world.work()

    assert len([r for r in world.events if r in ("NonZeroExit", "Retrying")]) == 1
