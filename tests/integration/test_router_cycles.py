"""Fifty sessions start and end, behind the router and as load balancer targets: nothing is left."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from nanogrid import names
from support.alb.balancer import LoadBalancer, Options
from support.alb.targets import Endpoint, State
from support.routing.kube import JOBS, PODS
from support.routing.world import Router, World, running_world, until

CYCLES = 50
AT_ONCE = 5
DELAY_SECONDS = 0.2


async def cycle(
    number: int, routing: World, router: Router, shared: LoadBalancer, own: LoadBalancer
) -> Counter[int]:
    """One session: created, requested both ways, ended as the operator and the kubelet do it."""
    codes = Counter[int]()
    session = await routing.session(f"c{number}")
    target = Endpoint(session.agent.ip, names.SESSION_PORT)
    own.register(target)  # as a TargetGroupBinding does for a ready endpoint
    await own.until(target, State.HEALTHY)
    await routing.reaches(router, f"{session.path}/known", 200, session.auth)
    async with routing.client.post(
        f"{shared.url}{session.path}/execute", data="x", headers=session.auth
    ) as answer:
        codes[answer.status] += 1
        assert (await answer.json())["session_id"] == session.agent.session_id

    # The terminating pod waits for the deregistration delay in its preStop hook.
    own.deregister(target)
    await routing.kube.put(JOBS, session.job(phase="Succeeded", reason="SessionEnded"))
    await until(lambda: target not in own.group.targets, "the target is removed")
    await routing.kube.delete(PODS, session.namespace, session.pod_name)
    await session.agent.stop()
    await routing.kube.delete(JOBS, session.namespace, session.name)
    await routing.reaches(router, f"{session.path}/known", 401, session.auth)
    return codes


@pytest.mark.timeout(180)
async def test_fifty_sessions_start_and_end_and_leave_no_target(tmp_path: Path) -> None:
    options = Options(deregistration_delay=DELAY_SECONDS)
    async with (
        running_world(tmp_path) as routing,
        LoadBalancer().running() as shared,
        LoadBalancer(options).running() as own,
    ):
        router = await routing.router()
        shared.register(router.endpoint)
        await shared.until(router.endpoint, State.HEALTHY)
        limit, codes = asyncio.Semaphore(AT_ONCE), Counter[int]()

        async def one(number: int) -> None:
            async with limit:
                codes.update(await cycle(number, routing, router, shared, own))

        await asyncio.gather(*(one(number) for number in range(CYCLES)))

        assert codes == {200: CYCLES}
        assert own.zombies([]) == []
        assert own.group.targets == {}
        assert list(shared.group.targets) == [router.endpoint], "one target for all sessions"
