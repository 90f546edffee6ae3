"""Router processes before real agents: what goes through, and how, and what does not."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from routing.kube import PODS
from routing.world import HOST, KEY, Router, Session, World, until, world

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def around(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("router")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def router(around: World) -> Router:
    """The router that tests share which need no settings of their own."""
    return await around.router()


async def get(
    around: World, router: Router, path: str, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    async with around.client.get(
        URL(router.url + path, encoded=True), headers=headers, allow_redirects=False
    ) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text.startswith("{") else text


async def test_request_reaches_its_agent_with_query_body_and_the_sessions_own_token(
    around: World,
    router: Router,
) -> None:
    session = await around.ready(router, "one")
    async with around.client.post(
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
    assert sent["Cookie"] == "theirs=1; more=2"
    assert sent["X-Kept"] == "yes"
    assert "X-Hop" not in sent
    assert sent["X-Forwarded-For"] == HOST
    assert sent["X-Forwarded-Prefix"] == session.path
    assert guard == "sandbox"
    assert sent["Content-Length"] == "8"


async def test_unknown_session_and_wrong_token_get_the_same_answer(
    around: World, router: Router
) -> None:
    session = await around.ready(router, "one")
    other = await around.ready(router, "two")
    seen = session.agent.seen.total()
    answers = [
        await get(around, router, path, headers)
        for path, headers in [
            (f"{session.path}/x", None),
            (f"{session.path}/x", {"Authorization": "Bearer ngs_wrong"}),
            (f"{session.path}/x", {"Authorization": "Basic abc"}),
            (f"{session.path}/health", other.auth),
            ("/sessions/team-a/nobody/x", other.auth),
            ("/sessions/team-a/nobody/health", None),
            ("/sessions/UPPER/x", other.auth),
            ("/sessions", other.auth),
            (f"{session.path}/../{other.name}/x", other.auth),
        ]
    ]
    assert {status for status, _ in answers} == {401}
    assert len({json.dumps(body) for _, body in answers}) == 1
    assert answers[0][1]["error"]["reason"] == "Unauthorized"
    assert session.agent.seen.total() == seen
    assert (await get(around, router, f"{session.path}/x", session.auth))[0] == 200


async def test_events_arrive_one_by_one_as_they_are_sent(around: World, router: Router) -> None:
    session = await around.ready(router, "one")
    url = f"{router.url}{session.path}/stream?count=2"
    async with around.client.get(url, headers=session.auth) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        first = await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 5)
        assert first == f"data: {session.agent.session_id} 0\n\n".encode()
        session.agent.gate.set()  # the second event exists only from now on
        assert await answer.content.read() == f"data: {session.agent.session_id} 1\n\n".encode()


async def test_stream_ends_at_the_agent_when_the_client_goes(around: World, router: Router) -> None:
    session = await around.ready(router, "one")
    url = f"{router.url}{session.path}/stream?count=100000&gap=0.01"
    answer = await around.client.get(url, headers=session.auth)
    await answer.content.readuntil(b"\n\n")
    assert session.agent.open_streams == 1
    answer.close()
    await until(lambda: session.agent.open_streams == 0, "the agent's stream ends")


async def test_large_upload_is_streamed_whole_and_unchanged(around: World, router: Router) -> None:
    session = await around.ready(router, "one")
    block = bytes(range(256)) * 4096  # 1 MiB
    digest = hashlib.sha256(block * 48).hexdigest()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(48):
            yield block

    # gzip is only said: a router that unpacked it would fail
    headers = {**session.auth, "Content-Encoding": "gzip", "Expect": "100-continue"}
    url = f"{router.url}{session.path}/files/big"
    async with around.client.put(url, data=body(), headers=headers) as answer:
        assert await answer.json() == {"bytes": 48 << 20, "sha256": digest}


async def test_slow_body_is_forwarded_as_it_comes(around: World, router: Router) -> None:
    session = await around.ready(router, "one")
    agent, seen = session.agent, asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"a" * 1000
        await seen.wait()
        yield b"b"

    url = f"{router.url}{session.path}/files/slow"
    upload = asyncio.create_task(_put(around, url, session, body()))
    await until(lambda: agent.received_bytes == 1000, "the first part is there before the second")
    seen.set()
    assert (await upload)[0] == 200
    assert agent.received_bytes == 1001


async def _put(
    around: World, url: str, session: Session, data: AsyncIterator[bytes] | bytes
) -> tuple[int, Any]:
    async with around.client.put(url, data=data, headers=session.auth) as answer:
        return answer.status, await answer.json()


async def test_body_that_stalls_is_given_up_with_408(around: World) -> None:
    session = await around.session("one")
    router = await around.router(NANOGRID_IDLE_TIMEOUT_SECONDS="0.5")
    never = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        await never.wait()

    url = f"{router.url}{session.path}/files/slow"
    status, got = await _put(around, url, session, body())
    assert (status, got["error"]["reason"]) == (408, "BadRequest")


async def test_body_above_the_limit_is_refused_announced_or_not(around: World) -> None:
    session = await around.session("one")
    router = await around.router(NANOGRID_MAX_BODY_BYTES="1000")
    url = f"{router.url}{session.path}/files/big"

    async def chunked(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 10):
            yield b"x" * 10

    assert (await _put(around, url, session, b"x" * 1000))[0] == 200
    assert (await _put(around, url, session, chunked(1000)))[0] == 200
    before = session.agent.seen["PUT /files/big"]
    status, got = await _put(around, url, session, b"x" * 1001)
    assert (status, got["error"]["reason"]) == (413, "FileTooLarge")
    assert session.agent.seen["PUT /files/big"] == before
    assert (await _put(around, url, session, chunked(1010)))[0] == 413


async def test_large_download_does_not_pile_up_in_the_router(around: World, router: Router) -> None:
    session = await around.ready(router, "one")
    url = f"{router.url}{session.path}/large?mebibytes=200"
    size = 0
    peak_before = _memory(router, "VmHWM")
    async with around.client.get(url, headers=session.auth) as answer:
        async for chunk in answer.content.iter_any():
            if not size:
                # Nobody reads for a moment: what the agent sends must wait at the agent.
                await asyncio.sleep(0.5)
            size += len(chunk)
    assert size == 200 << 20
    assert _memory(router, "VmHWM") - peak_before < 30 << 10


def _memory(router: Router, field: str) -> int:
    """In KiB."""
    lines = Path(f"/proc/{router.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


async def test_answer_that_breaks_off_reaches_the_client_torn_not_ended(
    around: World, router: Router
) -> None:
    session = await around.ready(router, "one")
    with pytest.raises(aiohttp.ClientPayloadError):
        await get(around, router, f"{session.path}/torn", session.auth)
    assert (await get(around, router, f"{session.path}/x", session.auth))[0] == 200


async def test_broken_get_is_repeated_once_and_broken_post_never(
    around: World, router: Router
) -> None:
    session = await around.ready(router, "one")
    path = f"{session.path}/reset-once"
    assert await get(around, router, path, session.auth) == (
        200,
        {"session_id": session.agent.session_id},
    )
    assert session.agent.seen["GET /reset-once"] == 2
    for method in ("POST", "PUT", "DELETE"):
        session.agent._resets = 0
        async with around.client.request(
            method, router.url + path, headers=session.auth, data=b"once"
        ) as answer:
            assert answer.status == 502
            assert (await answer.json())["error"]["reason"] == "SessionUnreachable"
        assert session.agent.seen[f"{method} /reset-once"] == 1


async def test_agent_that_does_not_listen_is_503_and_retried_by_the_client(
    around: World, router: Router
) -> None:
    session = await around.ready(router, "one")
    path = f"{session.path}/execute"
    await around.reaches(router, path, 200, session.auth)
    await session.agent.stop()
    async with around.client.post(router.url + path, headers=session.auth, data=b"x") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert (await answer.json())["error"]["reason"] == "SessionUnreachable"
    await session.agent.start()
    assert (await get(around, router, path, session.auth))[0] == 200


async def test_silent_agent_is_504_after_the_idle_timeout(around: World) -> None:
    session = await around.session("one")
    router = await around.router(NANOGRID_IDLE_TIMEOUT_SECONDS="0.5")
    status, body = await get(around, router, f"{session.path}/wait", session.auth)
    assert (status, body["error"]["reason"]) == (504, "SessionUnreachable")
    assert session.agent.seen["GET /wait"] == 1


async def test_connection_is_not_kept_for_the_next_pod_at_the_same_ip(
    around: World, router: Router
) -> None:
    """The API server still says that the IP is the first session's; another pod has it already."""
    first = await around.ready(router, "one")
    assert (await get(around, router, f"{first.path}/x", first.auth))[0] == 200
    await first.agent.stop()
    second = await around.ready(router, "two", ip=first.agent.ip)
    status, body = await get(around, router, f"{first.path}/x", first.auth)
    assert (status, body["error"]["reason"]) == (503, "SessionUnreachable")
    assert second.agent.session_id not in json.dumps(body)
    # A body is not executed there either.
    url = f"{router.url}{first.path}/execute"
    async with around.client.post(url, headers=first.auth, data=b"secret") as answer:
        assert answer.status == 503
    assert (await get(around, router, f"{second.path}/x", second.auth))[0] == 200
    await around.kube.delete(PODS, first.namespace, first.pod_name)
    await around.reaches(router, f"{first.path}/x", 503, first.auth)


