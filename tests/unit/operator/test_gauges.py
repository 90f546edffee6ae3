"""Gauges about all jobs: phases, ages, queues, results that targets do not have, sessions."""

import asyncio
import logging
from typing import Any

import pytest

from nanogrid.metrics.registry import OTHER
from nanogrid.types import Json
from nanogrid_operator import gauges
from nanogrid_operator.gauges import REFRESH_SECONDS, SLICE, Tally, owed_targets, session_state
from support.builders import (
    CREATED,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
    an_attempt,
    running,
    some_settings,
    time_text,
)
from support.operator_world import World, run_for

STORED_LATER: Json = {
    "type": "ResultStored",
    "status": "False",
    "reason": "StorageUnavailable",
}


def put(world: World, name: str, namespace: str = "team-a", **job: Any) -> None:
    """A job of the cache, next to the world's own."""
    world.cache.put_job(a_job_body(name=name, uid=f"uid-{name}", namespace=namespace, **job))


def a_session(**status: Any) -> Json:
    return a_job_body(mode="Session", status={"phase": "Running", **status})


async def refreshed(world: World) -> World:
    await world.parts.gauges.refresh()
    return world


# Jobs by phase.


async def test_jobs_count_by_namespace_and_phase() -> None:
    world = World()
    put(world, "runs", status={"phase": "Running", "startTime": time_text(0)})
    put(world, "ended", "team-b", status={"phase": "Failed", "completionTime": time_text(1)})
    await refreshed(world)

    assert world.series("jobs") == {
        ("team-a", "Pending"): 1,
        ("team-a", "Running"): 1,
        ("team-b", "Failed"): 1,
    }
    assert world.measured("jobs", namespace="team-b", phase="Running") == 0


async def test_a_namespace_without_jobs_has_no_gauges_any_more() -> None:
    world = World()
    put(world, "last", "team-b")
    await refreshed(world)
    before = world.measured("jobs", namespace="team-b", phase="Pending")

    world.cache.drop_job("uid-last")
    await refreshed(world)

    assert before == 1
    assert world.measured("jobs", namespace="team-b", phase="Pending") is None
    assert world.measured("queue_length", namespace="team-b") is None
    assert world.measured("jobs", namespace="team-a", phase="Pending") == 1


async def test_further_namespaces_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "NAMESPACES", 2)
    world = World()
    for number in range(6):
        put(world, f"job-{number}", f"team-{number}")
    await refreshed(world)

    counts = world.series("jobs")
    assert set(counts.values()) == {1, 5}
    assert counts[OTHER, "Pending"] == 5


async def test_the_place_of_a_namespace_without_jobs_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gauges, "NAMESPACES", 2)
    world = World()
    for number in range(20):
        put(world, "last", f"team-{number}")
        await refreshed(world)
        world.cache.drop_job("uid-last")

    assert world.series("jobs") == {("team-a", "Pending"): 1, ("team-19", "Pending"): 1}


# Ages.


def age_of(job: Json, *, at: float, before: dict[str, tuple[str, float]] | None = None) -> float:
    tally = Tally(before or {}, CREATED + at)
    tally.add("u", job)
    (age,) = tally.phase_ages.values()
    return age


def test_a_waiting_job_is_as_old_as_itself() -> None:
    assert age_of(a_job_body(), at=30) == 30


def test_a_job_that_is_repeated_waits_since_the_end_of_its_attempt() -> None:
    status = {"phase": "Pending", "attempts": [an_attempt(age=20)]}
    assert age_of(a_job_body(status=status), at=30) == 10


def test_a_running_job_that_is_new_to_the_operator_counts_from_its_pod() -> None:
    status = {"phase": "Running", "startTime": time_text(5)}
    assert age_of(a_job_body(status=status), at=30) == 25


