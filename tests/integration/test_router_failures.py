"""Router processes and failing agents: the response for the client, and when the router retries."""

import asyncio
import json

import aiohttp
import pytest

from support.routing.kube import PODS
from support.routing.world import Router, World, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_incomplete_response_is_incomplete_for_the_client(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "one")
    with pytest.raises(aiohttp.ClientPayloadError):
        await routing.get(router, f"{session.path}/incomplete", session.auth)
    assert (await routing.get(router, f"{session.path}/x", session.auth))[0] == 200


async def test_broken_get_is_retried_once_and_broken_post_never(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "one")
    path = f"{session.path}/reset-once"
    assert await routing.get(router, path, session.auth) == (
        200,
        {"session_id": session.agent.session_id},
    )
    assert session.agent.seen["GET /reset-once"] == 2
    for method in ("POST", "PUT", "DELETE"):
        session.agent.resets = 0
        async with routing.client.request(
            method, router.url + path, headers=session.auth, data=b"once"
        ) as answer:
            assert answer.status == 502
            assert (await answer.json())["error"]["reason"] == "SessionUnreachable"
        assert session.agent.seen[f"{method} /reset-once"] == 1


async def test_agent_that_does_not_listen_is_503_with_retry_after(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "one")
    path = f"{session.path}/execute"
    await routing.reaches(router, path, 200, session.auth)
    await session.agent.stop()
    async with routing.client.post(router.url + path, headers=session.auth, data=b"x") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert (await answer.json())["error"]["reason"] == "SessionUnreachable"
    await session.agent.start()
    assert (await routing.get(router, path, session.auth))[0] == 200


async def test_silent_agent_is_504_after_the_idle_timeout(routing: World) -> None:
    session = await routing.session("one")
    router = await routing.router(NANOGRID_IDLE_TIMEOUT_SECONDS="0.5")
    status, body = await routing.get(router, f"{session.path}/wait", session.auth)
    assert (status, body["error"]["reason"]) == (504, "SessionUnreachable")
    assert session.agent.seen["GET /wait"] == 1


async def test_connection_is_not_reused_for_the_next_pod_with_the_same_ip(
    routing: World, router: Router
) -> None:
    """The API server still gives the IP to the first session, but another pod already has it."""
    first = await routing.ready(router, "one")
    assert (await routing.get(router, f"{first.path}/x", first.auth))[0] == 200
    await first.agent.stop()
    second = await routing.ready(router, "two", ip=first.agent.ip)
    status, body = await routing.get(router, f"{first.path}/x", first.auth)
    assert (status, body["error"]["reason"]) == (503, "SessionUnreachable")
    assert second.agent.session_id not in json.dumps(body)
    # A request with a body does not reach the other pod either.
    url = f"{router.url}{first.path}/execute"
    async with routing.client.post(url, headers=first.auth, data=b"secret") as answer:
        assert answer.status == 503
    assert (await routing.get(router, f"{second.path}/x", second.auth))[0] == 200
    await routing.kube.delete(PODS, first.namespace, first.pod_name)
    await routing.reaches(router, f"{first.path}/x", 503, first.auth)


async def test_running_requests_end_when_their_pod_is_deleted(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "one")
    url = f"{session.path}/wait"
    waiting = asyncio.create_task(routing.get(router, url, session.auth))
    await until(lambda: session.agent.seen["GET /wait"], "the request is at the agent")
    await routing.kube.delete(PODS, session.namespace, session.pod_name)
    status, body = await asyncio.wait_for(waiting, 60)
    assert (status, body["error"]["reason"]) == (502, "SessionUnreachable")


async def test_response_to_a_disconnected_client_never_goes_to_the_next_one(
    routing: World, router: Router
) -> None:
    session = await routing.ready(router, "disconnect")
    agent = session.agent

    async def disconnect() -> None:
        async with routing.client.get(f"{router.url}{session.path}/wait", headers=session.auth):
            pass

    requests = [asyncio.create_task(disconnect()) for _ in range(10)]
    await until(lambda: agent.seen["GET /wait"] == 10, "all requests wait at the agent")
    for task in requests:
        task.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    agent.gate.set()
    for number in range(30):
        status, body = await routing.get(router, f"{session.path}/n{number}", session.auth)
        assert (status, body["path"]) == (200, f"/n{number}")
