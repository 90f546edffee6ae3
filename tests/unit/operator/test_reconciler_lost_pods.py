"""The reconciler when a pod is gone, stuck, or was missed by a restart."""

from typing import Any

import pytest

from nanogrid import wire
from nanogrid.kube.conventions import KubeError
from nanogrid.s3.errors import S3Error
from support.builders import (
    CREATED,
    JOB_UID,
    POD_NAME,
    a_failed_result,
    a_pod_body,
    a_report,
    a_result,
    ended,
    running,
    signed,
)
from support.operator_fakes import CREATE_POD, EVENTS, PODS, WRITE_STATUS
from support.operator_world import World

# A pod that is gone, or stuck.


async def test_the_result_of_a_lost_pod_comes_from_s3() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})
    world.s3.stored[JOB_UID] = signed(a_result(stdout="합계\n"))

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.redis.offered == [signed(a_result(stdout="합계\n"))]


async def test_a_lost_pod_without_a_stored_result_fails_the_job() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})

    await world.reconcile()

    assert world.end == ("Failed", "PodLost", "Delivered")
    assert world.kube.writes == [WRITE_STATUS]


async def test_the_stored_result_of_another_job_does_not_count() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})
    other = wire.JobRef(namespace="team-a", name="sales", uid="older")
    world.s3.stored[JOB_UID] = signed(a_result(job=other))

    await world.reconcile()

    assert world.end == ("Failed", "PodLost", "Delivered")


async def test_a_result_is_not_given_up_during_an_outage_of_s3() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})
    world.s3.up = False

    with pytest.raises(S3Error):
        await world.reconcile()

    assert world.kube.writes == []


async def test_a_result_that_s3_cannot_return_fails_the_job_after_ten_minutes() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME}, backoffLimit=2)
    world.s3.up = False
    for _ in range(11):
        with pytest.raises(S3Error):
            await world.reconcile()
        world.now += 59

    world.now += 59
    await world.reconcile()

    assert world.end == ("Failed", "ResultUnreadable", "Delivered")
    assert "PodLost" in world.status["message"]
    assert "no answer" in world.status["message"]
    assert CREATE_POD not in world.kube.writes


async def test_an_answer_of_s3_restarts_the_ten_minutes() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME}, backoffLimit=2)
    world.s3.up = False
    with pytest.raises(S3Error):
        await world.reconcile()
    world.now += 500
    world.s3.up = True
    world.kube.refuse("PATCH", 500)
    with pytest.raises(KubeError):
        await world.reconcile()
    world.s3.up = False
    for _ in range(2):
        with pytest.raises(S3Error):
            await world.reconcile()
        world.now += 500


async def test_a_result_that_s3_returns_in_time_counts() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})
    world.s3.up = False
    with pytest.raises(S3Error):
        await world.reconcile()
    world.now += 500
    world.s3.up, world.s3.stored[JOB_UID] = True, signed(a_result())

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")


# A pod that was created and deleted while no operator ran.


def an_event_of(pod: str) -> dict[str, Any]:
    about = {"kind": "Pod", "name": pod}
    return {"metadata": {"name": f"{pod}.1"}, "reason": "Scheduled", "involvedObject": about}


async def restarted(world: World) -> None:
    await world.restart()
    await world.reconcile()


async def test_an_attempt_with_a_missed_pod_gets_no_second_pod() -> None:
    world = World()
    world.kube.put(EVENTS, an_event_of(POD_NAME))

    await restarted(world)

    assert world.kube.writes == [WRITE_STATUS]
    assert world.end == ("Failed", "PodLost", "Delivered")


async def test_the_result_of_a_missed_pod_comes_from_s3() -> None:
    world = World()
    world.kube.put(EVENTS, an_event_of(POD_NAME))
    world.s3.stored[JOB_UID] = signed(a_result())

    await restarted(world)

    assert world.end == ("Succeeded", "Completed", "Delivered")


async def test_after_a_missed_pod_the_next_attempt_starts() -> None:
    world = World(backoffLimit=1)
    world.kube.put(EVENTS, an_event_of(POD_NAME))

    await restarted(world)
    world.now += 60
    await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS, CREATE_POD]
    assert world.cache.pod(JOB_UID, 1) is not None


async def test_events_of_other_pods_do_not_matter() -> None:
    world = World()
    world.kube.put(EVENTS, an_event_of("sales-5351954b-1"))

    await restarted(world)

    assert world.kube.writes == [CREATE_POD]


async def test_a_pod_that_another_operator_has_just_created_is_not_missed() -> None:
    world = World()
    world.start()
    await world.resync()
    world.kube.put(PODS, a_pod_body(phase="Running", agent=running(), sandbox=running()))
    world.kube.put(EVENTS, an_event_of(POD_NAME))

    await world.parts.resync.recover_missed_pods()
    await world.reconcile()

    assert world.kube.writes == []


async def test_no_events_are_read_for_a_job_that_shows_its_pod() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})

    assert world.cache.jobs_without_pod() == {}


async def test_the_termination_message_counts_during_an_outage_of_s3() -> None:
    world = World()
    message = wire.dumps(a_report(a_failed_result(3)))
    world.see_pod(phase="Failed", agent=ended(0, "", message), sandbox=ended(3))
    world.s3.up = False

    await world.reconcile()

    assert world.end == ("Failed", "NonZeroExit", "Delivered")


async def test_a_stored_result_is_checked_against_the_kubelet() -> None:
    world = World()
    world.see_pod(phase="Failed", agent=ended(1), sandbox=ended(137, "OOMKilled"))
    world.s3.stored[JOB_UID] = a_failed_result(137, reason="Signaled")

    await world.reconcile()

    assert world.end == ("Failed", "OOMKilled", "Delivered")


async def test_a_pod_that_cannot_start_is_removed_after_the_status_is_written() -> None:
    world = World()
    world.see_pod(unschedulable="0/3 nodes are available")
    world.now = CREATED + 301

    await world.reconcile()

    delete = f"DELETE {PODS}/{POD_NAME} {a_pod_body()['metadata']['uid']}"
    assert world.kube.writes == [WRITE_STATUS, delete]
    assert world.end == ("Failed", "Unschedulable", "Delivered")
