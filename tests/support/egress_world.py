"""An egress proxy on loopback, a server behind it, and clients that send CONNECT requests."""

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from nanogrid.egress_grant import Grant, password
from nanogrid.logs import LineFormatter
from nanogrid.metrics.registry import Metrics
from nanogrid.public_addresses import is_public
from nanogrid_gateway.egress.__main__ import serve
from nanogrid_gateway.egress.proxy import EgressProxy
from nanogrid_gateway.egress.resolve import Resolver
from nanogrid_gateway.egress.settings import EgressSettings
from nanogrid_gateway.metrics import EgressMetrics

KEY = "a key of sixteen characters"
LOOPBACK = "127.0.0.1"
WAIT_SECONDS = 60
NAME = "api.example.com"
GRANT = Grant(
    namespace="team-a",
    job="sales",
    uid="0b9c2f6e-4f0c-4a55-9f5e-0a4a5a1d2c11",
    hosts=(NAME, "*.example.org"),
    expires=1 << 40,
    request_id="order-1",
    attempt=1,
)
SETTINGS = EgressSettings(
    host=LOOPBACK, port=0, probe_port=0, key=KEY, drain_start_seconds=0.0, drain_seconds=0.0
)


def loopback_too(address: str) -> bool:
    """The policy of tests: a public address, or this machine."""
    return address == LOOPBACK or is_public(address)


class Names:
    """A DNS of the test: the addresses of each name, in the order of the lookups."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {NAME: [[LOOPBACK]]}
        self.asked: list[str] = []

    def lookup(self, host: str) -> list[str]:
        """The next answer; the last one stays."""
        self.asked.append(host)
        answers = self.answers.get(host)
        if answers is None:
            raise OSError("no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]


class Lines(logging.Handler):
    """The lines of the access log."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LineFormatter("json"))
        self.texts: list[str] = []
        self._more = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))
        self._more.set()

    async def next(self, number: int = 0) -> dict[str, Any]:
        """The line with this number, once it is there."""
        async with asyncio.timeout(WAIT_SECONDS):
            while len(self.texts) <= number:
                self._more.clear()
                await self._more.wait()
        found: dict[str, Any] = json.loads(self.texts[number])
        return found


@dataclass
class World:
    """The proxy, and what tests change."""

    names: Names
    log: Lines
    loopback: str = LOOPBACK
    port: int = 0
    probe_port: int = 0
    upstream_port: int = 0
    accepted: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    declared: Metrics = field(default_factory=lambda: Metrics("egress"))
    metrics: EgressMetrics = field(init=False)
    done: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        self.metrics = EgressMetrics(self.declared)

    def request(self, host: str = NAME, port: int | None = None, grant: Grant = GRANT) -> bytes:
        """A CONNECT request with the credentials of a grant."""
        secret = f"{grant.uid}:{password(KEY, grant)}".encode()
        target = f"{host}:{port or self.upstream_port}"
        lines = [
            f"CONNECT {target} HTTP/1.1",
            f"Host: {target}",
            f"Proxy-Authorization: Basic {base64.b64encode(secret).decode()}",
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the proxy."""
        return await asyncio.open_connection(self.loopback, self.port)

    async def tunnel(
        self, grant: Grant = GRANT, host: str = NAME
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """An open tunnel to the server."""
        reader, writer = await self.open()
        writer.write(self.request(host, grant=grant))
        async with asyncio.timeout(WAIT_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        return reader, writer

    async def answer(self, request: bytes) -> tuple[int, str]:
        """Status and reason of an answer without a tunnel, after which the proxy closes."""
        reader, writer = await self.open()
        writer.write(request)
        async with asyncio.timeout(WAIT_SECONDS):
            text = (await reader.read()).decode()
        writer.close()
        _, status, reason = text.partition("\r\n")[0].split(" ", 2)
        return int(status), reason


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes; ends when the other side has sent everything."""
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write(b"end")
    writer.close()


@contextlib.asynccontextmanager
async def egress_world(
    is_allowed: Callable[[str], bool] = loopback_too,
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any] = echo,
    lookup: Callable[[str], list[str]] | None = None,
    loopback: str = LOOPBACK,
    clock: Callable[[], float] | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """A running proxy, and a server at ``loopback``; keywords are the proxy's settings."""
    world = World(Names(), Lines(), loopback)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        world.accepted += 1
        await handler(reader, writer)

    logger = logging.getLogger("nanogrid.egress.access")
    logger.addHandler(world.log)
    logger.setLevel(logging.INFO)
    upstream = await asyncio.start_server(accepted, loopback, 0)
    world.upstream_port = upstream.sockets[0].getsockname()[1]
    chosen = replace(SETTINGS, **settings)
    resolver = Resolver(chosen.resolve_seconds, lookup or world.names.lookup)
    more: dict[str, Any] = {"clock": clock} if clock else {}
    proxy = EgressProxy(
        chosen, resolver, is_allowed, world.metrics, port=world.upstream_port, **more
    )
    ready = asyncio.Event()

    def listening(port: int, probe_port: int) -> None:
        world.port, world.probe_port = port, probe_port
        ready.set()

    world.done = asyncio.create_task(serve(chosen, proxy, world.metrics, world.stop, listening))
    try:
        await ready.wait()
        yield world
    finally:
        world.stop.set()
        await world.done
        upstream.close()
        resolver.close()
        logger.removeHandler(world.log)
