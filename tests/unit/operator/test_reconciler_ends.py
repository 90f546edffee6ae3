"""The reconciler when a job is cancelled, suspended, retried or deleted."""

import copy

import pytest

from nanogrid import names
from nanogrid_operator.reconcile.finish import CHANGED_SECONDS
from support.builders import (
    CREATED,
    JOB_UID,
    POD_NAME,
    a_failed_result,
    a_pod_body,
    a_report,
    a_result,
    a_stopped_result,
    an_attempt,
    ended,
    retrying,
    running,
    signed,
    some_settings,
    time_text,
    waiting,
)
from support.operator_fakes import CREATE_POD, JOBS, PODS, WRITE_STATUS
from support.operator_world import World

# Stopped, retried, deleted.


def stopped(world: World) -> str:
    return f"DELETE {PODS}/{POD_NAME} {a_pod_body()['metadata']['uid']}"


async def test_a_cancelled_job_stops_its_pod_and_ends_with_the_report() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.change_spec(cancel=True)

    await world.reconcile()
    shown = world.status
    world.push(a_report(a_stopped_result(stdout="half")))
    await world.reconcile()

    assert (shown["reason"], shown["podName"]) == ("Stopping", POD_NAME)
    assert world.kube.writes == [stopped(world), WRITE_STATUS, WRITE_STATUS]
    assert world.end == ("Failed", "Cancelled", "Delivered")
    assert (world.redis.offered[0].reason, world.redis.offered[0].stdout) == ("Cancelled", "half")


async def test_a_corrected_result_replaces_the_stored_one() -> None:
    world = World(cancel=True)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_stopped_result()))

    await world.reconcile()

    assert [result.reason for result in world.s3.saved] == ["Cancelled"]
    assert world.s3.saved == world.redis.offered


async def test_patterns_that_match_nothing_are_an_event() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_result(outputs_note="2 files match no include pattern: a, b.")))

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.events[-1] == "OutputsNotMatched"


async def test_an_unchanged_result_is_not_stored_again() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())

    await world.reconcile()

    assert world.s3.saved == []


async def test_the_operators_own_result_is_published_even_without_s3() -> None:
    world = World(cancel=True)
    world.s3.up = False

    await world.reconcile()

    assert world.end == ("Failed", "Cancelled", "Delivered")


async def test_a_suspended_job_publishes_no_result() -> None:
    world = World(suspend=True)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_stopped_result()))

    await world.reconcile()

    assert (world.redis.offered, world.s3.saved) == ([], [])
    assert world.end == ("Suspended", "Suspended", None)
    assert "podName" not in world.status


async def test_a_retried_attempt_publishes_no_result() -> None:
    world = World(backoffLimit=1)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_failed_result()))

    await world.reconcile()
    world.now += 10
    await world.reconcile()

    assert world.redis.offered == []
    assert world.kube.writes == [WRITE_STATUS, CREATE_POD]
    second = world.cache.pod(JOB_UID, 1)
    assert second is not None
    assert second["metadata"]["labels"]["nanogrid.io/attempt"] == "1"


async def test_the_second_attempt_has_the_memory_of_the_policy() -> None:
    rule = {
        "onReasons": ["OOMKilled"],
        "action": "RetryWithMoreMemory",
        "memory": {"factor": "1.5", "max": "1Gi"},
    }
    before = an_attempt(0, "OOMKilled", exitCode=137, counted=False)
    world = World(failurePolicy={"rules": [rule]}, status=retrying(before))

    await world.reconcile()

    pod = world.cache.pod(JOB_UID, 1)
    assert pod is not None
    limits = [c["resources"]["limits"]["memory"] for c in pod["spec"]["containers"]]
    assert limits[1] == str(384 << 20)


async def test_more_memory_is_given_even_if_no_pod_shows_the_old_limit() -> None:
    """The operator restarted, the pod is gone, and S3 has the agent's result."""
    rule = {
        "onReasons": ["OOMKilled"],
        "action": "RetryWithMoreMemory",
        "memory": {"factor": "1.5", "max": "1Gi"},
    }
    world = World(failurePolicy={"rules": [rule]}, status={"podName": POD_NAME})
    world.s3.stored[JOB_UID] = signed(a_failed_result(137, reason="OOMKilled"))

    await world.reconcile()
    world.now += 60
    await world.reconcile()

    pod = world.cache.pod(JOB_UID, 1)
    assert pod is not None
    assert pod["spec"]["containers"][1]["resources"]["limits"]["memory"] == str(384 << 20)


