"""A status that the API server refuses for its content: a smaller one follows, and the job ends."""

from dataclasses import replace

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.types import Json
from nanogrid_operator.decision.webhook import Record
from nanogrid_operator.status.writer import REFUSED_CODES
from support.builders import (
    CREATED,
    JOB_UID,
    a_failed_result,
    a_report,
    a_result,
    running,
)
from support.final_statuses import STATUS_SCHEMA, conditions_of
from support.operator_fakes import WRITE_STATUS
from support.operator_world import World

pytestmark = pytest.mark.security

REFUSED = sorted(REFUSED_CODES)


def refuse(world: World, code: int, times: int = 1) -> None:
    for _ in range(times):
        world.kube.refuse("PATCH", code, "Invalid", "status.result: too odd")


def ran(**spec: object) -> World:
    """A job whose code has ended."""
    world = World(**spec)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    return world


@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("success", [True, False])
async def test_a_job_ends_although_its_result_is_refused(code: int, success: bool) -> None:
    world = ran()
    world.push(a_report(a_result() if success else a_failed_result()))
    refuse(world, code)

    await world.reconcile()

    phase = "Succeeded" if success else "Failed"
    assert world.end == (phase, "Completed" if success else "NonZeroExit", "Delivered")
    assert "status.result: too odd" in world.status["message"]
    assert world.status["result"]["exitCode"] == (0 if success else 3)
    assert world.kube.writes == [WRITE_STATUS, WRITE_STATUS]
    assert conditions_of(world.status)["Finished"][0] == "True"
    assert [e.message for e in STATUS_SCHEMA.iter_errors(world.status)] == []
    assert world.redis.offered[0].stdout == "hello\n", "receivers get the full result"


@pytest.mark.parametrize("code", [409, 500, 503])
async def test_another_error_is_no_reason_for_a_smaller_status(code: int) -> None:
    world = ran()
    world.push(a_report())
    refuse(world, code)

    with pytest.raises(KubeError):
        await world.reconcile()

    assert world.kube.writes == [WRITE_STATUS]
    await world.reconcile()
    assert world.status["result"]["stdout"] == "hello\n"


async def test_the_workers_end_such_a_job_at_once() -> None:
    world = ran()
    world.push(a_report())
    refuse(world, 422)

    await world.work()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.queue.retries == []


async def test_a_refused_end_of_a_job_whose_result_is_not_delivered_yet() -> None:
    """Receivers get the full result from memory, and after a restart the copy in the status."""
    world = ran()
    world.redis.up = False
    world.push(a_report())
    refuse(world, 422)
    await world.reconcile()
    await world.restart()
    world.redis.up = True

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert (world.redis.offered[-1].exit_code, world.redis.offered[-1].stdout) == (0, "")


async def test_a_refused_attempt_is_retried() -> None:
    world = ran(backoffLimit=1)
    world.push(a_report(a_failed_result()))
    refuse(world, 422)

    await world.reconcile()

    (attempt,) = world.status["attempts"]
    assert (attempt["number"], attempt["reason"], attempt["counted"]) == (0, "NonZeroExit", True)
    assert world.status["reason"] == "Retrying"
    assert [e.message for e in STATUS_SCHEMA.iter_errors(world.status)] == []
    world.now += 10
    await world.reconcile()
    assert world.cache.pod(JOB_UID, 1) is not None


async def test_a_refused_progress_is_written_without_details() -> None:
    world = ran()
    world.now = CREATED + 5
    refuse(world, 422)

    await world.reconcile()

    assert (world.status["phase"], world.status["reason"]) == ("Running", "Executing")


async def test_a_progress_that_is_always_refused_does_not_keep_the_job_from_its_end() -> None:
    world = ran()
    world.now = CREATED + 5
    refuse(world, 422, 2)

    await world.reconcile()
    shown = dict(world.status)
    world.push(a_report())
    await world.reconcile()

    assert shown == {}
    assert world.queue.delays[0] > 1, "it is not repeated at once"
    assert world.end == ("Succeeded", "Completed", "Delivered")


@pytest.mark.parametrize("refused", [False, True])
async def test_a_refused_session_status_and_its_end(refused: bool) -> None:
    world = World(mode="Session", code=None)
    world.see_pod(phase="Running", agent=running(), sandbox=running(), ready=True)
    refuse(world, 422, int(refused))

    await world.reconcile()
    shown = dict(world.status)
    world.push(a_report(a_result(reason="SessionEnded", executions=3)))
    refuse(world, 413, int(refused))
    await world.reconcile()

    assert (shown["phase"], "session" in shown) == ("Running", not refused)
    assert world.end == ("Succeeded", "SessionEnded", "Delivered")
    assert conditions_of(world.status)["Ready"][0] == "False"


async def test_a_refused_delivery_of_a_finished_job() -> None:
    world = ran()
    world.redis.up = False
    world.push(a_report())
    await world.reconcile()
    world.redis.up = True
    refuse(world, 422)

    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")


async def test_a_refused_record_of_s3() -> None:
    world = ran()
    world.push(replace(a_report(), stored=False))
    await world.reconcile()
    before = conditions_of(world.status)["ResultStored"]
    refuse(world, 422)

    await world.store_late()

    assert before[0] == "False"
    assert conditions_of(world.status)["ResultStored"] == ("True", "Stored")


async def test_a_refused_record_of_a_webhook() -> None:
    world = ran()
    world.push(a_report())
    await world.reconcile()
    refuse(world, 422)

    await world.parts.reconciler.delivery.record_webhook(
        JOB_UID, Record(state="Delivered", attempts=1, message="odd", last_status=200)
    )

    assert world.status["delivery"]["webhook"] == {
        "state": "Delivered",
        "attempts": 1,
        "message": "",
    }


async def test_a_function_that_cannot_be_pinned_ends_the_job() -> None:
    pinned: Json = {"functionRef": {"name": "f"}}
    world = World(code=None, **pinned)
    function = {
        "metadata": {"name": "f", "uid": "u", "resourceVersion": "1", "generation": 1},
        "spec": {"code": {"inline": "print(1)"}},
    }
    world.kube.put("/apis/nanogrid.io/v1alpha1/namespaces/team-a/functions", function)
    refuse(world, 422)

    await world.reconcile()

    assert world.end[:2] == ("Failed", "InvalidSpec")
