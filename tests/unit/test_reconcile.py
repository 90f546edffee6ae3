"""The loop body against an API server, a Redis and an S3 in memory that count what they are asked.

Clients fail here in all the ways that matter; what is wanted is always the same: the job ends once,
with the right reason, and no write too many.
"""

import asyncio
from typing import Any

import pytest

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_operator.facts import job_facts
from nanogrid_operator.kube import KubeError
from nanogrid_operator.s3 import S3Error
from unit.builders import (
    CREATED,
    JOB_UID,
    POD_NAME,
    a_failed_result,
    a_job_body,
    a_pod_body,
    a_report,
    a_result,
    a_stopped_result,
    an_attempt,
    ended,
    retrying,
    running,
    waiting,
)
from unit.fakes import CREATE_POD, EVENTS, JOBS, PODS, WRITE_STATUS, World


async def test_a_short_job_costs_two_writes_and_one_message() -> None:
    world = World()

    await world.reconcile()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    await world.reconcile()
    world.push(a_report())
    await world.reconcile()
    await world.reconcile()

    assert world.kube.writes == [CREATE_POD, WRITE_STATUS]
    assert world.redis.told == [a_result()]
    assert world.end == ("Succeeded", "Completed", "Delivered")


async def test_a_pod_is_watched_for_until_it_is_seen() -> None:
    world = World()

    await world.reconcile()

    assert world.store.pod(JOB_UID, 0) is not None
    assert world.queue.delays == [2.0]


async def test_a_long_job_says_once_that_it_runs() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.now = CREATED + 5

    for _ in range(3):
        await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS]
    assert (world.status["phase"], world.status["podName"]) == ("Running", POD_NAME)
    assert world.queue.delays == [60.0, 60.0, 60.0]


async def test_our_own_pod_is_adopted() -> None:
    world = World()
    world.kube.put(PODS, a_pod_body())

    await world.reconcile()

    assert world.store.pod(JOB_UID, 0) == a_pod_body()
    assert world.kube.writes == [CREATE_POD]


async def test_a_foreign_pod_of_that_name_is_a_name_conflict() -> None:
    world = World()
    world.kube.put(PODS, a_pod_body(job_uid="somebody"))

    await world.reconcile()

    assert world.end == ("Failed", "NameConflict", "Delivered")
    assert f"{PODS}/{POD_NAME}" in world.kube.objects


@pytest.mark.parametrize("code", [400, 422])
async def test_a_refused_pod_ends_the_job_with_the_servers_words(code: int) -> None:
    world = World()
    world.kube.refuse("POST", code, "Forbidden", "exceeded quota: compute")

    await world.reconcile()

    assert world.end == ("Failed", "PodRejected", "Delivered")
    assert "exceeded quota: compute" in world.status["message"]


@pytest.mark.parametrize("code", [403, 404])
async def test_a_refusal_that_somebody_can_mend_is_told_and_the_pod_asked_for_again(
    code: int,
) -> None:
    world = World()
    world.kube.refuse("POST", code, "Forbidden", "exceeded quota: compute")

    await world.reconcile()
    await world.reconcile()
    said = world.status
    world.now += 2
    await world.reconcile()

    assert (said["phase"], said["reason"]) == ("Pending", "PodRejected")
    assert "exceeded quota: compute" in said["message"]
    assert world.kube.writes == [CREATE_POD, WRITE_STATUS, CREATE_POD]
    assert world.store.pod(JOB_UID, 0) is not None


async def test_a_refusal_that_nobody_mends_ends_the_job_with_the_servers_words() -> None:
    world = World(timeouts={"startupSeconds": 10})
    for _ in range(20):
        world.kube.refuse("POST", 403, "Forbidden", "exceeded quota: compute")

    for _ in range(20):
        await world.reconcile()
        world.now += 1

    assert world.end == ("Failed", "PodRejected", "Delivered")
    assert "exceeded quota: compute" in world.status["message"]
    assert 4 <= world.kube.writes.count(CREATE_POD) <= 6


