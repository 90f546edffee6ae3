"""Router processes and real agents: what the router forwards, streams and refuses."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from nanogrid import names
from support.routing.kube import PODS
from support.routing.world import HOST, KEY, FakeSession, Router, World, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.security]


async def test_request_reaches_its_agent_with_query_body_and_session_token(
    routing: World,
    router: Router,
) -> None:
    session = await routing.ready(router, "one")
    async with routing.client.post(
        URL(f"{router.url}{session.path}/execute?a=1&b=%2F..%2f", encoded=True),
        data=b"print(1)",
        headers={
            **session.auth,
            "Cookie": "theirs=1; nanogrid_session=x; more=2",
            "Connection": "keep-alive, X-Hop",
            "X-Hop": "no",
            "X-Kept": "yes",
        },
    ) as answer:
        assert answer.status == 200
        got = await answer.json()
        guard = answer.headers["Content-Security-Policy"]
    assert got["session_id"] == session.agent.session_id
    assert (got["method"], got["path"]) == ("POST", "/execute?a=1&b=%2F..%2f")
    assert got["body"] == "print(1)"
    sent = got["headers"]
    assert sent["Authorization"] == f"Bearer {session.token}"
    assert "Cookie" not in sent
    assert sent["X-Kept"] == "yes"
    assert "X-Hop" not in sent
    assert sent["X-Forwarded-For"] == HOST
    assert sent["X-Forwarded-Prefix"] == session.path
    assert guard == "sandbox"
    assert sent["Content-Length"] == "8"


async def test_a_router_on_all_addresses_and_a_pod_with_an_ipv6_address(routing: World) -> None:
    router = await routing.router(NANOGRID_HOST="")
    session = await routing.session("six")
    # An IPv6 socket connects to this form of the agent's address.
    await routing.kube.put(PODS, session.pod(ip=f"::ffff:{session.agent.ip}"))
    await routing.reaches(router, f"{session.path}/known", 200, session.auth)
    for host, client in (("[::1]", "::1"), (HOST, HOST)):
        url = f"http://{host}:{router.endpoint.port}{session.path}/six"
        async with routing.client.get(url, headers=session.auth) as answer:
            assert answer.status == 200
            sent = (await answer.json())["headers"]
        assert sent["X-Forwarded-For"] == client
        assert sent["X-Forwarded-Host"] == f"{host}:{router.endpoint.port}"
        assert sent["Host"] == f"[::ffff:{session.agent.ip}]:{names.SESSION_PORT}"


async def test_unknown_session_and_wrong_token_get_the_same_answer(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "one")
    other = await routing.ready(router, "two")
    seen = session.agent.seen.total()
    answers = [
        await routing.get(router, path, headers)
        for path, headers in [
            (f"{session.path}/x", None),
            (f"{session.path}/x", {"Authorization": "Bearer ngs_wrong"}),
            (f"{session.path}/x", {"Authorization": "Basic abc"}),
            (f"{session.path}/health", other.auth),
            ("/sessions/team-a/unknown/x", other.auth),
            ("/sessions/team-a/unknown/health", None),
            ("/sessions/UPPER/x", other.auth),
            ("/sessions", other.auth),
            (f"{session.path}/../{other.name}/x", other.auth),
        ]
    ]
    assert {status for status, _ in answers} == {401}
    assert len({json.dumps(body) for _, body in answers}) == 1
    assert answers[0][1]["error"]["reason"] == "Unauthorized"
    assert session.agent.seen.total() == seen
    assert (await routing.get(router, f"{session.path}/x", session.auth))[0] == 200


async def test_events_arrive_one_by_one(routing: World, router: Router) -> None:
    session = await routing.ready(router, "one")
    url = f"{router.url}{session.path}/stream?count=2"
    async with routing.client.get(url, headers=session.auth) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        first = await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 60)
        assert first == f"data: {session.agent.session_id} 0\n\n".encode()
        session.agent.gate.set()  # only now the agent sends the second event
        assert await answer.content.read() == f"data: {session.agent.session_id} 1\n\n".encode()


async def test_stream_ends_at_the_agent_when_the_client_disconnects(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "one")
    url = f"{router.url}{session.path}/stream?count=100000&gap=0.01"
    answer = await routing.client.get(url, headers=session.auth)
    await answer.content.readuntil(b"\n\n")
    assert session.agent.open_streams == 1
    answer.close()
    await until(lambda: session.agent.open_streams == 0, "the agent's stream ends")


async def test_large_upload_is_streamed_completely_and_unchanged(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "one")
    block = bytes(range(256)) * 4096  # 1 MiB
    digest = hashlib.sha256(block * 48).hexdigest()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(48):
            yield block

    # The body is not gzip: a router that decompressed it would fail.
    headers = {**session.auth, "Content-Encoding": "gzip", "Expect": "100-continue"}
    url = f"{router.url}{session.path}/files/big"
    async with routing.client.put(url, data=body(), headers=headers) as answer:
        assert await answer.json() == {"bytes": 48 << 20, "sha256": digest}


async def test_slow_body_is_forwarded_as_it_arrives(routing: World, router: Router) -> None:
    session = await routing.ready(router, "one")
    agent, seen = session.agent, asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"a" * 1000
        await seen.wait()
        yield b"b"

    url = f"{router.url}{session.path}/files/slow"
    upload = asyncio.create_task(_put(routing, url, session, body()))
    await until(lambda: agent.received_bytes == 1000, "the first part arrives before the second")
    seen.set()
    assert (await upload)[0] == 200
    assert agent.received_bytes == 1001


async def _put(
    routing: World, url: str, session: FakeSession, data: AsyncIterator[bytes] | bytes
) -> tuple[int, Any]:
    async with routing.client.put(url, data=data, headers=session.auth) as answer:
        return answer.status, await answer.json()


async def test_stalled_body_is_408(routing: World) -> None:
    session = await routing.session("one")
    router = await routing.router(NANOGRID_IDLE_TIMEOUT_SECONDS="0.5")
    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        await never.wait()

    url = f"{router.url}{session.path}/files/slow"
    status, got = await _put(routing, url, session, body())
    assert (status, got["error"]["reason"]) == (408, "BadRequest")


async def test_body_above_the_limit_is_refused_with_or_without_a_length(routing: World) -> None:
    session = await routing.session("one")
    router = await routing.router(NANOGRID_MAX_BODY_BYTES="1000")
    url = f"{router.url}{session.path}/files/big"

    async def chunked(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 10):
            yield b"x" * 10

    assert (await _put(routing, url, session, b"x" * 1000))[0] == 200
    assert (await _put(routing, url, session, chunked(1000)))[0] == 200
    before = session.agent.seen["PUT /files/big"]
    status, got = await _put(routing, url, session, b"x" * 1001)
    assert (status, got["error"]["reason"]) == (413, "FileTooLarge")
    assert session.agent.seen["PUT /files/big"] == before
    assert (await _put(routing, url, session, chunked(1010)))[0] == 413


async def test_large_download_is_not_buffered_in_the_router(routing: World, router: Router) -> None:
    session = await routing.ready(router, "one")
    url = f"{router.url}{session.path}/large?mebibytes=200"
    size = 0
    peak_before = _memory(router, "VmHWM")
    async with routing.client.get(url, headers=session.auth) as answer:
        async for chunk in answer.content.iter_any():
            if not size:
                # The client pauses: the data must wait at the agent.
                await asyncio.sleep(0.5)
            size += len(chunk)
    assert size == 200 << 20
    assert _memory(router, "VmHWM") - peak_before < 30 << 10


def _memory(router: Router, field: str) -> int:
    """A field of the process status, in KiB."""
    lines = Path(f"/proc/{router.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


async def test_redirects_go_through_the_router(routing: World, router: Router) -> None:
    session = await routing.ready(router, "one")
    for path in ("/redirect", "/redirect?own"):
        async with routing.client.get(
            router.url + session.path + path, headers=session.auth, allow_redirects=False
        ) as answer:
            assert answer.status == 302
            assert answer.headers["Location"] == f"{session.path}/files/a?b=c"


async def test_head_keeps_the_length_and_has_no_body(routing: World, router: Router) -> None:
    session = await routing.ready(router, "one")
    async with routing.client.head(f"{router.url}{session.path}/x", headers=session.auth) as answer:
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 10
        assert await answer.read() == b""


async def test_access_log_has_one_line_per_request_and_no_token(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "one")
    await routing.get(router, f"{session.path}/secret-free?token={session.token}", session.auth)
    await routing.get(router, f"{session.path}/a%0Ab", session.auth)
    # The router logs after the response.
    await until(lambda: "/a%0Ab" in router.log.read_text(), "the second request is logged")
    log = router.log.read_text()
    assert log.count("/secret-free") == 1
    assert session.token not in log
    assert KEY not in log