async def test_requests_that_run_end_when_their_pod_is_deleted(
    around: World, router: Router
) -> None:
    session = await around.ready(router, "one")
    url = f"{session.path}/wait"
    waiting = asyncio.create_task(get(around, router, url, session.auth))
    await until(lambda: session.agent.seen["GET /wait"], "the request is at the agent")
    await around.kube.delete(PODS, session.namespace, session.pod_name)
    status, body = await asyncio.wait_for(waiting, 10)
    assert (status, body["error"]["reason"]) == (502, "SessionUnreachable")


async def test_answer_to_a_client_that_went_is_never_the_next_ones(
    around: World, router: Router
) -> None:
    session = await around.ready(router, "hasty")
    agent = session.agent

    async def leave() -> None:
        async with around.client.get(f"{router.url}{session.path}/wait", headers=session.auth):
            pass

    leaving = [asyncio.create_task(leave()) for _ in range(10)]
    await until(lambda: agent.seen["GET /wait"] == 10, "all wait at the agent")
    for task in leaving:
        task.cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    agent.gate.set()
    for number in range(30):
        status, body = await get(around, router, f"{session.path}/n{number}", session.auth)
        assert (status, body["path"]) == (200, f"/n{number}")


async def test_redirects_lead_back_through_the_router(around: World, router: Router) -> None:
    session = await around.ready(router, "one")
    for path in ("/redirect", "/redirect?own"):
        async with around.client.get(
            router.url + session.path + path, headers=session.auth, allow_redirects=False
        ) as answer:
            assert answer.status == 302
            assert answer.headers["Location"] == f"{session.path}/files/a?b=c"


