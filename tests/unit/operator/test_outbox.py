"""A result that S3 did not take when its job ended reaches S3 later, complete and as decided."""

import json
from dataclasses import replace

import pytest

from nanogrid import wire
from nanogrid.api.status import RESULT_STORED
from nanogrid.types import Json
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.lifecycle import settled
from support.builders import (
    JOB_UID,
    a_failed_result,
    a_report,
    a_result,
    ended,
    running,
    some_settings,
)
from support.operator_fakes import JOBS, WRITE_STATUS
from support.operator_world import World

LONG = "x" * 60_000  # more than the status keeps


def stored_condition(world: World) -> tuple[str, str] | None:
    found = [c for c in world.status["conditions"] if c["type"] == RESULT_STORED]
    return (found[0]["status"], found[0]["reason"]) if found else None


async def ended_world(report: wire.Report, **job: object) -> World:
    """A job that has ended with this report."""
    world = World(**job)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(report)
    await world.reconcile()
    return world


def refused(result: wire.Result | None = None) -> wire.Report:
    """The report of an agent that S3 refused."""
    return replace(a_report(result or a_result(stdout=LONG)), stored=False)


async def test_the_agent_stores_an_ordinary_result() -> None:
    world = await ended_world(a_report())

    assert stored_condition(world) == ("True", "Stored")
    assert world.kube.writes == [WRITE_STATUS]
    assert settled(world.kube.objects[f"{JOBS}/sales"])
    await world.store_late()
    assert world.s3.saved == []


async def test_without_a_bucket_there_is_no_condition_for_s3() -> None:
    world = World(some_settings(watch_namespaces="team-a", s3_secret="", s3_bucket=""))
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())

    await world.reconcile()

    assert stored_condition(world) is None
    assert world.end == ("Succeeded", "Completed", "Delivered")


async def test_the_operator_stores_the_full_result_that_the_agent_could_not_store() -> None:
    world = await ended_world(refused())
    before = stored_condition(world)

    await world.store_late()

    assert before == ("False", "StorageUnavailable")
    assert stored_condition(world) == ("True", "Stored")
    (saved,) = world.s3.saved
    assert saved.stdout == LONG
    assert saved == world.redis.offered[0], "S3 and Redis have the same"
    assert world.kube.writes == [WRITE_STATUS, WRITE_STATUS]
    assert "Stored" in world.events


async def test_the_operators_own_result_that_s3_refused_is_stored_later() -> None:
    world = World(cancel=True)
    world.s3.up = False
    await world.reconcile()
    before = stored_condition(world)
    world.s3.up = True

    await world.store_late()

    assert before == ("False", "StorageUnavailable")
    assert [r.reason for r in world.s3.saved] == ["Cancelled"]
    assert stored_condition(world) == ("True", "Stored")


async def test_an_outage_of_s3_costs_one_status_write() -> None:
    world = await ended_world(refused())
    world.s3.up = False
    before = len(world.kube.writes)

    await world.store_late(600)

    assert len(world.kube.writes) == before + 1, "the error of S3 replaces that of the agent"
    assert world.s3.saved == []
    world.s3.up = True
    await world.store_late(60)
    assert stored_condition(world) == ("True", "Stored")


@pytest.mark.parametrize(
    ("redis_keeps", "full"),
    [pytest.param(True, True, id="from Redis"), pytest.param(False, False, id="from the status")],
)
async def test_a_restart_loses_no_result(redis_keeps: bool, full: bool) -> None:
    world = await ended_world(refused())
    if not redis_keeps:
        world.redis.kept.clear()
    world.start()
    await world.resync()

    await world.reconcile()
    await world.store_late()

    assert stored_condition(world) == ("True", "Stored")
    (saved,) = world.s3.saved
    assert (saved.stdout == LONG) is full
    assert saved.stdout.endswith("x")


async def test_the_decided_result_replaces_that_of_a_late_agent() -> None:
    world = World(cancel=True)
    world.s3.up = False
    await world.reconcile()
    world.s3.up = True
    world.s3.stored[JOB_UID] = a_result()  # a frozen agent was faster than the outbox

    await world.store_late()

    assert world.s3.stored[JOB_UID].reason == "Cancelled"


async def test_the_result_of_another_job_stays_and_is_named() -> None:
    world = await ended_world(refused())
    other = a_result(job=wire.JobRef(namespace="team-a", name="other", uid="another"))
    world.s3.stored[JOB_UID] = other

    await world.store_late()

    assert world.s3.stored[JOB_UID] == other
    assert stored_condition(world) == ("False", "RequestIdConflict")
    assert not job_facts(world.kube.objects[f"{JOBS}/sales"]).unstored, "a retry does not help"


@pytest.mark.parametrize(
    ("stored", "phase", "agent"),
    [
        pytest.param(False, "Succeeded", (0, "Completed"), id="the agent marks it as unstored"),
        # The agent was killed between its termination message and its request to S3.
        pytest.param(True, "Failed", (137, "Error"), id="the agent marks it as stored"),
    ],
)
async def test_a_result_in_the_termination_message_that_s3_lacks_is_stored(
    stored: bool, phase: str, agent: tuple[int, str]
) -> None:
    world = World()
    message = wire.dumps(replace(a_report(a_result(stdout="short")), stored=stored))
    world.see_pod(phase=phase, agent=ended(*agent, message), sandbox=ended(0))

    await world.reconcile()
    await world.store_late()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert [r.stdout for r in world.s3.saved] == ["short"]


async def test_a_retried_attempt_is_not_stored_later() -> None:
    world = await ended_world(refused(a_failed_result()), backoffLimit=1)

    await world.store_late()

    assert world.s3.saved == []


async def test_a_job_outlives_its_time_to_live_until_s3_has_its_result() -> None:
    world = await ended_world(refused(), ttlSecondsAfterFinished=60)
    world.s3.up = False
    world.now += 3600
    await world.reconcile()
    assert f"{JOBS}/sales" in world.kube.objects
    world.s3.up = True

    await world.store_late()
    await world.reconcile()

    assert f"{JOBS}/sales" not in world.kube.objects


async def test_a_job_does_not_wait_for_s3_for_ever() -> None:
    world = await ended_world(refused(), ttlSecondsAfterFinished=60)
    world.s3.up = False
    world.now += 86_401
    await world.reconcile()

    assert f"{JOBS}/sales" not in world.kube.objects


async def test_a_conflict_with_another_writer_is_retried() -> None:
    world = await ended_world(refused())
    world.kube.touch(JOBS, "sales")

    await world.store_late(5)

    assert stored_condition(world) == ("True", "Stored")


async def test_a_deleted_job_is_forgotten() -> None:
    world = await ended_world(refused())
    world.cache.drop_job(JOB_UID)

    await world.store_late()

    assert world.s3.saved == []


def test_a_report_of_an_older_agent_counts_as_stored() -> None:
    data: Json = json.loads(wire.dumps(a_report()))
    del data["stored"]

    assert wire.loads(wire.Report, json.dumps(data)).stored