def test_a_job_that_changes_its_phase_counts_from_then() -> None:
    job = a_job_body(status={"phase": "Running", "startTime": time_text(5)})
    changed, later = Tally({"u": ("Syncing", CREATED + 5)}, CREATED + 30), CREATED + 37
    changed.add("u", job)

    assert changed.phase_ages == {"Running": 0}
    assert age_of(job, at=later - CREATED, before=changed.since) == 7


def test_the_oldest_job_of_a_phase_counts() -> None:
    tally = Tally({}, CREATED + 30)
    for number, age in enumerate((10, 25, 15)):
        body = a_job_body(status={"phase": "Running", "startTime": time_text(30 - age)})
        tally.add(f"u-{number}", body)

    assert tally.phase_ages == {"Running": 25}


async def test_a_phase_without_jobs_has_the_age_0() -> None:
    world = await refreshed(World())

    assert world.series("jobs_oldest_phase_seconds") == {("Pending",): 1}
    assert world.measured("jobs_oldest_phase_seconds", phase="Running") == 0


# The queue.


async def test_jobs_without_room_are_in_the_queue() -> None:
    settings = some_settings(watch_namespaces="team-a", s3_secret="", max_pods=1)
    world = World(settings)
    other = a_pod_body(job_uid="uid-other")
    other["metadata"]["name"] = "other-pod"
    world.cache.put_pod(other)
    world.now = CREATED + 40
    await world.reconcile()
    await refreshed(world)
    waits = world.measured("queue_length", namespace="team-a")
    age = world.measured("queue_oldest_wait_seconds", namespace="team-a")
    world.cache.drop_pod(other)
    await refreshed(world)

    assert (waits, age) == (1, 40)
    assert world.measured("queue_length", namespace="team-a") == 0
    assert world.measured("queue_oldest_wait_seconds", namespace="team-a") == 0


# Results that targets do not have.


@pytest.mark.parametrize(
    ("status", "targets"),
    [
        ({}, []),
        ({"delivery": {"state": "Delivered"}}, []),
        ({"delivery": {"state": "Pending"}}, ["redis"]),
        ({"delivery": {"state": "Delivered", "webhook": {"state": "Pending"}}}, ["webhook"]),
        ({"delivery": {"state": "Delivered", "webhook": {"state": "GivenUp"}}}, []),
        ({"delivery": {"state": "Pending"}, "conditions": [STORED_LATER]}, ["redis", "s3"]),
    ],
    ids=["nothing", "delivered", "redis", "webhook", "given up", "both"],
)
def test_what_targets_do_not_have(status: Json, targets: list[str]) -> None:
    assert list(owed_targets(status)) == targets


async def test_a_delivery_is_pending_until_its_target_has_the_result() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_result()))
    world.redis.up = False
    await world.reconcile()
    world.now += 60
    await refreshed(world)
    pending, age = (
        world.series("deliveries_pending"),
        world.measured("deliveries_oldest_pending_seconds", target="redis"),
    )
    world.redis.up = True
    await world.reconcile()
    await world.reconcile()
    await refreshed(world)

    assert (pending, age) == ({("redis",): 1}, 60)
    assert world.series("deliveries_pending") == {}
    assert world.measured("deliveries_pending", target="redis") == 0
    assert world.measured("deliveries_oldest_pending_seconds", target="redis") == 0


# Sessions.


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"phase": "Pending"}, "Starting"),
        ({"phase": "Syncing"}, "Starting"),
        ({"phase": "Suspended"}, "Suspended"),
        ({}, "NotReady"),
        ({"conditions": [{"type": "Ready", "status": "False"}]}, "NotReady"),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, "Idle"),
        (
            {"conditions": [{"type": "Ready", "status": "True"}], "session": {"running": 3}},
            "Busy",
        ),
    ],
    ids=["pending", "syncing", "suspended", "no condition", "not ready", "idle", "busy"],
)
def test_the_state_of_a_session(status: Json, state: str) -> None:
    assert session_state(a_session(**status)) == state


