"""Results that the agent left in its termination message or in S3: only authentic ones count."""

from dataclasses import replace

import pytest

from nanogrid import wire
from nanogrid.types import Json
from nanogrid_operator.decision.result_owner import ResultOwner
from nanogrid_operator.model.result_keys import ResultKeys
from support.builders import (
    JOB_UID,
    POD_NAME,
    a_failed_result,
    a_job,
    a_pod,
    a_report,
    a_result,
    a_running_pod,
    an_attempt,
    ended,
    retrying,
    running,
    signed,
    tenant_of,
)
from support.operator_world import World

pytestmark = pytest.mark.security

KEY = f"result:{JOB_UID}"
ELSEWHERE = wire.JobRef(namespace="team-b", name="sales", uid="uid-of-team-b")
# A result that claims to be of the job, and is not: from another key, changed, or without a code.
FORGED = {
    "no code": a_result(stdout="forged"),
    "another key": ResultKeys("the-key-of-another-installation").sign(a_result(stdout="forged")),
    "changed": replace(signed(a_result()), stdout="forged"),
    "a code of another job": replace(
        a_result(stdout="forged"), authentication=signed(a_result(job=ELSEWHERE)).authentication
    ),
    "no text": replace(a_result(stdout="forged"), authentication=""),
}


def a_dead_agent(message: str = "", *, signs: bool = True) -> Json:
    """The state of a pod whose agent ended without a POST."""
    agent = ended(0, "", message)
    return {"phase": "Failed", "agent": agent, "sandbox": ended(0), "signs": signs}


def read(message: str, *, signs: bool = True) -> wire.Report | None:
    world = World()
    pod = a_pod(**a_dead_agent(message, signs=signs))
    return world.parts.reconciler.recovery.written_report(a_job(), pod)


@pytest.mark.parametrize("message", ["", "Traceback", "{}", '{"attempt":0}', "null", "[" * 9000])
async def test_another_termination_message_is_not_a_report(message: str) -> None:
    assert read(message) is None


async def test_a_signed_report_in_the_termination_message_is_read() -> None:
    report = a_report(signed(a_result()))

    assert read(wire.dumps(report)) == report


async def test_a_report_of_an_agent_of_an_older_version_is_read() -> None:
    assert read(wire.dumps(a_report()), signs=False) == a_report()


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_a_forged_termination_message_does_not_end_the_job(forged: wire.Result) -> None:
    world = World()
    world.see_pod(**a_dead_agent(wire.dumps(a_report(forged))))

    await world.reconcile()
    await world.reconcile()

    assert world.end == ("Failed", "AgentFailed", "Delivered")
    assert world.events.count("ResultNotAuthentic") == 1
    assert world.status["result"]["stdout"] == ""


async def test_a_signed_termination_message_ends_the_job() -> None:
    world = World()
    world.see_pod(**a_dead_agent(wire.dumps(a_report(signed(a_result())))))

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert "ResultNotAuthentic" not in world.events


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_a_forged_result_in_s3_does_not_end_the_job(forged: wire.Result) -> None:
    """The attack: the pod is deleted by force, and another namespace stores a result."""
    world = World(status={"phase": "Running", "podName": POD_NAME})
    world.s3.stored[JOB_UID] = forged

    await world.reconcile()
    await world.store_late()

    assert world.end == ("Failed", "PodLost", "Delivered")
    assert "ResultNotAuthentic" in world.events
    assert world.redis.messages[-1].stdout == ""


async def test_a_result_without_a_code_counts_for_a_pod_of_an_older_version_only() -> None:
    ends = []
    for signs in (False, True):
        world = World()
        world.see_pod(**a_dead_agent(signs=signs))
        world.s3.stored[JOB_UID] = a_result()
        await world.reconcile()
        ends.append(world.end[:2])

    assert ends == [("Succeeded", "Completed"), ("Failed", "AgentFailed")]


async def test_the_result_of_an_earlier_attempt_is_no_alarm_and_does_not_count() -> None:
    world = World(backoffLimit=1, status=retrying(an_attempt()) | {"podName": POD_NAME[:-1] + "1"})
    world.s3.stored[JOB_UID] = signed(a_failed_result(3))

    await world.reconcile()

    assert "ResultNotAuthentic" not in world.events
    assert world.status["reason"] == "Retrying"
    assert world.status["attempts"][-1]["reason"] == "PodLost"


# Redis.


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_a_forged_key_in_redis_changes_neither_status_nor_s3(forged: wire.Result) -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running(), signs=True)
    world.redis.kept[KEY] = forged
    truth = signed(a_failed_result(3))
    world.push(a_report(truth))

    await world.reconcile()

    assert world.end == ("Failed", "NonZeroExit", "Delivered")
    assert world.redis.kept[KEY] == world.redis.messages[-1] == truth
    assert world.status["result"]["authentication"] == truth.authentication
    assert world.s3.saved == []
    assert "ResultNotAuthentic" in world.events


async def test_a_forged_key_does_not_stop_a_retry() -> None:
    world = World(backoffLimit=1)
    world.see_pod(phase="Running", agent=running(), sandbox=running(), signs=True)
    world.redis.kept[KEY] = a_result()
    world.push(a_report(signed(a_failed_result(3))))

    await world.reconcile()

    assert world.status["reason"] == "Retrying"


def owner(*, signs: bool = True, sandbox: Json | None = None, attempt: int = 0) -> ResultOwner:
    pod = a_running_pod(sandbox=sandbox or running(), signs=signs)
    return ResultOwner(area=tenant_of().area, job=a_job(), attempt=attempt, pod=pod)


@pytest.mark.parametrize(
    ("who", "result", "want"),
    [
        (owner(), signed(a_result()), True),
        (owner(), a_result(), False),
        (owner(signs=False), a_result(), True),
        (replace(owner(), pod=None), a_result(), False),
        (replace(owner(), pod=None), signed(a_result()), True),
        (owner(attempt=1), signed(a_result()), False),
        (owner(), signed(a_result(request_id="another")), False),
        (owner(), signed(a_result(job=ELSEWHERE)), False),
        (owner(sandbox=ended(1)), signed(a_result()), False),  # the kubelet contradicts it
        (owner(sandbox=ended(0)), signed(a_result()), True),
    ],
)
def test_what_an_operator_can_have_published(
    who: ResultOwner, result: wire.Result, want: bool
) -> None:
    assert who.published(result) is want


def test_the_result_of_another_job_of_the_namespace_is_a_conflict() -> None:
    sibling = wire.JobRef(namespace="team-a", name="other", uid="uid-2")

    assert owner().foreign(signed(a_result(job=sibling)))
    assert owner().foreign(a_result(job=sibling)), "it may be of an older version"
    assert not owner().foreign(signed(a_result(job=ELSEWHERE)))
    assert not owner().foreign(signed(a_result(job=sibling, request_id="copied")))
    assert not owner().foreign(a_result()), "it is forged"
    elsewhere = replace(owner(), area=tenant_of(namespace="team-b").area)
    assert not elsewhere.foreign(a_result(job=ELSEWHERE)), "no older version used such a key"