@pytest.mark.parametrize("code", [0, 429, 500, 503])
async def test_an_api_server_in_trouble_is_asked_again(code: int) -> None:
    world = World()
    world.kube.refuse("POST", code)

    await world.work()

    assert world.kube.writes == [CREATE_POD, CREATE_POD]
    assert world.status == {}
    assert len(world.queue.retries) == 1


async def test_a_spec_that_no_pod_can_hold_is_invalid() -> None:
    world = World(stdin="x" * 65_000, code={"inline": "y" * 65_000})

    await world.reconcile()

    assert world.end == ("Failed", "InvalidSpec", "Delivered")
    assert world.kube.writes == [WRITE_STATUS]


async def test_memory_in_kibibytes_gets_a_pod() -> None:
    world = World(resources={"limits": {"memory": "524288Ki"}})

    await world.work()

    assert world.kube.writes == [CREATE_POD]


# Redis.


async def a_job_that_ended_without_redis(result: wire.Result | None = None, **job: Any) -> World:
    world = World(**job)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(result or a_result(function_id=job.get("functionId"))))
    world.redis.up = False
    await world.reconcile()
    return world


async def test_without_redis_the_job_ends_all_the_same() -> None:
    world = await a_job_that_ended_without_redis()

    assert world.end == ("Succeeded", "Completed", "Pending")
    assert len(world.queue.retries) == 1


async def test_the_result_is_delivered_when_redis_is_back() -> None:
    world = await a_job_that_ended_without_redis(functionId="f")
    world.redis.up = True

    await world.reconcile()
    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.redis.told == [a_result(function_id="f")] * 2


async def test_a_result_without_a_function_is_delivered_when_redis_is_back() -> None:
    world = await a_job_that_ended_without_redis()
    world.redis.up = True

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")


async def test_a_late_delivery_has_the_streams_whole_as_s3_keeps_them() -> None:
    whole = a_result(function_id="f", stdout="x" * 60_000)
    world = await a_job_that_ended_without_redis(whole, functionId="f")
    world.s3.stored[JOB_UID] = whole
    world.redis.up = True

    await world.reconcile()

    assert world.redis.told[-1] == whole


async def test_what_was_decided_is_delivered_even_if_s3_says_otherwise() -> None:
    decided = a_result(function_id="f", stdout="x" * 60_000)
    world = await a_job_that_ended_without_redis(decided, functionId="f")
    world.s3.stored[JOB_UID] = a_failed_result(3)
    world.redis.up = True

    await world.reconcile()

    assert (world.redis.told[-1].status, world.redis.told[-1].exit_code) == ("SUCCESS", 0)


async def test_an_earlier_attempts_result_is_not_delivered_for_the_last_one() -> None:
    world = World(backoffLimit=1, status=retrying(an_attempt(0)))
    world.see_pod(attempt=1, phase="Running", agent=running(), sandbox=running())
    last = a_failed_result(3, attempt=1, stdout="x" * 60_000)
    world.push(a_report(last))
    world.redis.up = False
    await world.reconcile()
    world.s3.stored[JOB_UID] = a_failed_result(3, attempt=0, stdout="of the first attempt")
    world.redis.up = True

    await world.reconcile()

    assert world.redis.told[-1].attempt == 1


async def test_a_whole_result_is_delivered_late_from_memory() -> None:
    whole = a_result(function_id="f", stdout="x" * 60_000)
    world = await a_job_that_ended_without_redis(whole, functionId="f")
    world.redis.up, world.s3.up = True, False

    await world.reconcile()

    assert world.redis.told[-1] == whole
    await world.reconcile()
    assert world.operator.delivering.held.get(JOB_UID) is None, "nobody needs it any more"


async def test_a_shortened_result_is_better_than_none_while_s3_is_down() -> None:
    whole = a_result(function_id="f", stdout="x" * 60_000)
    world = await a_job_that_ended_without_redis(whole, functionId="f")
    world.redis.up, world.s3.up = True, False
    world.start()
    await world.workers.resync()

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.redis.told[-1].stdout_truncated


