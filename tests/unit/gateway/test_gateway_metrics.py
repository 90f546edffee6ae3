"""What the gateway counts: each request once, under a fixed set of label values."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, web
from yarl import URL

from nanogrid.metrics.registry import OTHER, Metrics
from nanogrid_gateway.api.auth import NoAuth
from nanogrid_gateway.api.gateway import Gateway
from nanogrid_gateway.api.limits import Limits
from nanogrid_gateway.api.routing import Handler
from nanogrid_gateway.api.settings import Settings
from nanogrid_gateway.counted import ContentFailedError, count_others
from nanogrid_gateway.metrics import CODES, METHODS, GatewayMetrics
from nanogrid_gateway.server.app import create_app
from support.routing.world import until
from support.scraping import Scrape, scrape_registry

COUNT = "nanogrid_gateway_request_seconds_count"
SETTINGS = Settings(namespace="team-a", s3_bucket="xxx", redis_url="redis://x")


class Parts(SimpleNamespace):
    """Any part of a gateway: what is not given raises when a handler uses it."""

    draining = False

    def request(self, transport: object) -> Any:
        """The exchange of a connection."""
        return nullcontext(SimpleNamespace(closing=True))


class Server:
    """An application with the metrics of a gateway, on a real socket."""

    def __init__(self) -> None:
        self.metrics = Metrics("gateway")
        self.own = GatewayMetrics(self.metrics)
        kube = Parts(namespace="team-a", jobs="/jobs", cluster=Parts())
        gateway: Any = Parts(
            settings=SETTINGS,
            kube=kube,
            auth=NoAuth(),
            limits=Limits(rate=1e6, burst=10**6, concurrent=10**6),
            feed=Parts(alive=True),
            metrics=self.own,
            **dict.fromkeys(("functions", "uploads", "bodies", "runs", "objects", "streams"), None),
            threads=None,
        )
        self.app = create_app(cast(Gateway, gateway), lambda: cast(Any, Parts()))
        self.url = URL()
        self.port = 0

    def scraped(self) -> Scrape:
        return scrape_registry(self.metrics.registry)

    async def sent(self, data: bytes) -> bytes:
        """The beginning of the answer to raw bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        async with asyncio.timeout(60):
            answer = await reader.read(65536)
        writer.close()
        return answer


@asynccontextmanager
async def serving(**handlers: Handler) -> AsyncIterator[Server]:
    server = Server()
    for name, handler in handlers.items():
        server.app.router.add_get(f"/{name}", handler)
    runner = web.AppRunner(
        server.app,
        handler_cancellation=True,
        access_log_class=count_others(server.own.answers),
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    server.url = URL(f"http://127.0.0.1:{server.port}")
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def a_client() -> AsyncIterator[ClientSession]:
    timeout = ClientTimeout(total=60)
    async with ClientSession(timeout=timeout, cookie_jar=DummyCookieJar()) as client:
        yield client


async def counted(server: Server, number: float) -> Scrape:
    """The metrics, once so many requests are counted."""
    await until(lambda: server.scraped().total(COUNT) >= number, f"{number:g} requests")
    scraped = server.scraped()
    assert scraped.total(COUNT) == number
    return scraped


def routes(app: web.Application) -> set[tuple[str, str]]:
    """Methods and patterns of all routes."""
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
    }


@pytest.mark.parametrize("everywhere", ["false", "true"])
async def test_every_route_counts_under_its_pattern(
    monkeypatch: pytest.MonkeyPatch, everywhere: str
) -> None:
    monkeypatch.setenv("NANOGRID_WEB_ALL_NAMESPACES", everywhere)
    async with serving() as server, a_client() as client:
        known = sorted(routes(server.app))
        assert len(known) > 40
        assert any("{namespace}" in pattern for _, pattern in known) == (everywhere == "true")

        async def call(method: str, pattern: str) -> None:
            url = server.url.with_path(re.sub(r"\{[^}]*\}", "some-value", pattern))
            async with client.request(method, url, allow_redirects=False) as answer:
                await answer.read()

        await asyncio.gather(*(call(*route) for route in known))
        scraped = await counted(server, len(known))

    found = {(each["method"], each["route"]) for each in scraped.labels(COUNT)}
    assert found == {(method, pattern.rstrip("/") or "/") for method, pattern in known}
    assert not any("some-value" in route for _, route in found)


