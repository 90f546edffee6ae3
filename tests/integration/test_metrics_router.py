"""The metrics of a router process, as Prometheus reads them, with real agents behind it."""

import asyncio

import aiohttp
import pytest

from nanogrid import names
from support.routing.kube import JOBS, PODS
from support.routing.world import HOST, FakeSession, Router, World, until
from support.s3_server import free_port
from support.scraping import Scrape, scrape_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = "nanogrid_router_request_seconds_count"
REFUSED = "nanogrid_router_refused_total"
ERRORS = "nanogrid_router_upstream_errors_total"
STREAMS = "nanogrid_router_streams"
IN_FLIGHT = "nanogrid_router_requests_in_flight"
STARTS = "nanogrid_router_start_wait_seconds_count"
SESSION = "/sessions/{namespace}/{name}"


class Measured:
    """A router and its metrics."""

    def __init__(self, routing: World, router: Router, port: int) -> None:
        self.routing = routing
        self.router = router
        self.port = port

    async def scraped(self) -> Scrape:
        return await asyncio.to_thread(scrape_port, self.port)

    async def reaches(self, value: float, name: str, **labels: str) -> None:
        async def has_value() -> bool:
            return (await self.scraped()).number(name, **labels) == value

        await until(has_value, f"{name} {labels} {value}")

    async def get(self, session: FakeSession, path: str) -> int:
        return (await self.routing.get(self.router, session.path + path, session.auth))[0]


async def measured(routing: World, **env: str) -> Measured:
    port = free_port()
    return Measured(routing, await routing.router(NANOGRID_METRICS_PORT=str(port), **env), port)


async def test_each_request_counts_once_under_its_pattern(routing: World) -> None:
    own = await measured(routing)
    session = await routing.ready(own.router, "one")
    for _ in range(3):
        async with routing.client.post(
            f"{own.router.url}{session.path}/execute", headers=session.auth
        ) as answer:
            assert answer.status == 200
    assert await own.get(session, "/executions/7") == 200
    assert await own.get(session, "/executions/8") == 200
    for number in range(50):
        assert await own.get(session, f"/made/up/{number}") == 200
    assert (await routing.get(own.router, f"{session.path}/execute"))[0] == 401
    cookie = {"Cookie": "nanogrid_session=x"}
    assert (await routing.get(own.router, "/health", cookie))[0] == 401
    assert (await routing.get(own.router, "/health"))[0] == 200

    await own.reaches(1, COUNT, route="/health", method="GET", code="200")
    found = await own.scraped()
    counts = {
        (each["method"], each["route"], each["code"]): found.number(COUNT, **each)
        for each in found.labels(COUNT)
        # Those that wait until the router is ready, or has seen the session.
        if each["route"] != "/readyz" and (each["route"], each["method"]) != ("_other", "GET")
    }
    assert counts == {
        ("POST", f"{SESSION}/execute", "200"): 3,
        ("GET", f"{SESSION}/executions/{{number}}", "200"): 2,
        ("GET", f"{SESSION}/health", "401"): 1,
        ("GET", "/health", "200"): 1,
    }
    assert found.number(COUNT, route="_other", method="GET", code="200") >= 50
    assert {each["reason"] for each in found.labels(REFUSED)} == {"Unauthorized"}
    assert found.number("nanogrid_router_sessions") == found.number("nanogrid_router_pods") >= 1
    assert found.number("nanogrid_kubernetes_requests_total", verb="GET", code="200") >= 2
    assert found.number("nanogrid_kubernetes_requests_total", verb="STREAM", code="200") >= 2
    assert found.total("nanogrid_build_info", component="router") == 1


async def test_a_stream_counts_at_its_head_and_is_open_until_its_end(routing: World) -> None:
    own = await measured(routing)
    session = await routing.ready(own.router, "streams")
    url = f"{own.router.url}{session.path}/stream?count=2"
    labels = {"route": "_other", "method": "GET", "code": "200"}
    async with routing.client.get(url, headers=session.auth) as answer:
        await answer.content.readuntil(b"\n\n")
        before = await own.scraped()
        assert before.number(STREAMS) == before.number(IN_FLIGHT) == 1
        session.agent.gate.set()
        await answer.read()
    await own.reaches(0, STREAMS)
    await own.reaches(0, IN_FLIGHT)
    after = await own.scraped()
    assert after.number(COUNT, **labels) == before.number(COUNT, **labels)

    # A client that leaves a stream.
    session.agent.gate.clear()
    async with routing.client.get(url, headers=session.auth) as answer:
        await answer.content.readuntil(b"\n\n")
        await own.reaches(1, STREAMS)
        answer.close()
    await own.reaches(0, STREAMS)
    await own.reaches(0, IN_FLIGHT)
    assert (await own.scraped()).total(COUNT, code="499") == 0  # it had the head