async def test_a_redis_that_stays_away_costs_no_status_write_per_try() -> None:
    world = await a_job_that_ended_without_redis(functionId="f")
    before = list(world.kube.writes)

    for _ in range(3):
        await world.reconcile()

    assert world.kube.writes == before
    assert len(world.redis.told) == 4


async def test_a_redis_that_stays_away_is_asked_less_and_less_often() -> None:
    world = await a_job_that_ended_without_redis(functionId="f")
    world.queue.retries.clear()

    await world.work()

    assert world.queue.retries[0] < 1.0
    assert 4.0 <= world.queue.retries[-1] <= 5.0


async def test_another_trouble_of_redis_is_written_once() -> None:
    world = await a_job_that_ended_without_redis(functionId="f")
    before = len(world.kube.writes)
    world.redis.trouble = Reason.REDIS_OUT_OF_MEMORY

    for _ in range(3):
        await world.reconcile()

    assert len(world.kube.writes) == before + 1
    assert delivered_condition(world)["reason"] == "RedisOutOfMemory"
    assert "RedisOutOfMemory" in world.events


def delivered_condition(world: World) -> dict[str, str]:
    (found,) = (c for c in world.status["conditions"] if c["type"] == "ResultDelivered")
    return dict(found)


# What was told is what the status says, whatever would be decided now.


async def test_a_lost_answer_of_redis_is_found_to_be_ours() -> None:
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
    assert world.redis.messages == [a_result()]


async def test_a_decision_that_changes_before_the_status_is_written_changes_nothing() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    world.kube.refuse("PATCH", 500)
    with pytest.raises(KubeError):
        await world.reconcile()
    world.change_spec(suspend=True)
    world.store.drop_reports(JOB_UID)

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.redis.messages == [a_result()]


@pytest.mark.parametrize("retries", [0, 2])
async def test_a_restart_after_the_message_takes_what_was_told(retries: int) -> None:
    """The first operator had the agent's word; the second sees neither pod nor report nor S3."""
    world = World(backoffLimit=retries)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    world.kube.refuse("PATCH", 500)
    with pytest.raises(KubeError):
        await world.reconcile()
    world.kube.objects[f"{JOBS}/sales"]["status"] = {"podName": POD_NAME}
    del world.kube.objects[f"{PODS}/{POD_NAME}"]
    world.start()
    await world.workers.resync()

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.redis.messages == [a_result()]
    assert world.s3.stored[JOB_UID] == a_result()
    assert world.status["result"]["exitCode"] == 0


async def test_a_terminal_status_stays_and_says_what_redis_was_told_instead() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})
    world.redis.up = False
    await world.reconcile()
    ended_as = world.end
    world.redis.up, world.redis.kept[JOB_UID] = True, a_result()

    await world.reconcile()

    assert ended_as == ("Failed", "PodLost", "Pending")
    assert world.end == ("Failed", "PodLost", "Delivered")
    assert "Redis was told SUCCESS Completed" in world.status["delivery"]["message"]


async def test_a_job_that_goes_leaves_no_published_result_behind() -> None:
    world = World()
    world.push(a_report())
    world.kube.refuse("PATCH", 500)
    with pytest.raises(KubeError):
        await world.reconcile()
    world.store.drop_job(JOB_UID)

    await world.reconcile()

    assert world.operator.ending.published == {}


# The status.


async def test_a_status_conflict_is_read_again_and_tried_again() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    world.kube.touch(JOBS, "sales")

    await world.work()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.kube.writes == [WRITE_STATUS, WRITE_STATUS]
    assert world.store.report(JOB_UID, 0) is None


async def test_a_conflict_is_the_callers_to_retry() -> None:
    world = World()
    world.push(a_report())
    world.kube.touch(JOBS, "sales")

    with pytest.raises(KubeError) as error:
        await world.reconcile()

    assert error.value.code == 409


