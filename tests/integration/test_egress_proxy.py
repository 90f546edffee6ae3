"""The egress proxy with real sockets: what opens a tunnel, what does not, and its limits."""

import asyncio
import base64
import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from nanogrid.egress_grant import password, proxy_url
from nanogrid.public_addresses import is_public
from support.egress_world import GRANT, KEY, LOOPBACK, NAME, WAIT_SECONDS, World, egress_world

pytestmark = pytest.mark.security

SECRET = password(KEY, GRANT)
NEIGHBOUR = replace(GRANT, namespace="team-b", uid="neighbour")


async def closed(reader: asyncio.StreamReader) -> bytes:
    """What still comes until the proxy closes the connection."""
    async with asyncio.timeout(WAIT_SECONDS):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b"reset"


async def test_a_tunnel_carries_bytes_both_ways_and_closes_half() -> None:
    async with egress_world() as world:
        reader, writer = await world.tunnel()
        sent = os.urandom(3 << 20)

        async def send() -> None:
            writer.write(sent)
            await writer.drain()
            writer.write_eof()

        _, received = await asyncio.gather(send(), closed(reader))
        assert received == sent + b"end"  # the server answers after the client's end
        writer.close()
        line = await world.log.next()
    of_line = dict.fromkeys(("time", "level", "component", "logger", "message"))
    assert {name: value for name, value in line.items() if name not in of_line} == {
        "namespace": "team-a",
        "job": "sales",
        "uid": GRANT.uid,
        "requestId": "order-1",
        "attempt": 1,
        "host": NAME,
        "outcome": "allowed",
        "status": 200,
        "reason": "closed",
        "address": LOOPBACK,
        "bytesUp": len(sent),
        "bytesDown": len(sent) + 3,
        "millis": line["millis"],
        "client": LOOPBACK,
    }


async def test_bytes_that_follow_the_request_at_once_are_not_lost() -> None:
    async with egress_world() as world:
        reader, writer = await world.open()
        writer.write(world.request() + b"early")
        writer.write_eof()
        answer = await closed(reader)
    assert answer.partition(b"\r\n\r\n")[2] == b"earlyend"


async def test_a_real_client_uses_the_url_of_the_operator() -> None:
    async with egress_world() as world:

        def fetch(url: str, host: str) -> str:
            proxy = urllib.request.ProxyHandler({"https": url})
            opener = urllib.request.build_opener(proxy)
            try:
                opener.open(f"https://{host}:{world.upstream_port}/", timeout=WAIT_SECONDS)
            except urllib.error.URLError as e:
                return str(e.reason)
            return "opened"

        base = f"http://{LOOPBACK}:{world.port}"
        good = proxy_url(base, KEY, GRANT)
        # The server echoes the TLS handshake, so TLS fails, inside the tunnel.
        assert "SSL" in await asyncio.to_thread(fetch, good, NAME)
        denied = await asyncio.to_thread(fetch, good, "evil.example.com")
        assert "403 Denied: the name is not in network.hosts of the job" in denied
        assert "407" in await asyncio.to_thread(fetch, base, NAME)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "x.api.example.com",
        "example.org",
        "evilexample.org",
        "api.example.com.evil.net",
        "api.example.com.",
        "a.example.org.",
        ".example.org",
        "a..example.org",
        "-.example.org",
        "localhost",
        LOOPBACK,
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "169.254.169.254",
    ],
)
async def test_a_name_outside_the_allow_list_is_denied(host: str) -> None:
    async with egress_world() as world:
        status, reason = await world.answer(world.request(host))
        line = await world.log.next()
        assert (status, reason[:6]) == (403, "Denied")
        assert (line["host"], line["outcome"], line["reason"]) == (host, "denied", reason)
        assert (line["namespace"], line["uid"]) == ("team-a", GRANT.uid)
        assert (world.names.asked, world.accepted) == ([], 0)
        (await world.tunnel())[1].close()  # the positive control
        (await world.tunnel(host=NAME.upper()))[1].close()


async def test_only_one_port_is_allowed() -> None:
    async with egress_world() as world:
        for port in (22, 80, 8443):
            assert (await world.answer(world.request(port=port)))[0] == 403
        assert (await world.log.next())["reason"].startswith("Denied: only port")
        (await world.tunnel())[1].close()