async def test_sessions_count_by_state_until_they_end() -> None:
    world = World(mode="Session", status={"phase": "Running"})
    put(world, "over", mode="Session", status={"phase": "Succeeded"})
    put(world, "starts", mode="Session")
    await refreshed(world)

    assert world.series("sessions") == {("team-a", "NotReady"): 1, ("team-a", "Starting"): 1}


# Dependencies, leader, the pass itself.


async def test_the_last_check_of_each_dependency_is_shown() -> None:
    world = World()
    await refreshed(world)
    before = world.measured("dependency_up", dependency="crd")
    world.kube.refuse("LIST", 500)
    await run_for(1, world.parts.health.run())
    await refreshed(world)

    assert before is None
    assert world.measured("dependency_up", dependency="crd") == 0
    assert set(world.series("dependency_up").values()) <= {1}


async def test_the_leader_is_shown_at_once_after_a_take_over() -> None:
    world = World()
    await world.stand_by()
    await refreshed(world)
    before = world.measured("leader")
    world.parts.resync.take_over()
    await refreshed(world)

    assert (before, world.measured("leader")) == (0, 1)
    assert world.series("jobs") == {("team-a", "Pending"): 1}


async def test_the_event_loop_runs_between_slices_of_jobs() -> None:
    world = World()
    for number in range(4 * SLICE):
        put(world, f"job-{number}")
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await refreshed(world)
    turning.cancel()

    assert turns >= 4
    assert world.measured("jobs", namespace="team-a", phase="Pending") == 4 * SLICE + 1


async def test_jobs_may_disappear_during_a_pass() -> None:
    world = World()
    for number in range(2 * SLICE):
        put(world, f"job-{number}")
    passing = asyncio.create_task(world.parts.gauges.refresh())
    await asyncio.sleep(0)
    for number in range(2 * SLICE):
        world.cache.drop_job(f"uid-job-{number}")
    await passing

    counted = world.measured("jobs", namespace="team-a", phase="Pending")
    assert counted is not None
    assert counted <= SLICE
    await refreshed(world)
    assert world.series("jobs") == {("team-a", "Pending"): 1}


async def test_an_error_ends_neither_the_process_nor_the_next_pass(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    broken = True

    def checked() -> dict[str, bool]:
        if broken:
            raise RuntimeError("broken")
        return {"crd": True}

    monkeypatch.setattr(world.parts.health, "checked", checked)
    with caplog.at_level(logging.ERROR):
        await run_for(3 * REFRESH_SECONDS - 1, world.parts.gauges.run())
    lines = caplog.text.count("the gauges of the metrics are not refreshed")
    broken = False
    await refreshed(world)

    assert lines == 1
    assert world.series("jobs") == {("team-a", "Pending"): 1}


async def test_a_job_with_an_odd_status_does_not_stop_the_gauges_of_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The API server takes this offset for a date-time."""
    world = World()
    odd_time = "2026-01-01T00:00:00+99:99"
    for name in ("odd-1", "odd-2"):
        put(world, name, "team-b", status={"phase": "Running", "startTime": odd_time})
    put(world, "good", "team-c", status={"phase": "Running", "startTime": time_text(0)})

    with caplog.at_level(logging.ERROR):
        await refreshed(world)
        await refreshed(world)

    assert world.measured("jobs", namespace="team-b", phase="Running") == 2
    assert world.measured("jobs", namespace="team-c", phase="Running") == 1
    assert world.measured("jobs_oldest_phase_seconds", phase="Running")
    assert caplog.text.count("the gauges do not have all of a job") == 1


async def test_a_process_that_stops_neither_leads_nor_counts_jobs() -> None:
    world = World()
    put(world, "job-1")
    running_gauges = asyncio.create_task(world.parts.gauges.run())
    await asyncio.sleep(0)
    before = (world.measured("leader"), world.series("jobs"))

    running_gauges.cancel()
    await asyncio.wait([running_gauges])

    assert before == (1, {("team-a", "Pending"): 2})
    assert world.measured("leader") == 0
    assert world.series("jobs") == {}
    assert world.measured("queue_length", namespace="team-a") is None
