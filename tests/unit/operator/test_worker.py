"""Workers continue after every error, and the queue hands out the job again."""

import asyncio

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.s3.errors import S3Error
from nanogrid_operator.reconcile.worker import Workers
from support.builders import JOB_UID
from support.operator_fakes import CREATE_POD
from support.operator_world import World, run_for


@pytest.mark.parametrize(
    "error", [KubeError(500, "", ""), KubeError(0, "", ""), S3Error("away"), ValueError("bug")]
)
async def test_a_worker_continues_after_an_error_and_the_job_is_tried_again(
    error: Exception,
) -> None:
    world = World()
    left = [error, error]

    async def reconcile(uid: str) -> None:
        if left:
            raise left.pop()
        await world.parts.reconciler.reconcile(uid)

    world.queue.add(JOB_UID)
    await run_for(1, Workers(world.queue, reconcile, 1, world.cache.log_fields).run())

    assert world.kube.writes == [CREATE_POD]
    assert len(world.queue.retries) == 2


async def test_a_job_that_succeeded_starts_again_at_the_shortest_back_off() -> None:
    world = World()
    world.kube.refuse("POST", 500)

    await world.work()

    assert world.queue.retry(JOB_UID) <= 0.1


async def test_a_job_that_hangs_is_given_up_after_three_minutes() -> None:
    world = World()
    tries: list[str] = []

    async def hang(uid: str) -> None:
        tries.append(uid)
        await asyncio.sleep(3600)

    world.queue.add(JOB_UID)
    await run_for(181, Workers(world.queue, hang, 1, world.cache.log_fields).run())

    assert tries == [JOB_UID, JOB_UID]