def credentials(text: str) -> bytes:
    encoded = base64.b64encode(text.encode()).decode()
    return f"Proxy-Authorization: Basic {encoded}\r\n\r\n".encode()


@pytest.mark.parametrize(
    "ending",
    [
        b"\r\n",
        credentials(""),
        credentials(f"{GRANT.uid}:"),
        credentials(f"{GRANT.uid}:{SECRET}x"),
        credentials(f"another:{SECRET}"),
        credentials(f"{GRANT.uid}:{password('another key of 16 characters', GRANT)}"),
        credentials(f"{GRANT.uid}:{password(KEY, replace(GRANT, expires=1000))}"),
    ],
)
async def test_without_valid_credentials_there_is_no_tunnel(ending: bytes) -> None:
    async with egress_world() as world:
        target = f"CONNECT {NAME}:{world.upstream_port} HTTP/1.1\r\n".encode()
        assert (await world.answer(target + ending))[0] == 407
        line = await world.log.next()
        assert "namespace" not in line, "nothing proves which job it is"
        assert "uid" not in line
        assert line["outcome"] == "denied"
        assert (world.names.asked, world.accepted) == ([], 0)
        good = target + credentials(f"{GRANT.uid}:{SECRET}")
        reader, writer = await world.open()
        writer.write(good)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_the_log_has_no_credentials() -> None:
    async with egress_world() as world:
        wrong = replace(GRANT, expires=1000)
        for request in (
            world.request(),
            world.request("evil.net"),
            world.request(grant=wrong),
            b"CONNECT x\r\n" + world.request(),
        ):
            reader, writer = await world.open()
            writer.write(request)
            writer.write_eof()
            await closed(reader)
            writer.close()
        await world.log.next(3)
        text = "\n".join(world.log.texts)
        for grant in (GRANT, wrong):
            payload, _, signature = password(KEY, grant).partition(".")
            assert payload not in text
            assert signature not in text
        assert GRANT.uid in text  # the positive control


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 405),
        (b"GET http://api.example.com/ HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (b"CONNECT a.b:443 HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
    ],
)
async def test_a_malformed_head_is_answered(request_text: bytes, status: int) -> None:
    async with egress_world() as world:
        assert (await world.answer(request_text))[0] == status


async def test_an_unfinished_head_is_answered_in_time() -> None:
    async with egress_world(read_seconds=0.5) as world:
        assert (await world.answer(b"CONNECT api.example"))[0] == 408
        reader, writer = await world.open()
        assert await closed(reader) == b""
        writer.close()
        (await world.tunnel())[1].close()