async def test_a_client_that_leaves_before_the_head(routing: World) -> None:
    own = await measured(routing)
    session = await routing.ready(own.router, "left")
    async with aiohttp.ClientSession() as client:
        waiting = asyncio.create_task(
            client.get(f"{own.router.url}{session.path}/wait", headers=session.auth)
        )
        await until(lambda: session.agent.seen["GET /wait"], "the agent has the request")
        await own.reaches(1, IN_FLIGHT)
        waiting.cancel()
    await own.reaches(1, COUNT, route="_other", method="GET", code="499")
    await own.reaches(0, IN_FLIGHT)


async def test_why_a_session_did_not_answer(routing: World) -> None:
    own = await measured(routing, NANOGRID_IDLE_TIMEOUT_SECONDS="1")
    session = await routing.ready(own.router, "fails")
    with pytest.raises(aiohttp.ClientError):
        await own.get(session, "/incomplete")
    await own.reaches(1, ERRORS, reason="Incomplete")
    url = f"{own.router.url}{session.path}/reset-once"
    async with routing.client.post(url, headers=session.auth) as answer:
        assert answer.status == 502
    await own.reaches(1, ERRORS, reason="ConnectionLost")
    assert await own.get(session, "/wait") == 504
    await own.reaches(1, ERRORS, reason="Timeout")
    session.agent.token = "of another session"
    assert await own.get(session, "/x") == 503
    await own.reaches(1, ERRORS, reason="StaleRoute")
    await session.agent.stop()
    assert await own.get(session, "/x") == 503
    await own.reaches(1, ERRORS, reason="NotConnected")
    assert (await own.scraped()).number(REFUSED, reason="SessionUnreachable") == 4


async def test_a_wait_for_a_session_that_starts(routing: World) -> None:
    own = await measured(routing)
    session = await routing.session("starts", ready=False)
    await routing.reaches(own.router, f"{session.path}/x", 503, session.auth)
    assert await own.get(session, "/health") == 503
    found = await own.scraped()
    assert found.number(STARTS) == 0
    assert found.number(REFUSED, reason="Initializing") >= 2
    await routing.kube.put(PODS, session.pod())
    await routing.reaches(own.router, f"{session.path}/x", 200, session.auth)
    assert await own.get(session, "/x") == 200
    await own.reaches(1, STARTS)

    # An ended session is no wait.
    await routing.kube.put(JOBS, session.job(phase="Succeeded", reason="Completed"))
    await routing.reaches(own.router, f"{session.path}/x", 410, session.auth)
    assert (await own.scraped()).number(STARTS) == 1


async def test_refusals_before_routing(routing: World) -> None:
    own = await measured(routing, NANOGRID_READ_SECONDS="1")
    for data, code in ((b"GARBAGE\r\n\r\n", b" 400 "), (b"GET / HTTP/1.1\r\nX-Slow: ", b" 408 ")):
        reader, writer = await asyncio.open_connection(HOST, own.router.endpoint.port)
        writer.write(data)
        async with asyncio.timeout(60):
            assert code in await reader.read(100)
        writer.close()
    await own.reaches(2, REFUSED, reason="BadRequest")
    await own.reaches(1, COUNT, route="_other", method="_other", code="400")


async def test_a_websocket_handshake_is_a_request_like_others(routing: World) -> None:
    own = await measured(routing)
    session = await routing.ready(own.router, "websocket")
    headers = {**session.auth, "Connection": "Upgrade", "Upgrade": "websocket"}
    status, _ = await routing.get(own.router, f"{session.path}/executions", headers)
    assert status == 200  # the router forwards it without the upgrade
    await own.reaches(1, COUNT, route=f"{SESSION}/executions", method="GET", code="200")
    await own.reaches(0, IN_FLIGHT)


async def test_metrics_are_on_their_own_port_only(routing: World) -> None:
    own = await measured(routing)
    session = await routing.ready(own.router, "metrics")
    assert (await routing.get(own.router, "/metrics"))[0] == 404
    # Not even with the cookie of a session, whose paths are plain ones as well.
    async with routing.client.get(f"{own.router.url}{session.path}/x", headers=session.auth) as a:
        cookie = a.headers["Set-Cookie"].partition(";")[0]
    plain = {"Cookie": cookie}
    assert (await routing.get(own.router, "/executions", plain))[0] == 200
    assert (await routing.get(own.router, "/metrics", plain))[0] == 404
    # Below the path of a session it is one of its own paths.
    assert await own.get(session, "/metrics") == 200
    async with routing.client.get(f"http://{HOST}:{own.port}{session.path}/x") as answer:
        assert answer.status == 404


async def test_unknown_sessions_and_odd_methods_make_no_new_series(routing: World) -> None:
    own = await measured(routing)
    for number in range(200):
        method = ("GET", "POST", "PROPFIND", "BREW")[number % 4]
        url = f"{own.router.url}{names.session_path(f'team-{number}', 'x')}/{number}"
        async with routing.client.request(method, url) as answer:
            assert answer.status in (400, 401, 429)
    found = await own.scraped()
    assert {each["route"] for each in found.labels(COUNT)} <= {"_other", "/readyz"}
    assert {each["method"] for each in found.labels(COUNT)} == {"GET", "POST", "_other"}