async def test_a_job_that_vanished_is_forgotten() -> None:
    world = World()
    world.push(a_report())
    world.kube.objects.clear()

    await world.work()

    assert world.store.uids() == []
    assert world.queue.retries == []


async def test_an_unknown_key_is_no_trouble() -> None:
    world = World()

    await world.operator.reconcile("nobody")

    assert world.kube.writes == []


async def test_a_worker_survives_what_it_did_not_expect() -> None:
    world = World()
    broken = a_job_body()
    del broken["metadata"]["name"]
    world.store.put_job(broken)

    await world.work()

    assert len(world.queue.retries) == 10


async def test_a_reason_of_a_newer_agent_does_not_keep_a_job_for_ever() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_failed_result(3, reason="QuotaOfTomorrow")))

    await world.work()

    assert world.status.get("phase") == "Failed"


# A pod that is gone or stuck.


async def test_a_lost_pods_result_is_taken_from_s3() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})
    world.s3.stored[JOB_UID] = a_result(stdout="합계\n")

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.redis.told == [a_result(stdout="합계\n")]


async def test_a_lost_pod_without_a_stored_result_is_lost() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})

    await world.reconcile()

    assert world.end == ("Failed", "PodLost", "Delivered")
    assert world.kube.writes == [WRITE_STATUS]


async def test_another_jobs_stored_result_is_not_ours() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})
    other = wire.JobRef(namespace="team-a", name="sales", uid="older")
    world.s3.stored[JOB_UID] = a_result(job=other)

    await world.reconcile()

    assert world.end == ("Failed", "PodLost", "Delivered")


async def test_a_result_is_not_given_up_while_s3_is_away() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})
    world.s3.up = False

    with pytest.raises(S3Error):
        await world.reconcile()

    assert world.kube.writes == []


async def test_a_result_that_storage_does_not_give_ends_the_job_honestly_after_ten_minutes() -> (
    None
):
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


async def test_storage_that_answers_in_time_gives_the_result_and_starts_the_clock_anew() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})
    world.s3.up = False
    with pytest.raises(S3Error):
        await world.reconcile()
    world.now += 500
    world.s3.up, world.s3.stored[JOB_UID] = True, a_result()

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.operator.unreadable == {}


# A pod that came and went while no operator looked.


def an_event_of(pod: str) -> dict[str, Any]:
    about = {"kind": "Pod", "name": pod}
    return {"metadata": {"name": f"{pod}.1"}, "reason": "Scheduled", "involvedObject": about}


async def restarted(world: World) -> None:
    world.start()
    await world.workers.resync()
    await world.workers.call_witnesses()
    await world.reconcile()


async def test_an_attempt_whose_pod_vanished_unseen_gets_no_second_one() -> None:
    world = World()
    world.kube.put(EVENTS, an_event_of(POD_NAME))

    await restarted(world)

    assert world.kube.writes == [WRITE_STATUS]
    assert world.end == ("Failed", "PodLost", "Delivered")


async def test_its_result_is_taken_from_s3() -> None:
    world = World()
    world.kube.put(EVENTS, an_event_of(POD_NAME))
    world.s3.stored[JOB_UID] = a_result()

    await restarted(world)

    assert world.end == ("Succeeded", "Completed", "Delivered")


async def test_with_retries_the_next_attempt_starts() -> None:
    world = World(backoffLimit=1)
    world.kube.put(EVENTS, an_event_of(POD_NAME))

    await restarted(world)
    world.now += 60
    await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS, CREATE_POD]
    assert world.store.pod(JOB_UID, 1) is not None


async def test_events_of_other_pods_keep_no_job_from_starting() -> None:
    world = World()
    world.kube.put(EVENTS, an_event_of("sales-5351954b-1"))

    await restarted(world)

    assert world.kube.writes == [CREATE_POD]


