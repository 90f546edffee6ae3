"""The reconciler while Redis refuses, hangs, or has another result already."""

from typing import Any

import pytest

from nanogrid import wire
from nanogrid.kube.conventions import KubeError
from nanogrid.reasons import Reason
from support.builders import (
    JOB_UID,
    POD_NAME,
    a_failed_result,
    a_report,
    a_result,
    an_attempt,
    retrying,
    running,
    signed,
)
from support.operator_fakes import JOBS, PODS
from support.operator_world import World

KEY = f"result:{JOB_UID}"

# Redis.


async def a_job_that_ended_without_redis(result: wire.Result | None = None, **job: Any) -> World:
    world = World(**job)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(result or a_result(function_id=job.get("functionId"))))
    world.redis.up = False
    await world.reconcile()
    return world


async def test_a_job_ends_without_redis() -> None:
    world = await a_job_that_ended_without_redis()

    assert world.end == ("Succeeded", "Completed", "Pending")
    assert len(world.queue.retries) == 1


async def test_the_result_is_delivered_after_an_outage_of_redis() -> None:
    world = await a_job_that_ended_without_redis(functionId="f")
    world.redis.up = True

    await world.reconcile()
    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.redis.offered == [signed(a_result(function_id="f"))] * 2


async def test_a_result_without_a_function_is_delivered_after_an_outage_of_redis() -> None:
    world = await a_job_that_ended_without_redis()
    world.redis.up = True

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")


async def test_a_late_delivery_has_the_full_streams_from_s3() -> None:
    full = a_result(function_id="f", stdout="x" * 60_000)
    world = await a_job_that_ended_without_redis(full, functionId="f")
    world.s3.stored[JOB_UID] = signed(full)
    world.redis.up = True

    await world.reconcile()

    assert world.redis.offered[-1] == signed(full)


async def test_the_decided_result_is_delivered_even_if_s3_has_another() -> None:
    decided = a_result(function_id="f", stdout="x" * 60_000)
    world = await a_job_that_ended_without_redis(decided, functionId="f")
    world.s3.stored[JOB_UID] = signed(a_failed_result(3))
    world.redis.up = True

    await world.reconcile()

    assert (world.redis.offered[-1].status, world.redis.offered[-1].exit_code) == ("SUCCESS", 0)


async def test_the_result_of_an_earlier_attempt_is_not_delivered() -> None:
    world = World(backoffLimit=1, status=retrying(an_attempt(0)))
    world.see_pod(attempt=1, phase="Running", agent=running(), sandbox=running())
    last = a_failed_result(3, attempt=1, stdout="x" * 60_000)
    world.push(a_report(last))
    world.redis.up = False
    await world.reconcile()
    world.s3.stored[JOB_UID] = signed(a_failed_result(3, attempt=0, stdout="of the first attempt"))
    world.redis.up = True

    await world.reconcile()

    assert world.redis.offered[-1].attempt == 1


async def test_a_late_delivery_uses_the_full_result_in_memory() -> None:
    full = a_result(function_id="f", stdout="x" * 60_000)
    world = await a_job_that_ended_without_redis(full, functionId="f")
    world.redis.up, world.s3.up = True, False

    await world.reconcile()

    assert world.redis.offered[-1] == signed(full)
    await world.reconcile()
    assert world.parts.pending_results.get(JOB_UID) is None, "it is delivered"


async def test_a_shortened_result_is_delivered_while_s3_is_down() -> None:
    full = a_result(function_id="f", stdout="x" * 60_000)
    world = await a_job_that_ended_without_redis(full, functionId="f")
    world.redis.up, world.s3.up = True, False
    world.start()
    await world.resync()

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.redis.offered[-1].stdout_truncated


async def test_an_outage_of_redis_costs_no_status_write_per_try() -> None:
    world = await a_job_that_ended_without_redis(functionId="f")
    before = list(world.kube.writes)

    for _ in range(3):
        await world.reconcile()

    assert world.kube.writes == before
    assert len(world.redis.offered) == 4


async def test_the_pauses_grow_during_an_outage_of_redis() -> None:
    world = await a_job_that_ended_without_redis(functionId="f")
    world.queue.retries.clear()

    await world.work(30)

    assert world.queue.retries[0] < 1.0
    assert 4.0 <= world.queue.retries[-1] <= 5.0


async def test_another_error_of_redis_is_written_once() -> None:
    world = await a_job_that_ended_without_redis(functionId="f")
    before = len(world.kube.writes)
    world.redis.failure = Reason.REDIS_OUT_OF_MEMORY

    for _ in range(3):
        await world.reconcile()

    assert len(world.kube.writes) == before + 1
    assert delivered_condition(world)["reason"] == "RedisOutOfMemory"
    assert "RedisOutOfMemory" in world.events


def delivered_condition(world: World) -> dict[str, str]:
    (found,) = (c for c in world.status["conditions"] if c["type"] == "ResultDelivered")
    return dict(found)


# The status shows the published result, even if a new decision would differ.


async def test_a_delivery_whose_answer_was_lost_is_detected() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    world.redis.answers = False
    await world.reconcile()
    lost = world.end
    world.redis.answers = True

    await world.reconcile()

    assert lost == ("Succeeded", "Completed", "Pending")
    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.redis.messages == [signed(a_result())]


async def test_a_published_result_is_not_decided_again() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    world.kube.refuse("PATCH", 500)
    with pytest.raises(KubeError):
        await world.reconcile()
    world.change_spec(suspend=True)
    world.cache.drop_reports(JOB_UID)

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.redis.messages == [signed(a_result())]


@pytest.mark.parametrize("retries", [0, 2])
async def test_after_a_restart_the_job_ends_with_the_published_result(retries: int) -> None:
    """The first operator had the report; the second has neither pod nor report nor S3."""
    world = World(backoffLimit=retries)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    world.kube.refuse("PATCH", 500)
    with pytest.raises(KubeError):
        await world.reconcile()
    world.kube.objects[f"{JOBS}/sales"]["status"] = {"podName": POD_NAME}
    del world.kube.objects[f"{PODS}/{POD_NAME}"]
    world.start()
    await world.resync()

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.redis.messages == [signed(a_result())]
    assert world.s3.stored[JOB_UID] == signed(a_result())
    assert world.status["result"]["exitCode"] == 0


async def test_a_terminal_status_stays_and_names_the_different_result_in_redis() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})
    world.redis.up = False
    await world.reconcile()
    ended_as = world.end
    world.redis.up, world.redis.kept[KEY] = True, signed(a_result())

    await world.reconcile()

    assert ended_as == ("Failed", "PodLost", "Pending")
    assert world.end == ("Failed", "PodLost", "Delivered")
    assert "Redis received SUCCESS Completed" in world.status["delivery"]["message"]


async def test_a_deleted_job_leaves_no_published_result() -> None:
    world = World()
    world.push(a_report())
    world.kube.refuse("PATCH", 500)
    with pytest.raises(KubeError):
        await world.reconcile()
    world.cache.drop_job(JOB_UID)

    await world.reconcile()

    assert world.parts.reconciler.finisher.published(JOB_UID) is None
