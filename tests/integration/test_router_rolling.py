"""Several routers behind a load balancer: no mixed-up sessions, no lost request in a roll-out."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from support.alb.balancer import LoadBalancer
from support.alb.targets import State
from support.routing.kube import PODS
from support.routing.world import FakeSession, Router, World, running_world, until
from support.s3_server import free_port
from support.scraping import scrape_port

pytestmark = pytest.mark.alone

SESSIONS = 20
REQUESTS = 1000
AT_ONCE = 25


async def test_thousand_interleaved_requests_reach_their_own_sessions(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as routing, LoadBalancer().running() as balancer:
        sessions = [await routing.session(f"s{n}") for n in range(SESSIONS)]
        late = [await routing.session(f"late{n}", ready=False) for n in range(2)]
        for router in await asyncio.gather(routing.router(), routing.router()):
            balancer.register(router.endpoint)
            await balancer.until(router.endpoint, State.HEALTHY)
        limit, codes = asyncio.Semaphore(AT_ONCE), Counter[int]()

        async def execute(number: int) -> None:
            session = sessions[number % SESSIONS]
            url = f"{balancer.url}{session.path}/execute"
            async with (
                limit,
                routing.client.post(url, data=f"code {number}", headers=session.auth) as answer,
            ):
                codes[answer.status] += 1
                body = await answer.json()
                assert body["session_id"] == session.agent.session_id
                assert body["body"] == f"code {number}"

        async def execute_too_early(session: FakeSession) -> None:
            url = f"{balancer.url}{session.path}/execute"
            async with limit, routing.client.post(url, headers=session.auth) as answer:
                codes[answer.status] += 1

        numbers = list(range(REQUESTS))
        random.Random(7).shuffle(numbers)
        await asyncio.gather(
            *(execute(n) for n in numbers), *(execute_too_early(late[n % 2]) for n in range(50))
        )
        assert codes == {200: REQUESTS, 503: 50}
        assert not any(session.agent.seen for session in late)
        for session in sessions:
            assert session.agent.seen["POST /execute"] == REQUESTS // SESSIONS
        served = [balancer.group.targets[r.endpoint].served for r in routing.routers]
        assert min(served) > REQUESTS // 4, "both routers served requests"


async def test_cookie_client_stays_with_its_session_on_any_router(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as routing, LoadBalancer().running() as balancer:
        sessions = [await routing.session(f"s{n}") for n in range(4)]
        for router in await asyncio.gather(routing.router(), routing.router()):
            balancer.register(router.endpoint)
            await balancer.until(router.endpoint, State.HEALTHY)

        async def client_of(session: FakeSession) -> None:
            jar = aiohttp.CookieJar(unsafe=True)  # an IP address as host
            async with aiohttp.ClientSession(balancer.url, cookie_jar=jar) as client:
                first = f"{session.path}/health"
                async with client.get(first, headers=session.auth) as answer:
                    assert answer.status == 200
                for _ in range(25):
                    async with client.post("/execute", data=b"x") as answer:
                        assert (await answer.json())["session_id"] == session.agent.session_id

        await asyncio.gather(*(client_of(session) for session in sessions))
        assert all(balancer.group.targets[r.endpoint].served > 20 for r in routing.routers)


async def test_rolling_update_loses_no_request_and_breaks_no_stream(tmp_path: Path) -> None:
    async with running_world(tmp_path) as routing, LoadBalancer().running() as balancer:
        session = await routing.session("busy")
        old = [await routing.router(NANOGRID_DRAIN_START_SECONDS="5") for _ in range(2)]
        for router in old:
            balancer.register(router.endpoint)
            await balancer.until(router.endpoint, State.HEALTHY)
        stop, codes = asyncio.Event(), Counter[int]()
        load = [asyncio.create_task(_load(routing, balancer, session, stop, codes)) for _ in "1234"]
        streams = [asyncio.create_task(_stream(routing, balancer, session)) for _ in range(4)]
        await until(lambda: session.agent.open_streams == 4, "all streams run")

        for router in old:
            await _replace(routing, balancer, router)
        assert session.agent.open_streams > 0, "streams outlast the first step of the roll-out"
        session.agent.gate.set()
        for text in await asyncio.gather(*streams):
            assert text.count("data: ") == 3, "a stream is complete"
            assert text.endswith(" 2\n\n")
        stop.set()
        await asyncio.gather(*load)
        assert [await router.exit_code() for router in old] == [0, 0]
        assert set(codes) == {200}
        assert codes.total() > 50
        assert not balancer.codes
        assert balancer.zombies(r.endpoint for r in routing.routers[2:]) == []


async def test_stream_that_outlasts_the_drain_is_aborted_and_the_exit_code_is_0(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as routing:
        session = await routing.session("endless")
        router = await routing.router(
            NANOGRID_DRAIN_START_SECONDS="0", NANOGRID_DRAIN_SECONDS="0.5"
        )
        url = f"{router.url}{session.path}/stream?count=2"
        async with routing.client.get(url, headers=session.auth) as answer:
            await answer.content.readuntil(b"\n\n")
            router.terminate()
            assert await router.exit_code() == 0


async def test_draining_router_is_not_ready_and_still_serves(tmp_path: Path) -> None:
    async with running_world(tmp_path) as routing:
        session = await routing.session("one")
        router = await routing.router(NANOGRID_DRAIN_START_SECONDS="5")
        router.terminate()
        await routing.reaches(router, "/readyz", 503)
        await routing.reaches(router, "/health", 503)
        await routing.reaches(router, "/healthz", 200)
        url = f"{router.url}{session.path}/x"
        async with routing.client.get(url, headers=session.auth) as answer:
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert await router.exit_code() == 0


async def test_deleted_pods_leave_no_route(tmp_path: Path) -> None:
    async with running_world(tmp_path) as routing:
        port = free_port()
        router = await routing.router(NANOGRID_METRICS_PORT=str(port))
        for _ in range(5):
            session = await routing.ready(router, "cycle")
            await routing.kube.delete(PODS, session.namespace, session.pod_name)
            await routing.reaches(router, f"{session.path}/x", 503, session.auth)
            await session.agent.stop()
            await routing.kube.delete("executionjobs", session.namespace, session.name)
            await routing.reaches(router, f"{session.path}/x", 401, session.auth)
        found = await asyncio.to_thread(scrape_port, port)
        for name in ("nanogrid_router_sessions", "nanogrid_router_pods"):
            assert found.value(name) == 0


async def _replace(routing: World, balancer: LoadBalancer, old: Router) -> None:
    """As a Deployment and its load balancer: start the new router, then stop the old one."""
    new = await routing.router()
    balancer.register(new.endpoint)
    await balancer.until(new.endpoint, State.HEALTHY)
    old.terminate()
    # The controller learns of it from the API server a moment after the router.
    await routing.reaches(old, "/readyz", 503)
    balancer.deregister(old.endpoint)


async def _load(
    routing: World,
    balancer: LoadBalancer,
    session: FakeSession,
    stop: asyncio.Event,
    codes: Counter[int],
) -> None:
    url = f"{balancer.url}{session.path}/execute"
    while not stop.is_set():
        async with routing.client.post(url, data=b"x", headers=session.auth) as answer:
            codes[answer.status] += 1
            assert (await answer.json())["session_id"] == session.agent.session_id
        await asyncio.sleep(0.02)


async def _stream(routing: World, balancer: LoadBalancer, session: FakeSession) -> str:
    url = f"{balancer.url}{session.path}/stream?count=3"
    timeout = aiohttp.ClientTimeout(total=240)
    async with routing.client.get(url, headers=session.auth, timeout=timeout) as answer:
        return await answer.text()