async def test_the_pod_of_an_unreadable_spec_is_removed() -> None:
    world = World(unknown="a field of another version")
    world.see_pod(phase="Running", agent=running(), sandbox=running())

    await world.reconcile()

    assert world.end == ("Failed", "InvalidSpec", "Delivered")
    assert world.kube.writes == [WRITE_STATUS, stopped(world)]


async def test_the_pod_of_an_earlier_attempt_does_not_count() -> None:
    world = World(status={**retrying(an_attempt(0)), "podName": POD_NAME})
    world.now += 10

    await world.reconcile()

    assert world.kube.writes == [CREATE_POD]


async def test_the_pod_of_an_attempt_that_could_not_start_is_removed() -> None:
    world = World(backoffLimit=1)
    world.see_pod(unschedulable="0/3 nodes are available")
    world.now = CREATED + 301

    await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS, stopped(world)]
    assert (world.status["reason"], world.status["attempts"][0]["reason"]) == (
        "Retrying",
        "Unschedulable",
    )


async def test_a_finished_job_is_deleted_after_its_time_to_live() -> None:
    world = World(ttlSecondsAfterFinished=100)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())

    await world.reconcile()
    world.see_pod(version=300, phase="Succeeded", agent=ended(), sandbox=ended())
    await world.reconcile()
    early = list(world.kube.writes)
    world.now += 100
    await world.reconcile()

    assert early == [WRITE_STATUS]
    assert world.kube.writes == [WRITE_STATUS, f"DELETE {JOBS}/sales {JOB_UID}"]
    assert world.queue.delays[-1] == pytest.approx(100)


async def test_a_default_time_to_live_is_that_of_a_job_whose_spec_names_none() -> None:
    settings = some_settings(watch_namespaces="team-a", s3_secret="", ttl_after_finished="100")
    world = World(settings)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())

    await world.reconcile()
    world.see_pod(version=300, phase="Succeeded", agent=ended(), sandbox=ended())
    await world.reconcile()
    early = list(world.kube.writes)
    world.now += 100
    await world.reconcile()

    assert early == [WRITE_STATUS]
    assert world.kube.writes == [WRITE_STATUS, f"DELETE {JOBS}/sales {JOB_UID}"]


@pytest.mark.parametrize("keep", [True, False])
async def test_a_job_that_changes_just_before_its_deletion_is_decided_again(keep: bool) -> None:
    """The cache is behind: somebody may have annotated the job, to keep it."""
    status = {
        "phase": "Succeeded",
        "completionTime": time_text(0),
        "delivery": {"state": "Delivered"},
    }
    settings = some_settings(watch_namespaces="team-a", s3_secret="", ttl_after_finished="60")
    world = World(settings, status=status)
    world.now = CREATED + 61
    job = world.kube.objects[f"{JOBS}/sales"]
    if keep:
        job["metadata"]["annotations"] = {names.ANNOTATION_KEEP: "true"}
    world.kube.touch(JOBS, "sales")

    await world.reconcile()
    assert f"{JOBS}/sales" in world.kube.objects
    assert world.queue.delays == [CHANGED_SECONDS]

    world.cache.put_job(copy.deepcopy(world.kube.objects[f"{JOBS}/sales"]))
    await world.reconcile()
    assert (f"{JOBS}/sales" in world.kube.objects) == keep


async def test_a_secret_that_a_pod_lacks_is_copied_again() -> None:
    world = World(some_settings(watch_namespaces="team-a", s3_secret_replicate=True))
    secret = "/api/v1/namespaces/team-a/secrets/nanogrid-s3"
    await world.reconcile()
    del world.kube.objects[secret]
    world.see_pod(version=200, agent=waiting("CreateContainerConfigError", "secret not found"))
    world.now = CREATED + 5

    await world.reconcile()

    assert secret in world.kube.objects
    assert world.status["reason"] == "ConfigError"
