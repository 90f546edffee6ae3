"""The simulated load balancer behaves as the documentation of a real one says."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from support.alb.balancer import COOKIE, LoadBalancer, Options
from support.alb.targets import Endpoint, State, Target, TargetGroup

A, B, C = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80), Endpoint("10.0.0.3", 80)
FAILED = "Target.FailedHealthChecks"
INTERVAL = 30.0


def healthy(*endpoints: Endpoint) -> TargetGroup:
    group = TargetGroup()
    for endpoint in endpoints:
        group.register(endpoint).checked("", 2, 2)
    return group


def test_new_target_needs_one_success_and_an_unhealthy_one_the_threshold() -> None:
    target = Target(A)
    assert target.state is State.INITIAL
    target.checked("", 3, 2)
    assert target.state is State.HEALTHY
    target.checked(FAILED, 3, 2)
    assert target.state is State.HEALTHY
    target.checked(FAILED, 3, 2)
    assert (target.state, target.reason) == (State.UNHEALTHY, FAILED)
    states = []
    for _ in range(3):
        target.checked("", 3, 2)
        states.append(target.state)
    assert states == [State.UNHEALTHY, State.UNHEALTHY, State.HEALTHY]


def test_success_resets_the_count_of_failures() -> None:
    target = Target(A)
    for failure in ("", FAILED, "", FAILED, ""):
        target.checked(failure, 2, 2)
    assert target.state is State.HEALTHY


def test_requests_go_to_healthy_targets_in_turn() -> None:
    group = healthy(A, B)
    group.register(C)  # initial
    chosen = [group.choose() for _ in range(6)]
    assert [t.endpoint for t in chosen if t] == [B, A, B, A, B, A]


def test_sticky_target_is_kept_only_while_it_is_healthy() -> None:
    group = healthy(A, B)
    assert all(group.choose(A) is group.targets[A] for _ in range(3))
    group.targets[A].drain()
    found = group.choose(A)
    assert found is not None
    assert found.endpoint == B


def test_group_of_unhealthy_targets_fails_open_by_default() -> None:
    group = TargetGroup()
    for _ in range(2):
        group.register(A).checked(FAILED, 2, 2)
    assert group.choose() is group.targets[A]
    group.fail_open = False
    assert group.choose() is None
    healthy_too = healthy(B)
    healthy_too.targets[A] = group.targets[A]
    assert [t.endpoint for t in healthy_too.eligible()] == [B]


def test_draining_targets_get_no_new_request_and_are_not_zombies() -> None:
    group = healthy(A, B)
    group.targets[A].drain()
    assert {t.endpoint for t in group.eligible()} == {B}
    assert group.zombies([]) == [B]
    assert group.zombies([B]) == []
    group.targets[B].drain()
    assert group.choose() is None


Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[Endpoint]:
    """A healthy target that answers all other paths with the handler."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response() if request.path == "/health" else await handler(request)

    runner = web.ServerRunner(web.Server(handle, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Endpoint("127.0.0.1", runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def hello(request: web.BaseRequest) -> web.Response:
    return web.json_response(dict(request.headers))


class ManualClock:
    """Time passes only in :meth:`advance`."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        wake = asyncio.Event()
        self._sleepers.append((self._now + seconds, wake))
        await wake.wait()

    def advance(self, seconds: float) -> None:
        self._now += seconds
        for until, wake in self._sleepers:
            if until <= self._now:
                wake.set()
        self._sleepers = [sleeper for sleeper in self._sleepers if sleeper[0] > self._now]


async def until_unhealthy(balancer: LoadBalancer, clock: ManualClock, endpoint: Endpoint) -> None:
    """Advance the clock from one health check to the next."""
    waiting = asyncio.create_task(balancer.until(endpoint, State.UNHEALTHY))
    while not waiting.done():
        clock.advance(INTERVAL)
        await asyncio.sleep(0)
    await waiting


@contextlib.asynccontextmanager
async def behind(
    *endpoints: Endpoint, clock: ManualClock | None = None, **options: float
) -> AsyncIterator[tuple[LoadBalancer, aiohttp.ClientSession]]:
    """A balancer with healthy targets, and a client without cookies."""
    given = Options(health_interval=INTERVAL, **options)  # type: ignore[arg-type]
    async with LoadBalancer(given, sleep=(clock or ManualClock()).sleep).running() as balancer:
        for endpoint in endpoints:
            balancer.register(endpoint)
            await balancer.until(endpoint, State.HEALTHY)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(balancer.url, cookie_jar=jar) as client:
            yield balancer, client


async def test_no_target_is_503_and_a_refusing_target_is_502() -> None:
    async with server(hello) as endpoint, behind() as (balancer, client):
        async with client.get("/") as answer:
            assert answer.status == 503
        balancer.register(endpoint)
        await balancer.until(endpoint, State.HEALTHY)
        async with client.get("/") as answer:
            assert answer.status == 200
            assert (await answer.json())["X-Forwarded-For"] == "127.0.0.1"
    async with server(hello) as endpoint:
        pass  # the port is closed now
    clock = ManualClock()
    async with behind(clock=clock) as (balancer, client):
        balancer.register(endpoint)
        await until_unhealthy(balancer, clock, endpoint)  # so the group fails open
        async with client.get("/") as answer:
            assert answer.status == 502
        assert balancer.codes == {502: 1}
        assert balancer.zombies([]) == [endpoint]


async def test_reset_is_502_and_the_request_is_sent_once() -> None:
    calls = 0

    async def reset(request: web.BaseRequest) -> web.Response:
        nonlocal calls
        calls += 1
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with (
        server(reset) as endpoint,
        behind(endpoint) as (_, client),
        client.get("/") as answer,
    ):
        assert answer.status == 502
    assert calls == 1


async def test_silent_target_is_504_after_the_idle_timeout() -> None:
    never = asyncio.Event()

    async def silent(_: web.BaseRequest) -> web.Response:
        await never.wait()
        return web.Response()

    async with (
        server(silent) as endpoint,
        behind(endpoint, idle_timeout=0.05) as (_, client),
        client.get("/") as answer,
    ):
        assert answer.status == 504


async def test_stickiness_sends_all_requests_with_a_cookie_to_one_target() -> None:
    async with (
        server(hello) as one,
        server(hello) as two,
        behind(one, two, stickiness=60) as (balancer, client),
    ):
        async with client.get("/") as answer:
            cookie = answer.cookies[COOKIE].value
        for _ in range(5):
            async with client.get("/", headers={"Cookie": f"{COOKIE}={cookie}"}) as answer:
                assert answer.cookies[COOKIE].value == cookie
        first = base64.urlsafe_b64decode(cookie).decode()
        served = {t.endpoint: t.served for t in balancer.group.targets.values()}
        stuck = next(e for e in served if first == f"{e.host}:{e.port}")
        assert served[stuck] == 6
        balancer.deregister(stuck)
        async with client.get("/", headers={"Cookie": f"{COOKIE}={cookie}"}) as answer:
            assert answer.cookies[COOKIE].value != cookie


@pytest.mark.parametrize(("elapsed", "complete"), [(299.0, True), (300.0, False)])
async def test_draining_target_keeps_its_request_until_the_delay_is_over(
    elapsed: float, complete: bool
) -> None:
    clock = ManualClock()
    go, began = asyncio.Event(), asyncio.Event()

    async def slow(_: web.BaseRequest) -> web.Response:
        began.set()
        await go.wait()
        return web.Response(text="complete")

    async def fetch(client: aiohttp.ClientSession) -> str:
        async with client.get("/") as answer:
            return await answer.text()

    async with (
        server(slow) as endpoint,
        behind(endpoint, clock=clock, deregistration_delay=300.0) as (balancer, client),
    ):
        response = asyncio.create_task(fetch(client))
        await began.wait()
        balancer.deregister(endpoint)
        assert balancer.group.targets[endpoint].state is State.DRAINING
        async with client.get("/") as answer:
            assert answer.status == 503
        clock.advance(elapsed)
        if complete:
            go.set()
            assert await response == "complete"
        else:
            assert await response == "<h1>502</h1>"
            assert endpoint not in balancer.group.targets