async def test_a_pod_that_another_operator_just_made_is_not_lost() -> None:
    world = World()
    world.start()
    await world.workers.resync()
    world.kube.put(PODS, a_pod_body(phase="Running", agent=running(), sandbox=running()))
    world.kube.put(EVENTS, an_event_of(POD_NAME))

    await world.workers.call_witnesses()
    await world.reconcile()

    assert world.kube.writes == []


async def test_no_events_are_asked_for_jobs_that_show_their_pod() -> None:
    world = World(status={"phase": "Running", "podName": POD_NAME})

    assert world.store.unstarted() == {}


async def test_a_termination_message_will_do_while_s3_is_away() -> None:
    world = World()
    told = wire.dumps(a_report(a_failed_result(3)))
    world.see_pod(phase="Failed", agent=ended(0, "", told), sandbox=ended(3))
    world.s3.up = False

    await world.reconcile()

    assert world.end == ("Failed", "NonZeroExit", "Delivered")


async def test_a_stored_result_is_held_against_the_kubelet_as_well() -> None:
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


# Stopped, tried again, deleted.


def stopped(world: World) -> str:
    return f"DELETE {PODS}/{POD_NAME} {a_pod_body()['metadata']['uid']}"


async def test_a_cancelled_job_stops_its_pod_and_ends_with_what_the_agent_told() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.change_spec(cancel=True)

    await world.reconcile()
    said = world.status
    world.push(a_report(a_stopped_result(stdout="half")))
    await world.reconcile()

    assert (said["reason"], said["podName"]) == ("Stopping", POD_NAME)
    assert world.kube.writes == [stopped(world), WRITE_STATUS, WRITE_STATUS]
    assert world.end == ("Failed", "Cancelled", "Delivered")
    assert (world.redis.told[0].reason, world.redis.told[0].stdout) == ("Cancelled", "half")


async def test_what_the_agent_could_not_know_is_stored_in_its_place() -> None:
    world = World(cancel=True)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_stopped_result()))

    await world.reconcile()

    assert [result.reason for result in world.s3.saved] == ["Cancelled"]
    assert world.s3.saved == world.redis.told


async def test_what_the_agent_stored_is_left_as_it_is() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())

    await world.reconcile()

    assert world.s3.saved == []


async def test_a_result_of_our_own_is_told_even_if_s3_does_not_take_it() -> None:
    world = World(cancel=True)
    world.s3.up = False

    await world.reconcile()

    assert world.end == ("Failed", "Cancelled", "Delivered")


async def test_a_suspended_job_tells_nobody_a_result() -> None:
    world = World(suspend=True)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_stopped_result()))

    await world.reconcile()

    assert (world.redis.told, world.s3.saved) == ([], [])
    assert world.end == ("Suspended", "Suspended", None)
    assert "podName" not in world.status


async def test_a_failed_attempt_that_is_tried_again_tells_nobody_a_result() -> None:
    world = World(backoffLimit=1)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_failed_result()))

    await world.reconcile()
    world.now += 10
    await world.reconcile()

    assert world.redis.told == []
    assert world.kube.writes == [WRITE_STATUS, CREATE_POD]
    second = world.store.pod(JOB_UID, 1)
    assert second is not None
    assert second["metadata"]["labels"]["nanogrid.io/attempt"] == "1"


async def test_the_second_attempt_has_the_memory_that_the_policy_gives_it() -> None:
    rule = {
        "onReasons": ["OOMKilled"],
        "action": "RetryWithMoreMemory",
        "memory": {"factor": "1.5", "max": "1Gi"},
    }
    before = an_attempt(0, "OOMKilled", exitCode=137, counted=False)
    world = World(failurePolicy={"rules": [rule]}, status=retrying(before))

    await world.reconcile()

    pod = world.store.pod(JOB_UID, 1)
    assert pod is not None
    limits = [c["resources"]["limits"]["memory"] for c in pod["spec"]["containers"]]
    assert limits[1] == str(384 << 20)


