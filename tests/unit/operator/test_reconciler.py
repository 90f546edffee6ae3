"""The reconciler with an API server, a Redis and an S3 in memory, which record their requests.

They fail here in all the ways that matter. The job must always end once, with the right reason, and
without unnecessary writes.
"""

import asyncio

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.types import Json
from nanogrid_operator.model.facts import job_facts
from support.builders import (
    CREATED,
    JOB_UID,
    POD_NAME,
    a_failed_result,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
    running,
    signed,
)
from support.operator_fakes import CREATE_POD, JOBS, PODS, WRITE_STATUS
from support.operator_world import World


async def test_a_short_job_costs_two_writes_and_one_message() -> None:
    world = World()

    await world.reconcile()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    await world.reconcile()
    world.push(a_report())
    await world.reconcile()
    await world.reconcile()

    assert world.kube.writes == [CREATE_POD, WRITE_STATUS]
    assert world.redis.offered == [signed(a_result())]
    assert world.end == ("Succeeded", "Completed", "Delivered")


@pytest.mark.parametrize(
    ("job", "seconds"),
    [
        ({}, 4.0),
        ({"timeouts": {"startupSeconds": 1}}, 1.0),
        ({"activeDeadlineSeconds": 1}, 0.0),
    ],
    ids=["a job", "its start is due soon", "its deadline may be near"],
)
async def test_a_job_whose_pod_was_created_is_looked_at_when_something_is_due(
    job: Json, seconds: float
) -> None:
    world = World(**job)

    await world.reconcile()

    assert world.cache.pod(JOB_UID, 0) is not None
    assert world.queue.delays == [seconds]


async def test_a_long_job_costs_one_write_for_running() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.now = CREATED + 5

    for _ in range(3):
        await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS]
    assert (world.status["phase"], world.status["podName"]) == ("Running", POD_NAME)
    assert world.queue.delays == [60.0, 60.0, 60.0]


async def test_the_jobs_own_pod_is_adopted() -> None:
    world = World()
    world.kube.put(PODS, a_pod_body())

    await world.reconcile()

    assert world.cache.pod(JOB_UID, 0) == a_pod_body()
    assert world.kube.writes == [CREATE_POD]


async def test_a_foreign_pod_of_that_name_is_a_name_conflict() -> None:
    world = World()
    world.kube.put(PODS, a_pod_body(job_uid="another"))

    await world.reconcile()

    assert world.end == ("Failed", "NameConflict", "Delivered")
    assert f"{PODS}/{POD_NAME}" in world.kube.objects


@pytest.mark.parametrize("code", [400, 422])
async def test_an_invalid_pod_ends_the_job_with_the_message_of_the_server(code: int) -> None:
    world = World()
    world.kube.refuse("POST", code, "Forbidden", "exceeded quota: compute")

    await world.reconcile()

    assert world.end == ("Failed", "PodRejected", "Delivered")
    assert "exceeded quota: compute" in world.status["message"]


@pytest.mark.parametrize("code", [403, 404])
async def test_a_rejection_that_can_change_is_shown_and_the_create_is_retried(
    code: int,
) -> None:
    world = World()
    world.kube.refuse("POST", code, "Forbidden", "denied by policy images")

    await world.reconcile()
    await world.reconcile()
    shown = world.status
    world.now += 2
    await world.reconcile()

    assert (shown["phase"], shown["reason"]) == ("Pending", "PodRejected")
    assert "denied by policy images" in shown["message"]
    assert world.kube.writes == [CREATE_POD, WRITE_STATUS, CREATE_POD]
    assert world.cache.pod(JOB_UID, 0) is not None


async def test_a_rejection_that_lasts_ends_the_job_with_the_message_of_the_server() -> None:
    world = World(timeouts={"startupSeconds": 10})
    for _ in range(20):
        world.kube.refuse("POST", 403, "Forbidden", "denied by policy images")

    for _ in range(20):
        await world.reconcile()
        world.now += 1

    assert world.end == ("Failed", "PodRejected", "Delivered")
    assert "denied by policy images" in world.status["message"]
    assert 4 <= world.kube.writes.count(CREATE_POD) <= 6


@pytest.mark.parametrize("code", [0, 429, 500, 503])
async def test_an_error_of_the_api_server_is_retried(code: int) -> None:
    world = World()
    world.kube.refuse("POST", code)

    await world.work()

    assert world.kube.writes == [CREATE_POD, CREATE_POD]
    assert world.status == {}
    assert len(world.queue.retries) == 1


async def test_a_spec_that_is_too_large_is_invalid() -> None:
    world = World(stdin="x" * 65_000, code={"inline": "y" * 65_000})

    await world.reconcile()

    assert world.end == ("Failed", "InvalidSpec", "Delivered")
    assert world.kube.writes == [WRITE_STATUS]


async def test_memory_in_kibibytes_is_allowed() -> None:
    world = World(resources={"limits": {"memory": "524288Ki"}})

    await world.work()

    assert world.kube.writes == [CREATE_POD]


# The status.


async def test_a_conflict_on_the_status_is_retried_with_the_newer_job() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    world.kube.touch(JOBS, "sales")

    await world.work()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.kube.writes == [WRITE_STATUS, WRITE_STATUS]
    assert world.cache.report(JOB_UID, 0) is None


async def test_a_conflict_is_raised() -> None:
    world = World()
    world.push(a_report())
    world.kube.touch(JOBS, "sales")

    with pytest.raises(KubeError) as error:
        await world.reconcile()

    assert error.value.code == 409


async def test_a_deleted_job_is_forgotten() -> None:
    world = World()
    world.push(a_report())
    world.kube.objects.clear()

    await world.work()

    assert world.cache.uids() == []
    assert world.queue.retries == []


async def test_an_unknown_key_is_not_an_error() -> None:
    world = World()

    await world.parts.reconciler.reconcile("unknown")

    assert world.kube.writes == []


async def test_a_worker_continues_after_an_unexpected_error() -> None:
    world = World()
    broken = a_job_body()
    del broken["metadata"]["name"]
    world.cache.put_job(broken)

    await world.work(60)

    assert len(world.queue.retries) > 5


async def test_an_unknown_reason_of_a_newer_agent_ends_the_job() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_failed_result(3, reason="QuotaOfTomorrow")))

    await world.work()

    assert world.status.get("phase") == "Failed"


# The LIST.


async def test_a_list_enqueues_every_job() -> None:
    world = World()
    other = a_job_body(name="other", uid="other-uid")
    world.kube.put(JOBS, other)

    await world.resync()

    assert sorted(world.cache.uids()) == sorted([JOB_UID, "other-uid"])
    assert len(world.queue) == 2


async def test_a_list_after_a_restart_finds_the_pod() -> None:
    world = World()
    world.kube.put(PODS, a_pod_body(phase="Running", agent=running(), sandbox=running()))

    await world.resync()
    await world.reconcile()

    assert CREATE_POD not in world.kube.writes


async def test_a_job_that_is_being_deleted_is_ignored() -> None:
    world = World(deleting=True)
    world.push(a_report())

    await world.reconcile()

    assert world.kube.writes == []
    assert world.redis.offered == []


def test_the_fake_api_server_removes_nulls_like_the_real_one() -> None:
    world = World(status={"podName": POD_NAME, "result": {"exitCode": 0}})

    patched = asyncio.run(
        world.kube.patch_status(JOBS, "sales", {"status": {"result": {"exitCode": None}}})
    )

    assert job_facts(patched).status == {"podName": POD_NAME, "result": {}}
