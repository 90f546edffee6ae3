"""Fifty sessions come and go, through the router and with targets of their own: nothing is left."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from alb.balancer import LoadBalancer, Options
from alb.targets import Endpoint, State
from nanogrid import names
from routing.kube import JOBS, PODS
from routing.world import Router, World, until, world

CYCLES = 50
AT_ONCE = 5
DELAY_SECONDS = 0.2


async def cycle(
    number: int, around: World, router: Router, shared: LoadBalancer, own: LoadBalancer
) -> Counter[int]:
    """One session: made, asked both ways, ended as the operator and the kubelet end it."""
    codes = Counter[int]()
    session = await around.session(f"c{number}")
    target = Endpoint(session.agent.ip, names.SESSION_PORT)
    own.register(target)  # what a TargetGroupBinding does for a ready endpoint
    await own.until(target, State.HEALTHY)
    await around.reaches(router, f"{session.path}/known", 200, session.auth)
    async with around.client.post(
        f"{shared.url}{session.path}/execute", data="x", headers=session.auth
    ) as answer:
        codes[answer.status] += 1
        assert (await answer.json())["session_id"] == session.agent.session_id

    # The pod waits out the deregistration delay (its preStop) while it is going.
    own.deregister(target)
    await around.kube.put(JOBS, session.job(phase="Succeeded", reason="SessionEnded"))
    await until(lambda: target not in own.group.targets, "the target is gone")
    await around.kube.delete(PODS, session.namespace, session.pod_name)
    await session.agent.stop()
    await around.kube.delete(JOBS, session.namespace, session.name)
    await around.reaches(router, f"{session.path}/known", 401, session.auth)
    return codes


@pytest.mark.timeout(180)
async def test_fifty_sessions_come_and_go_and_leave_no_target(tmp_path: Path) -> None:
    options = Options(deregistration_delay=DELAY_SECONDS)
    async with (
        world(tmp_path) as around,
        LoadBalancer().running() as shared,
        LoadBalancer(options).running() as own,
    ):
        router = await around.router()
        shared.register(router.endpoint)
        await shared.until(router.endpoint, State.HEALTHY)
        limit, codes = asyncio.Semaphore(AT_ONCE), Counter[int]()

        async def one(number: int) -> None:
            async with limit:
                codes.update(await cycle(number, around, router, shared, own))

        await asyncio.gather(*(one(number) for number in range(CYCLES)))

        assert codes == {200: CYCLES}
        assert own.zombies([]) == []
        assert own.group.targets == {}
        assert list(shared.group.targets) == [router.endpoint], "one target, whatever happened"