async def test_ten_thousand_paths_have_one_label() -> None:
    """The names are of the routes and of other paths, with characters of all kinds."""
    random.seed(7)
    alphabet = "abc/.%20\u20ac{}\"\\\n'=,é;?#"
    prefixes = ("/", "/runs/", "/functions/", "/web/", "/web/runs/", "/x/")
    async with serving() as server, a_client() as client:
        for number in range(200):
            name = "".join(random.choices(alphabet, k=12)) + str(number)
            url = server.url.with_path(random.choice(prefixes) + name)
            async with client.get(url, allow_redirects=False) as answer:
                await answer.read()
        # The rest on one connection, without a client's work for each.
        paths = [f"/{'x' * (n % 7)}/{n}" for n in range(9_800)]
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for begin in range(0, len(paths), 100):
            some = paths[begin : begin + 100]
            writer.write(b"".join(f"HEAD {p} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for p in some))
            async with asyncio.timeout(60):
                for _ in some:
                    await reader.readuntil(b"\r\n\r\n")
        writer.close()
        scraped = await counted(server, 10_000)
        patterns = {pattern.rstrip("/") or "/" for _, pattern in routes(server.app)}

    assert {each["route"] for each in scraped.labels(COUNT)} <= patterns | {OTHER}
    assert scraped.number(COUNT, route=OTHER, method="HEAD", code="404") == 9_800


@pytest.mark.parametrize(
    "request_line",
    ["BREW /runs", "PROPFIND /runs", "get /runs", "TRACE /healthz", "CONNECT x:443"],
)
async def test_an_odd_method_is_other(request_line: str) -> None:
    async with serving() as server:
        await server.sent(f"{request_line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        scraped = await counted(server, 1)

    (labels,) = scraped.labels(COUNT)
    assert (labels["route"], labels["method"]) == (OTHER, OTHER)


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "400", "BadRequest"),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", "400", "BadRequest"),
        (b"GET /runs HTTP/1.1\r\nHost: x\r\nX" + b"x" * 9000 + b": 1\r\n\r\n", "400", "BadRequest"),
        (b"GET /runs HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400", "BadRequest"),
        (b"GET /runs HTTP/1.1\r\nHost: x\r\nExpect: a-unicorn\r\n\r\n", "417", "BadRequest"),
    ],
    ids=["TLS", "NUL", "long header", "length", "Expect"],
)
async def test_a_request_that_the_server_refuses_before_routing_counts(
    data: bytes, code: str, reason: str
) -> None:
    async with serving() as server:
        answer = await server.sent(data)
        scraped = await counted(server, 1)

    assert answer.split()[1].decode() == code
    assert {(each["route"], each["code"]) for each in scraped.labels(COUNT)} == {(OTHER, code)}
    assert scraped.number("nanogrid_gateway_refused_total", reason=reason) == 1


async def test_a_websocket_handshake_is_a_request_like_others() -> None:
    head = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    async with serving() as server:
        await server.sent((head + key).encode())
        scraped = await counted(server, 1)

    assert scraped.number(COUNT, route="/healthz", method="GET", code="200") == 1
    assert scraped.number("nanogrid_gateway_requests_in_flight") == 0


async def test_a_client_that_leaves_is_counted_and_no_longer_in_flight() -> None:
    entered = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(waits=waits) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(60):
            await entered.wait()
        assert server.scraped().number("nanogrid_gateway_requests_in_flight") == 1
        writer.transport.abort()
        scraped = await counted(server, 1)

    assert scraped.number(COUNT, route="/waits", method="GET", code="499") == 1
    assert scraped.number("nanogrid_gateway_requests_in_flight") == 0


async def test_a_content_that_fails_in_the_middle_is_a_fault_of_the_server() -> None:
    async def fails(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        raise ContentFailedError("the content failed")

    async with serving(fails=fails) as server:
        await server.sent(b"GET /fails HTTP/1.1\r\nHost: x\r\n\r\n")
        scraped = await counted(server, 1)

    assert scraped.number(COUNT, route="/fails", method="GET", code="500") == 1


def test_the_label_values_have_a_bound() -> None:
    metrics = Metrics("gateway")
    answers = GatewayMetrics(metrics).answers
    for code in (*range(100, 1000), 0, -1, 10**9):
        for method in (*METHODS, "BREW", "", "GET\n", "get"):
            answers.answered("/x", method, code, 0.1)
        answers.refused(f"reason {code}")
    answers.refused("RateLimited")

    scraped = scrape_registry(metrics.registry)
    assert len(scraped.labels(COUNT)) == (len(METHODS) + 1) * (len(CODES) + 1)
    found = {each["reason"] for each in scraped.labels("nanogrid_gateway_refused_total")}
    assert found == {OTHER, "RateLimited"}