async def test_head_keeps_the_length_and_has_no_body(around: World, router: Router) -> None:
    session = await around.ready(router, "one")
    async with around.client.head(f"{router.url}{session.path}/x", headers=session.auth) as answer:
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 10
        assert await answer.read() == b""


async def test_access_log_has_one_line_per_request_and_no_token(
    around: World, router: Router
) -> None:
    session = await around.ready(router, "one")
    await get(around, router, f"{session.path}/secret-free?token={session.token}", session.auth)
    await get(around, router, f"{session.path}/a%0Ab", session.auth)
    # The line follows the answer.
    await until(lambda: "/a%0Ab" in router.log.read_text(), "the second request is logged")
    log = router.log.read_text()
    assert log.count("/secret-free") == 1
    assert session.token not in log
    assert KEY not in log


async def test_metrics_count_requests_by_code(around: World, router: Router) -> None:
    session = await around.ready(router, "one")
    async with around.client.get(
        f"{router.url}{session.path}/x", headers={"Authorization": "Basic"}
    ) as answer:
        assert answer.status == 401
    _, text = await get(around, router, "/metrics")
    counted = re.search(r'nanogrid_router_requests_total{code="401"} ([0-9]+)', text)
    sessions = re.search(r"nanogrid_router_sessions ([0-9]+)", text)
    assert counted is not None
    assert int(counted[1]) >= 1
    assert sessions is not None
    assert int(sessions[1]) >= 1