async def test_more_memory_is_given_although_nobody_is_left_to_ask_how_much_there_was() -> None:
    """The operator restarted, the pod is gone, and S3 has the agent's word."""
    rule = {
        "onReasons": ["OOMKilled"],
        "action": "RetryWithMoreMemory",
        "memory": {"factor": "1.5", "max": "1Gi"},
    }
    world = World(failurePolicy={"rules": [rule]}, status={"podName": POD_NAME})
    world.s3.stored[JOB_UID] = a_failed_result(137, reason="OOMKilled")

    await world.reconcile()
    world.now += 60
    await world.reconcile()

    pod = world.store.pod(JOB_UID, 1)
    assert pod is not None
    assert pod["spec"]["containers"][1]["resources"]["limits"]["memory"] == str(384 << 20)


async def test_the_pod_of_a_spec_that_this_version_cannot_read_is_stopped() -> None:
    world = World(unknown="field of another version")
    world.see_pod(phase="Running", agent=running(), sandbox=running())

    await world.reconcile()

    assert world.end == ("Failed", "InvalidSpec", "Delivered")
    assert world.kube.writes == [WRITE_STATUS, stopped(world)]


async def test_a_pod_of_an_earlier_attempt_is_none_of_this_one() -> None:
    world = World(status={**retrying(an_attempt(0)), "podName": POD_NAME})
    world.now += 10

    await world.reconcile()

    assert world.kube.writes == [CREATE_POD]


async def test_an_attempt_that_could_not_start_is_removed_before_the_next() -> None:
    world = World(backoffLimit=1)
    world.see_pod(unschedulable="0/3 nodes are available")
    world.now = CREATED + 301

    await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS, stopped(world)]
    assert (world.status["reason"], world.status["attempts"][0]["reason"]) == (
        "Retrying",
        "Unschedulable",
    )


async def test_a_finished_job_is_deleted_when_its_time_is_over() -> None:
    world = World(ttlSecondsAfterFinished=100)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())

    for _ in range(2):
        await world.reconcile()
    early = list(world.kube.writes)
    world.now += 100
    await world.reconcile()

    assert early == [WRITE_STATUS]
    assert world.kube.writes == [WRITE_STATUS, f"DELETE {JOBS}/sales {JOB_UID}"]
    assert world.queue.delays[-1] == pytest.approx(100)


async def test_a_secret_that_a_pod_misses_is_copied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.see_pod(agent=waiting("CreateContainerConfigError", "secret not found"))
    world.now = CREATED + 5
    forgotten: list[str] = []
    monkeypatch.setattr(world.operator.secrets, "forget", forgotten.append)

    await world.reconcile()

    assert (forgotten, world.status["reason"]) == (["team-a"], "ConfigError")


# The LIST.


async def test_a_list_looks_at_every_job_again() -> None:
    world = World()
    other = a_job_body(name="other", uid="other-uid")
    world.kube.put(JOBS, other)

    await world.workers.resync()

    assert sorted(world.store.uids()) == sorted([JOB_UID, "other-uid"])
    assert len(world.queue) == 2


async def test_a_list_after_a_restart_finds_the_pod_and_starts_no_second_one() -> None:
    world = World()
    world.kube.put(PODS, a_pod_body(phase="Running", agent=running(), sandbox=running()))

    await world.workers.resync()
    await world.reconcile()

    assert CREATE_POD not in world.kube.writes


async def test_a_job_deleted_before_its_end_is_left_alone() -> None:
    world = World(deleting=True)
    world.push(a_report())

    await world.reconcile()

    assert world.kube.writes == []
    assert world.redis.told == []


def test_the_fake_api_server_drops_nulls_like_the_real_one() -> None:
    world = World(status={"podName": POD_NAME, "result": {"exitCode": 0}})

    patched = asyncio.run(
        world.kube.patch_status(JOBS, "sales", {"status": {"result": {"exitCode": None}}})
    )

    assert job_facts(patched).status == {"podName": POD_NAME, "result": {}}
