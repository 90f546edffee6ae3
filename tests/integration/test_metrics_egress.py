"""The metrics of an egress proxy: exact values after known connections."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from nanogrid.public_addresses import is_public
from support.egress_world import GRANT, KEY, LOOPBACK, NAME, WAIT_SECONDS, World, egress_world
from support.routing.world import until
from support.s3_server import free_port
from support.scraping import Scrape, scrape_port, scrape_registry
from support.waiting import wait_until

OPEN = "nanogrid_egress_connections_open"
TOTAL = "nanogrid_egress_connections_total"
REFUSED = "nanogrid_egress_refused_total"
BYTES = "nanogrid_egress_bytes_total"


def scraped(world: World) -> Scrape:
    return scrape_registry(world.declared.registry)


async def reaches(world: World, value: float, name: str, **labels: str) -> None:
    await until(lambda: scraped(world).number(name, **labels) == value, f"{name} {labels} {value}")


def outcomes(world: World) -> dict[str, float]:
    """The connections by outcome, without those that have none."""
    found = scraped(world)
    each = {labels["outcome"]: found.number(TOTAL, **labels) for labels in found.labels(TOTAL)}
    return {outcome: value for outcome, value in each.items() if value}


def refusals(world: World) -> dict[str, float]:
    """The refusals by reason, without those that have none."""
    found = scraped(world)
    each = {labels["reason"]: found.number(REFUSED, **labels) for labels in found.labels(REFUSED)}
    return {reason: value for reason, value in each.items() if value}


async def test_a_tunnel_counts_when_it_opens_and_its_bytes_when_they_pass() -> None:
    async with egress_world() as world:
        reader, writer = await world.tunnel()
        assert outcomes(world) == {"allowed": 1}
        assert scraped(world).number(OPEN) == 1
        writer.write(b"x" * 1000)
        async with asyncio.timeout(WAIT_SECONDS):
            await reader.readexactly(1000)
        await reaches(world, 1000, BYTES, direction="up")
        await reaches(world, 1000, BYTES, direction="down")
        assert scraped(world).number(OPEN) == 1  # the tunnel is still open
        writer.write_eof()
        async with asyncio.timeout(WAIT_SECONDS):
            assert await reader.read() == b"end"
        writer.close()
        await reaches(world, 0, OPEN)
        await reaches(world, 1003, BYTES, direction="down")
        assert (outcomes(world), refusals(world)) == ({"allowed": 1}, {})


@pytest.mark.parametrize(
    ("host", "port", "reason"),
    [
        ("evil.example.com", None, "HostNotAllowed"),
        ("localhost", None, "HostNotAllowed"),
        (NAME, 22, "PortNotAllowed"),
    ],
)
async def test_what_a_job_may_not_reach_is_denied(host: str, port: int | None, reason: str) -> None:
    async with egress_world() as world:
        assert (await world.answer(world.request(host, port)))[0] == 403
        await reaches(world, 1, TOTAL, outcome="denied")
        assert (outcomes(world), refusals(world)) == ({"denied": 1}, {reason: 1})


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [
        (b"GARBAGE\r\n\r\n", 400, "Malformed"),
        (b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n", 400, "Malformed"),
        (b"CONNECT a.b:443 HTTP/1.1\r\nbad\x00header: 1\r\n\r\n", 400, "Malformed"),
        (b"GET http://example.com/ HTTP/1.1\r\n\r\n", 405, "MethodNotAllowed"),
        (b"CONNECT a.b:443 HTTP/1.1\r\n\r\n", 407, "Unauthorized"),
        (b"CONNECT a.b:443 HTTP/1.1\r\nX: " + b"x" * 40_000, 431, "HeadTooLarge"),
    ],
    ids=["garbage", "target", "header", "method", "credentials", "long head"],
)
async def test_requests_that_cannot_be_served(data: bytes, status: int, reason: str) -> None:
    async with egress_world() as world:
        assert (await world.answer(data))[0] == status
        await reaches(world, 1, TOTAL, outcome="denied")
        assert (outcomes(world), refusals(world)) == ({"denied": 1}, {reason: 1})


async def test_names_that_cannot_be_reached_failed() -> None:
    async with egress_world(is_allowed=is_public) as world:
        assert (await world.answer(world.request()))[0] == 403
        await reaches(world, 1, TOTAL, outcome="denied")
        assert refusals(world) == {"AddressNotPublic": 1}
        assert (await world.answer(world.request("x.example.org")))[0] == 502
        await reaches(world, 1, TOTAL, outcome="failed")
        assert refusals(world) == {"AddressNotPublic": 1, "DnsFailed": 1}
    async with egress_world(is_allowed=lambda address: True) as world:
        world.names.answers["y.example.org"] = [["127.0.0.9"]]  # nothing listens there
        assert (await world.answer(world.request("y.example.org")))[0] == 502
        await reaches(world, 1, TOTAL, outcome="failed")
        assert refusals(world) == {"ConnectFailed": 1}
    ended = threading.Event()

    def lookup(host: str) -> list[str]:
        ended.wait(WAIT_SECONDS)
        return []

    async with egress_world(lookup=lookup, resolve_seconds=0.1) as world:
        assert (await world.answer(world.request()))[0] == 504
        ended.set()
        await reaches(world, 1, TOTAL, outcome="failed")
        assert refusals(world) == {"DnsTimeout": 1}


async def test_limits_of_tunnels_and_connections() -> None:
    async with egress_world(max_tunnels_per_job=1, max_connections=2) as world:
        _, first = await world.tunnel()
        assert (await world.answer(world.request()))[0] == 429
        await reaches(world, 1, REFUSED, reason="TooManyTunnels")
        neighbour = replace(GRANT, uid="neighbour")
        await reaches(world, 1, OPEN)
        _, second = await world.tunnel(neighbour)
        assert (await world.answer(world.request()))[0] == 429
        await reaches(world, 1, REFUSED, reason="TooManyConnections")
        assert outcomes(world) == {"allowed": 2, "denied": 2}
        first.close()
        second.close()


async def test_clients_without_a_request() -> None:
    async with egress_world(read_seconds=0.5) as world:
        _, writer = await world.open()
        writer.close()
        await reaches(world, 1, TOTAL, outcome="no_request")
        assert (await world.answer(b"CONNECT a"))[0] == 408
        await reaches(world, 1, REFUSED, reason="TooSlow")
        await reaches(world, 2, TOTAL, outcome="no_request")


async def test_ten_thousand_names_make_no_new_series() -> None:
    async with egress_world() as world:
        before = len(scraped(world).samples)
        hosts = [f"name-{number}.example.com" for number in range(10_000)]
        for begin in range(0, 10_000, 50):
            asked = hosts[begin : begin + 50]
            found = await asyncio.gather(*(world.answer(world.request(host)) for host in asked))
            assert {status for status, _ in found} == {403}
        await reaches(world, 10_000, REFUSED, reason="HostNotAllowed")
        assert len(scraped(world).samples) == before


@contextmanager
def a_process(**settings: Any) -> Iterator[subprocess.Popen[str]]:
    env = os.environ | {
        "NANOGRID_EGRESS_KEY": KEY,
        "NANOGRID_HOST": LOOPBACK,
        "NANOGRID_DRAIN_START_SECONDS": "0",
        **{f"NANOGRID_{name.upper()}": str(value) for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "nanogrid_gateway.egress"]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_process_serves_its_metrics_on_their_own_port_only() -> None:
    port, probe_port, metrics_port = free_port(), free_port(), free_port()
    ports = {"port": port, "probe_port": probe_port, "metrics_port": metrics_port}
    with a_process(**ports) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert next(line for line in lines if f"listening on port {port}" in line)

        def answer(to: int) -> bytes:
            with socket.create_connection((LOOPBACK, to), WAIT_SECONDS) as client:
                client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                return client.recv(100)

        assert b" 405 " in answer(port)
        assert b"nanogrid" not in answer(probe_port)
        wait_until(
            lambda: scrape_port(metrics_port).number(REFUSED, reason="MethodNotAllowed") == 1
        )
        found = scrape_port(metrics_port)
        assert found.total("nanogrid_build_info", component="egress") == 1
        assert found.value(TOTAL, outcome="allowed") == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0


def test_a_port_that_is_in_use_is_a_wrong_setting() -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with a_process(port=0, probe_port=0, metrics_port=port) as process:
            assert process.stderr is not None
            text = process.stderr.read()
            assert process.wait(WAIT_SECONDS) == 2
    assert f"a setting is wrong: NANOGRID_METRICS_PORT is {port}: cannot listen" in text
    assert "Traceback" not in text
