"""A result that S3 did not take when its job ended reaches S3 later, whole, in the end's words."""

import json
from dataclasses import replace

import pytest

from nanogrid import wire
from nanogrid.status import RESULT_STORED
from nanogrid_operator.facts import job_facts
from nanogrid_operator.slim import settled
from unit.builders import JOB_UID, Json, a_failed_result, a_report, a_result, ended, running
from unit.fakes import JOBS, WRITE_STATUS, World

LONG = "x" * 60_000  # more than the CR keeps


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
    """The report of an agent whom S3 refused."""
    return replace(a_report(result or a_result(stdout=LONG)), stored=False)


async def test_an_ordinary_result_is_stored_by_its_agent() -> None:
    world = await ended_world(a_report())

    assert stored_condition(world) == ("True", "Stored")
    assert world.kube.writes == [WRITE_STATUS]
    assert settled(world.kube.objects[f"{JOBS}/sales"])
    await world.store_late()
    assert world.s3.saved == []


async def test_without_a_bucket_nothing_is_said_of_one() -> None:
    world = World()
    world.s3.bucket = ""
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())

    await world.reconcile()

    assert stored_condition(world) is None
    assert world.end == ("Succeeded", "Completed", "Delivered")


async def test_what_the_agent_could_not_store_the_operator_stores_whole() -> None:
    world = await ended_world(refused())
    said = stored_condition(world)

    await world.store_late()

    assert said == ("False", "StorageUnavailable")
    assert stored_condition(world) == ("True", "Stored")
    (saved,) = world.s3.saved
    assert saved.stdout == LONG
    assert saved == world.redis.told[0], "S3 and Redis have the same"
    assert world.kube.writes == [WRITE_STATUS, WRITE_STATUS]
    assert "Stored" in world.events


async def test_a_result_of_our_own_that_s3_refused_is_stored_later() -> None:
    world = World(cancel=True)
    world.s3.up = False
    await world.reconcile()
    said = stored_condition(world)
    world.s3.up = True

    await world.store_late()

    assert said == ("False", "StorageUnavailable")
    assert [r.reason for r in world.s3.saved] == ["Cancelled"]
    assert stored_condition(world) == ("True", "Stored")


async def test_an_s3_that_stays_away_costs_one_status_write_and_is_asked_less_and_less() -> None:
    world = await ended_world(refused())
    world.s3.up = False
    before = len(world.kube.writes)

    await world.store_late(0.5)

    assert len(world.kube.writes) == before + 1, "S3's own words in place of the agent's"
    assert world.s3.saved == []
    world.s3.up = True
    await world.store_late(1.0)
    assert stored_condition(world) == ("True", "Stored")


@pytest.mark.parametrize(
    ("redis_keeps", "whole"),
    [pytest.param(True, True, id="from Redis"), pytest.param(False, False, id="from the CR")],
)
async def test_a_restart_forgets_no_result(redis_keeps: bool, whole: bool) -> None:
    world = await ended_world(refused())
    if not redis_keeps:
        world.redis.kept.clear()
    world.start()
    await world.workers.resync()

    await world.reconcile()
    await world.store_late()

    assert stored_condition(world) == ("True", "Stored")
    (saved,) = world.s3.saved
    assert (saved.stdout == LONG) is whole
    assert saved.stdout.endswith("x")


async def test_a_late_agents_word_gives_way_to_what_was_decided() -> None:
    world = World(cancel=True)
    world.s3.up = False
    await world.reconcile()
    world.s3.up = True
    world.s3.stored[JOB_UID] = a_result()  # a frozen agent was quicker than the outbox

    await world.store_late()

    assert world.s3.stored[JOB_UID].reason == "Cancelled"


async def test_another_jobs_result_is_left_and_named() -> None:
    world = await ended_world(refused())
    other = a_result(job=wire.JobRef(namespace="team-a", name="other", uid="another"))
    world.s3.stored[JOB_UID] = other

    await world.store_late()

    assert world.s3.stored[JOB_UID] == other
    assert stored_condition(world) == ("False", "RequestIdConflict")
    assert not job_facts(world.kube.objects[f"{JOBS}/sales"]).unstored, "nothing mends that"


async def test_a_termination_message_that_says_unstored_is_stored() -> None:
    world = World()
    message = wire.dumps(refused(a_result(stdout="short")))
    world.see_pod(phase="Succeeded", agent=ended(0, "Completed", message), sandbox=ended(0))

    await world.reconcile()
    await world.store_late()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert [r.stdout for r in world.s3.saved] == ["short"]


async def test_a_result_that_s3_lacks_is_stored_whatever_the_agent_thought() -> None:
    """It was killed between its last words and its request to S3."""
    world = World()
    message = wire.dumps(a_report(a_result(stdout="short")))
    world.see_pod(phase="Failed", agent=ended(137, "Error", message), sandbox=ended(0))

    await world.reconcile()
    await world.store_late()

    assert [r.stdout for r in world.s3.saved] == ["short"]


async def test_an_attempt_that_is_followed_by_another_is_not_stored_late() -> None:
    world = await ended_world(refused(a_failed_result()), backoffLimit=1)

    await world.store_late()

    assert world.s3.saved == []


async def test_a_job_waits_with_its_time_to_live_until_s3_has_its_result() -> None:
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


async def test_a_conflict_with_another_writer_is_tried_again() -> None:
    world = await ended_world(refused())
    world.kube.touch(JOBS, "sales")

    await world.store_late(0.5)

    assert stored_condition(world) == ("True", "Stored")


async def test_a_job_that_is_deleted_meanwhile_is_forgotten() -> None:
    world = await ended_world(refused())
    world.store.drop_job(JOB_UID)

    await world.store_late()

    assert world.s3.saved == []


def test_an_older_agents_report_counts_as_stored() -> None:
    data: Json = json.loads(wire.dumps(a_report()))
    del data["stored"]

    assert wire.loads(wire.Report, json.dumps(data)).stored
