"""Real launcher, real agent and the operator's parts: the status shows the memory, then the end."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from nanogrid import names, wire
from nanogrid.shown_memory import ShownMemory, shown_memory
from nanogrid_executor.launcher import cgroup
from nanogrid_executor.paths import Paths
from nanogrid_operator.server.serve import serving
from support.builders import CREATED, JOB_UID, POD_UID
from support.builders import running as container_runs
from support.executor_pod import HELD, HOLDS, WAIT_SECONDS, running
from support.operator_fakes import reviewed
from support.operator_world import World
from support.s3_server import make_task
from support.waiting import wait_until

pytestmark = [
    pytest.mark.alone,
    pytest.mark.integration,
    pytest.mark.skipif(cgroup.locate().source == cgroup.RUSAGE, reason="needs a cgroup"),
]


async def test_the_status_has_the_memory_while_code_runs_and_the_peak_at_the_end(
    paths: Paths, launcher_dir: str
) -> None:
    world = World()
    world.kube.review = reviewed(POD_UID)
    world.see_pod(phase="Running", agent=container_runs(), sandbox=container_runs())
    world.now = CREATED + 60
    await world.resync()
    task = make_task(
        code_inline=HOLDS,
        namespace="team-a",
        job="sales",
        uid=JOB_UID,
        request_id=JOB_UID,
        attempt=0,
        memory_limit_bytes=256 << 20,
    )
    parts = world.parts

    go = Path(f"{paths.workspace}/go")

    def shown() -> ShownMemory:
        return shown_memory(world.status)

    async def until(check: Callable[[], object]) -> None:
        await asyncio.to_thread(wait_until, check, WAIT_SECONDS)

    async with serving(parts.api, "127.0.0.1", 0) as port, asyncio.TaskGroup() as group:
        operator = [group.create_task(part.run()) for part in (parts.workers, parts.memory)]
        url = f"http://127.0.0.1:{port}{names.RESULTS_PATH}"
        with running(task, paths, launcher_dir, url=url) as pod:
            await until(lambda: shown().current)
            assert world.status["phase"] == "Running"
            assert (shown().peak or 0) >= HELD
            assert shown().limit == 256 << 20
            await asyncio.to_thread(go.touch)
            ended = await asyncio.to_thread(pod.wait)
        await until(lambda: world.end == ("Succeeded", "Completed", "Delivered"))
        for each in operator:
            each.cancel()

    assert ended.result.status == wire.STATUS_SUCCESS
    assert shown().current is None
    assert world.status["result"]["peakMemoryBytes"] == ended.result.peak_memory_bytes
