"""An end counts once, and has its spans once, whatever becomes of the answer to its write."""

import copy
from typing import Any

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid_operator.reconcile.unanswered import UnansweredWrites, maybe_written
from support.builders import (
    JOB_UID,
    a_failed_result,
    a_job,
    a_report,
    a_result,
    an_attempt,
    running,
    signed,
)
from support.operator_fakes import JOBS
from support.operator_world import World
from support.span_recorder import SpanRecorder

PATH, KEY = f"{JOBS}/sales", f"result:{JOB_UID}"
RETRIED = {("team-a", "NonZeroExit"): 1}
ONE_SUCCESS = {("team-a", "Batch", "Succeeded", "Completed"): 1}
LOST = [(0, "TimeoutError"), (500, "InternalError"), (504, "Timeout")]


def failing_world(tracing: SpanRecorder | None = None, **job: Any) -> World:
    """A job whose first attempt has just failed, and that has another one."""
    world = World(tracing=tracing, **{"backoffLimit": 2, **job})
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_failed_result(3)))
    return world


def attempts_with_spans(tracing: SpanRecorder) -> list[Any]:
    spans = [s for s in tracing.spans if s.name == "nanogrid.job.attempt"]
    return [span.attributes["nanogrid.attempt"] for span in spans]


def watch(world: World) -> None:
    """The watch brings the job as it is in the cluster."""
    world.parts.handlers.on_job("MODIFIED", copy.deepcopy(world.kube.objects[PATH]))


async def fail(world: World) -> None:
    with pytest.raises(KubeError):
        await world.reconcile()


@pytest.mark.parametrize(("code", "reason"), LOST)
async def test_a_retry_whose_answer_is_lost_counts_when_the_watch_shows_it(
    code: int, reason: str
) -> None:
    tracing = SpanRecorder()
    world = failing_world(tracing)
    world.lose_next_answer(code, reason)
    await fail(world)
    before = world.series("job_retries_total"), attempts_with_spans(tracing)
    ended = world.now
    world.now += 60

    watch(world)
    await world.reconcile()
    await world.reconcile()

    assert before == ({}, [])
    assert world.series("job_retries_total") == RETRIED
    assert attempts_with_spans(tracing) == [0]
    assert tracing.named("nanogrid.job.attempt").end == ended


async def test_a_retry_whose_answer_is_lost_counts_when_a_conflict_shows_it() -> None:
    """The watch lags: the operator decides again, and its second write is outdated."""
    tracing = SpanRecorder()
    world = failing_world(tracing)
    world.lose_next_answer()
    await fail(world)
    await fail(world)

    await world.reconcile()
    await world.reconcile()

    assert world.series("job_retries_total") == RETRIED
    assert attempts_with_spans(tracing) == [0]
    assert [a["number"] for a in world.status["attempts"]] == [0]


@pytest.mark.parametrize(("code", "reason"), [*LOST, (409, "Conflict"), (403, "Forbidden")])
async def test_a_retry_that_is_not_written_counts_when_it_is_written(
    code: int, reason: str
) -> None:
    tracing = SpanRecorder()
    world = failing_world(tracing)
    world.kube.refuse("PATCH", code, reason)
    await fail(world)
    assert world.series("job_retries_total") == {}
    assert attempts_with_spans(tracing) == []

    await world.reconcile()
    await world.reconcile()

    assert world.series("job_retries_total") == RETRIED
    assert attempts_with_spans(tracing) == [0]


async def test_a_retry_that_another_operator_has_written_does_not_count() -> None:
    """A conflict shows an attempt's end that this process has not written."""
    tracing = SpanRecorder()
    world = failing_world(tracing)
    world.kube.objects[PATH]["status"] = {"attempts": [an_attempt()]}
    world.kube.touch(JOBS, "sales")
    await fail(world)

    await world.reconcile()

    assert world.series("job_retries_total") == {}
    assert attempts_with_spans(tracing) == []


@pytest.mark.parametrize("lost", [True, False], ids=["answer lost", "answered"])
async def test_an_operator_that_restarts_between_does_not_count_the_retry(lost: bool) -> None:
    """It counts the next one, so its counters work."""
    tracing = SpanRecorder()
    world = failing_world(tracing)
    if lost:
        world.lose_next_answer()
        await fail(world)
    else:
        await world.reconcile()
    sent = attempts_with_spans(tracing)

    await world.restart()
    await world.reconcile()

    assert world.series("job_retries_total") == {}
    assert attempts_with_spans(tracing) == sent
    world.now += 60
    await world.reconcile()
    world.see_pod(attempt=1, age=10.0, phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_failed_result(3, attempt=1)))
    await world.reconcile()
    assert world.series("job_retries_total") == RETRIED
    assert attempts_with_spans(tracing) == [*sent, 1]


async def test_a_lost_retry_of_a_job_that_ends_now_does_not_count() -> None:
    """The write did not arrive, and Redis has the result of an operator that decided otherwise."""
    tracing = SpanRecorder()
    world = failing_world(tracing)
    world.kube.refuse("PATCH", 0, "TimeoutError")
    await fail(world)
    world.redis.kept[KEY] = signed(a_result())

    await world.reconcile()
    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.series("job_retries_total") == {}
    assert attempts_with_spans(tracing) == [0]


async def test_a_deleted_job_whose_retry_got_no_answer_is_forgotten() -> None:
    world = failing_world()
    world.lose_next_answer()
    await fail(world)
    world.cache.drop_job(JOB_UID)

    await world.reconcile()
    watch(world)
    await world.reconcile()

    assert world.series("job_retries_total") == {}


@pytest.mark.parametrize(("code", "reason"), LOST)
async def test_a_job_whose_last_answer_is_lost_counts_once(code: int, reason: str) -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_result()))
    world.lose_next_answer(code, reason)
    await fail(world)
    before = world.series("jobs_finished_total")

    watch(world)
    await world.reconcile()
    await world.reconcile()

    assert before == {}
    assert world.series("jobs_finished_total") == ONE_SUCCESS


def test_only_the_newest_write_of_a_job_is_followed() -> None:
    followed: list[str] = []
    writes = UnansweredWrites()
    job = a_job()
    writes.put(job, lambda: followed.append("first"), final=False)
    writes.put(job, lambda: followed.append("second"), final=False)

    writes.observe(job)
    assert followed == []
    writes.observe(a_job(status={"attempts": [an_attempt()]}))
    writes.observe(a_job(status={"attempts": [an_attempt()]}))

    assert followed == ["second"]


@pytest.mark.parametrize("code", [400, 403, 404, 409, 413, 422, 429])
def test_an_answer_that_refuses_has_written_nothing(code: int) -> None:
    assert not maybe_written(KubeError(code, "", ""))
