"""Several routers behind a load balancer: no answer of another session, none lost in a roll-out."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import aiohttp

from alb.balancer import LoadBalancer, Options
from alb.targets import State
from routing.kube import PODS
from routing.world import Router, Session, World, until, world

SESSIONS = 20
REQUESTS = 1000
AT_ONCE = 25


async def test_thousand_interleaved_requests_get_no_answer_of_another_session(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as around, LoadBalancer().running() as balancer:
        sessions = [await around.session(f"s{n}") for n in range(SESSIONS)]
        late = [await around.session(f"late{n}", ready=False) for n in range(2)]
        for router in await asyncio.gather(around.router(), around.router()):
            balancer.register(router.endpoint)
            await balancer.until(router.endpoint, State.HEALTHY)
        limit, codes = asyncio.Semaphore(AT_ONCE), Counter[int]()

        async def ask(number: int) -> None:
            session = sessions[number % SESSIONS]
            url = f"{balancer.url}{session.path}/execute"
            async with (
                limit,
                around.client.post(url, data=f"code {number}", headers=session.auth) as answer,
            ):
                codes[answer.status] += 1
                body = await answer.json()
                assert body["session_id"] == session.agent.session_id
                assert body["body"] == f"code {number}"

        async def ask_too_early(session: Session) -> None:
            url = f"{balancer.url}{session.path}/execute"
            async with limit, around.client.post(url, headers=session.auth) as answer:
                codes[answer.status] += 1

        numbers = list(range(REQUESTS))
        random.Random(7).shuffle(numbers)
        await asyncio.gather(
            *(ask(n) for n in numbers), *(ask_too_early(late[n % 2]) for n in range(50))
        )
        assert codes == {200: REQUESTS, 503: 50}
        assert not any(session.agent.seen for session in late)
        for session in sessions:
            assert session.agent.seen["POST /execute"] == REQUESTS // SESSIONS
        served = [balancer.group.targets[r.endpoint].served for r in around.routers]
        assert min(served) > REQUESTS // 4, "both routers took part"


async def test_cookie_client_stays_with_its_session_whichever_router_answers(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as around, LoadBalancer().running() as balancer:
        sessions = [await around.session(f"s{n}") for n in range(4)]
        for router in await asyncio.gather(around.router(), around.router()):
            balancer.register(router.endpoint)
            await balancer.until(router.endpoint, State.HEALTHY)

        async def client_of(session: Session) -> None:
            jar = aiohttp.CookieJar(unsafe=True)  # an IP address as host
            async with aiohttp.ClientSession(balancer.url, cookie_jar=jar) as client:
                first = f"{session.path}/health"
                async with client.get(first, headers=session.auth) as answer:
                    assert answer.status == 200
                for _ in range(25):
                    async with client.post("/execute", data=b"x") as answer:
                        assert (await answer.json())["session_id"] == session.agent.session_id

        await asyncio.gather(*(client_of(session) for session in sessions))
        assert all(balancer.group.targets[r.endpoint].served > 20 for r in around.routers)


async def test_rolling_update_loses_no_request_and_tears_no_stream(tmp_path: Path) -> None:
    async with world(tmp_path) as around, LoadBalancer(_options()).running() as balancer:
        session = await around.session("busy")
        old = [await around.router(NANOGRID_DRAIN_START_SECONDS="5") for _ in range(2)]
        for router in old:
            balancer.register(router.endpoint)
            await balancer.until(router.endpoint, State.HEALTHY)
        stop, codes = asyncio.Event(), Counter[int]()
        load = [asyncio.create_task(_load(around, balancer, session, stop, codes)) for _ in "1234"]
        streams = [asyncio.create_task(_stream(around, balancer, session)) for _ in range(4)]
        await until(lambda: session.agent.open_streams == 4, "all streams run")

        for router in old:
            await _replace(around, balancer, router)
        assert session.agent.open_streams > 0, "streams outlast the roll-out's first step"
        session.agent.gate.set()
        for text in await asyncio.gather(*streams):
            assert text.count("data: ") == 3, "a stream ends whole"
            assert text.endswith(" 2\n\n")
        stop.set()
        await asyncio.gather(*load)
        assert [await router.ended() for router in old] == [0, 0]
        assert set(codes) == {200}
        assert codes.total() > 50
        assert not balancer.codes
        assert balancer.zombies(r.endpoint for r in around.routers[2:]) == []


async def test_stream_that_outlasts_the_drain_is_cut_and_the_exit_is_still_orderly(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as around:
        session = await around.session("endless")
        router = await around.router(NANOGRID_DRAIN_START_SECONDS="0", NANOGRID_DRAIN_SECONDS="0.5")
        url = f"{router.url}{session.path}/stream?count=2"
        async with around.client.get(url, headers=session.auth) as answer:
            await answer.content.readuntil(b"\n\n")
            router.terminate()
            assert await router.ended(20) == 0


async def test_draining_router_says_so_and_serves_on(tmp_path: Path) -> None:
    async with world(tmp_path) as around:
        session = await around.session("one")
        router = await around.router(NANOGRID_DRAIN_START_SECONDS="5")
        router.terminate()
        await around.reaches(router, "/readyz", 503)
        await around.reaches(router, "/health", 503)
        await around.reaches(router, "/healthz", 200)
        url = f"{router.url}{session.path}/x"
        async with around.client.get(url, headers=session.auth) as answer:
            assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert await router.ended(30) == 0


async def test_pods_that_come_and_go_leave_no_route_behind(tmp_path: Path) -> None:
    async with world(tmp_path) as around:
        router = await around.router()
        for _ in range(5):
            session = await around.ready(router, "cycle")
            await around.kube.delete(PODS, session.namespace, session.pod_name)
            await around.reaches(router, f"{session.path}/x", 503, session.auth)
            await session.agent.stop()
            await around.kube.delete("executionjobs", session.namespace, session.name)
            await around.reaches(router, f"{session.path}/x", 401, session.auth)
        async with around.client.get(f"{router.url}/metrics") as answer:
            text = await answer.text()
        assert "nanogrid_router_sessions 0" in text
        assert "nanogrid_router_pods 0" in text


def _options() -> Options:
    return Options(deregistration_delay=30.0)


async def _replace(around: World, balancer: LoadBalancer, old: Router) -> None:
    """What a Deployment and the load balancer's controller do: the new one first, then the old."""
    new = await around.router()
    balancer.register(new.endpoint)
    await balancer.until(new.endpoint, State.HEALTHY)
    old.terminate()
    # The controller hears of it from the API server a moment after the router heard of it.
    await around.reaches(old, "/readyz", 503)
    balancer.deregister(old.endpoint)


async def _load(
    around: World,
    balancer: LoadBalancer,
    session: Session,
    stop: asyncio.Event,
    codes: Counter[int],
) -> None:
    url = f"{balancer.url}{session.path}/execute"
    while not stop.is_set():
        async with around.client.post(url, data=b"x", headers=session.auth) as answer:
            codes[answer.status] += 1
            assert (await answer.json())["session_id"] == session.agent.session_id
        await asyncio.sleep(0.02)


async def _stream(around: World, balancer: LoadBalancer, session: Session) -> str:
    url = f"{balancer.url}{session.path}/stream?count=3"
    timeout = aiohttp.ClientTimeout(total=120)
    async with around.client.get(url, headers=session.auth, timeout=timeout) as answer:
        return await answer.text()