@pytest.mark.parametrize(
    "addresses",
    [
        [LOOPBACK],
        ["10.96.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["fd00:ec2::254"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["8.8.8.8", LOOPBACK],
        ["2606:4700::1111", "8.8.8.8", "192.168.0.1"],
    ],
)
async def test_a_name_with_an_address_that_is_not_public_is_denied(addresses: list[str]) -> None:
    async with egress_world(is_public) as world:
        world.names.answers[NAME] = [addresses]
        status, reason = await world.answer(world.request())
        line = await world.log.next()
        assert (status, line["outcome"]) == (403, "denied")
        assert "not public" in reason
        assert not any(address in reason for address in addresses)
        assert line["address"] in addresses
        assert world.accepted == 0


async def test_the_same_name_is_allowed_where_its_address_is() -> None:
    async with egress_world() as world:
        (await world.tunnel())[1].close()
        assert world.accepted == 1


async def test_a_tunnel_over_ipv6() -> None:
    """The proxy listens on all addresses; the name has an address of IPv6 only."""
    async with egress_world(
        is_allowed=lambda address: address == "::1", loopback="::1", host=""
    ) as world:
        world.names.answers[NAME] = [["::1"]]
        reader, writer = await world.tunnel()
        writer.write(b"over IPv6")
        writer.write_eof()
        assert await closed(reader) == b"over IPv6end"
        writer.close()
        line = await world.log.next()
        assert (line["client"], line["address"]) == ("::1", "::1")

        world.loopback = LOOPBACK
        reader, writer = await world.tunnel()
        writer.close()
        assert (await world.log.next(1))["client"] == LOOPBACK


async def test_a_name_that_changes_its_address_is_resolved_once() -> None:
    checked: list[str] = []

    def first_only(address: str) -> bool:
        checked.append(address)
        return address == "127.0.0.2"

    async with egress_world(first_only, connect_seconds=2.0) as world:
        # The first answer is allowed. The second one, which is not, is never asked for.
        world.names.answers[NAME] = [["127.0.0.2"], [LOOPBACK]]
        assert (await world.answer(world.request()))[0] == 502  # nothing listens there
        assert (world.names.asked, checked, world.accepted) == ([NAME], ["127.0.0.2"], 0)
        assert (await world.answer(world.request()))[0] == 403


async def test_the_next_address_is_tried() -> None:
    async with egress_world(lambda _: True) as world:
        world.names.answers[NAME] = [["127.0.0.2", LOOPBACK]]
        (await world.tunnel())[1].close()
        assert (await world.log.next())["address"] == LOOPBACK


async def test_an_unknown_name_is_a_bad_gateway() -> None:
    async with egress_world() as world:
        world.names.answers.clear()
        assert await world.answer(world.request()) == (502, "The name cannot be resolved")
        assert (await world.log.next())["outcome"] == "failed"


async def test_slow_names_of_one_job_do_not_delay_another() -> None:
    release = threading.Event()

    def lookup(host: str) -> list[str]:
        if host != NAME:
            release.wait(30)
        return [LOOPBACK]

    async with egress_world(lookup=lookup, resolve_seconds=2.0) as world:
        slow = [
            asyncio.create_task(world.answer(world.request(f"n{n}.example.org"))) for n in range(80)
        ]
        other = replace(GRANT, uid="another")
        try:
            (await world.tunnel(other))[1].close()
            assert not any(task.done() for task in slow)
            assert {status for status, _ in await asyncio.gather(*slow)} == {504}
            # The threads of the job still wait, so its next lookup gets no turn.
            assert (await world.answer(world.request()))[0] == 504
        finally:
            release.set()


async def test_slow_names_of_many_jobs_do_not_delay_another_namespace() -> None:
    release = threading.Event()

    def lookup(host: str) -> list[str]:
        if host != NAME:
            release.wait(30)
        return [LOOPBACK]

    jobs = [replace(GRANT, uid=f"job-{number}") for number in range(8)]
    async with egress_world(lookup=lookup, resolve_seconds=2.0) as world:
        requests = [world.request(f"n{n}.example.org", grant=jobs[n % 8]) for n in range(64)]
        slow = [asyncio.create_task(world.answer(request)) for request in requests]
        try:
            (await world.tunnel(NEIGHBOUR))[1].close()
            assert not any(task.done() for task in slow)
            assert (await world.answer(world.request()))[0] == 504, "it is in that namespace"
            await asyncio.gather(*slow)
        finally:
            release.set()


async def test_a_namespace_has_a_limit_of_tunnels_and_others_have_their_own() -> None:
    async with egress_world(max_tunnels_per_namespace=6) as world:
        held = [await world.tunnel(replace(GRANT, uid=f"job-{n % 3}")) for n in range(6)]
        fresh = world.request(grant=replace(GRANT, uid="job-3"))
        assert await world.answer(fresh) == (429, "The namespace has too many tunnels")
        held.append(await world.tunnel(NEIGHBOUR))
        for _, writer in held:
            writer.close()


async def test_a_job_has_a_limit_of_tunnels_and_others_have_their_own() -> None:
    async with egress_world(max_tunnels_per_job=3) as world:
        held = [await world.tunnel() for _ in range(3)]
        assert (await world.answer(world.request()))[0] == 429
        (await world.tunnel(replace(GRANT, uid="another")))[1].close()
        reader, writer = held.pop()
        writer.write_eof()
        assert await closed(reader) == b"end"
        writer.close()
        await world.log.next(2)
        (await world.tunnel())[1].close()
        for _, writer in held:
            writer.close()


async def test_connections_have_a_limit_and_waiting_ones_make_room() -> None:
    async with egress_world(max_connections=6, max_connections_per_address=5) as world:
        held = [await world.tunnel() for _ in range(4)]
        waiting, waiter = await world.open()
        last = await world.tunnel()
        assert await closed(waiting) in (b"", b"reset")
        reader, writer = await world.open()
        assert (await closed(reader)).startswith(b"HTTP/1.1 429 ")
        for each in (waiter, writer, last[1], *(w for _, w in held)):
            each.close()


async def test_a_silent_tunnel_ends() -> None:
    async with egress_world(idle_seconds=1.5) as world:
        reader, writer = await world.tunnel()
        for _ in range(10):  # longer than the limit, but never silent for so long
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            await asyncio.sleep(0.2)
        assert await closed(reader) in (b"", b"reset")
        writer.close()
        line = await world.log.next()
        assert (line["reason"], line["bytesUp"]) == ("idle for too long", 10)


@pytest.mark.parametrize("by", ["setting", "credentials"])
async def test_a_tunnel_has_a_longest_life(by: str) -> None:
    now = 1000.0
    expires = int(now) + (1 if by == "credentials" else 1000)
    seconds = 1.0 if by == "setting" else 1000.0
    async with egress_world(clock=lambda: now, tunnel_seconds=seconds) as world:
        reader, writer = await world.tunnel(replace(GRANT, expires=expires))

        async def talk() -> None:
            with contextlib.suppress(OSError):
                while not reader.at_eof():
                    writer.write(b"x")
                    await asyncio.sleep(0.05)

        talking = asyncio.create_task(talk())
        await closed(reader)
        await talking
        writer.close()
        line = await world.log.next()
        assert (line["reason"], line["bytesUp"] > 3) == ("open for too long", True)


async def test_a_side_that_reads_slowly_makes_the_other_wait() -> None:
    sent = 0
    finished = asyncio.Event()

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(OSError):
            while sent < 256 << 20:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
        writer.close()
        finished.set()

    async with egress_world(handler=pour, idle_seconds=1.5) as world:
        _, writer = await world.tunnel()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        line = await world.log.next()  # the tunnel is idle, although the server wants to send
        assert line["reason"] == "idle for too long"
        await asyncio.wait_for(finished.wait(), WAIT_SECONDS)
        assert sent < 64 << 20  # buffers of the kernel and of the proxy
        writer.close()


async def test_a_server_that_leaves_ends_the_tunnel() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        now = struct.pack("ii", 1, 0)  # a reset, and no orderly end
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        writer.close()

    async with egress_world(handler=leave) as world:
        reader, writer = await world.tunnel()
        writer.write(b"x" * 100)
        assert await closed(reader) in (b"", b"reset")
        writer.close()
        assert (await world.log.next())["reason"] == "connection lost"


async def probe(world: World, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(LOOPBACK, world.probe_port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await closed(reader)
    writer.close()
    return answer.split(b" ")[1]


async def test_a_stopping_proxy_serves_its_tunnels_and_then_ends_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with egress_world(drain_start_seconds=2.0, drain_seconds=2.0) as world:
        assert (await probe(world, "/readyz"), await probe(world, "/healthz")) == (b"200", b"200")
        reader, writer = await world.tunnel()
        world.stop.set()
        async with asyncio.timeout(WAIT_SECONDS):
            while await probe(world, "/readyz") != b"503":
                pass
        assert await probe(world, "/healthz") == b"200"
        late, late_writer = await world.tunnel()  # the Service has not noticed yet
        for used, user in ((reader, writer), (late, late_writer)):
            user.write(b"x")
            assert await used.readexactly(1) == b"x"
        late_writer.write_eof()
        assert await closed(late) == b"end"
        assert await closed(reader) in (b"", b"reset")
        assert world.done is not None
        await asyncio.wait_for(asyncio.shield(world.done), WAIT_SECONDS)
        with pytest.raises(OSError, match="Connect call failed"):
            await world.open()
        reasons = {(await world.log.next(n))["reason"] for n in range(2)}
        assert reasons == {"closed", "the proxy stops"}
        assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
        for each in (writer, late_writer):
            each.close()


def test_the_process_stops_on_sigterm() -> None:
    env = os.environ | {
        "NANOGRID_EGRESS_KEY": KEY,
        "NANOGRID_HOST": LOOPBACK,
        "NANOGRID_PORT": "0",
        "NANOGRID_PROBE_PORT": "0",
        "NANOGRID_DRAIN_START_SECONDS": "0",
    }
    command = [sys.executable, "-m", "nanogrid_gateway.egress"]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "listening on port" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0
