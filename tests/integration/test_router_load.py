"""The router among clients without permission: denials are limited, and others are not affected."""

import asyncio
import contextlib
import json

import pytest

from nanogrid.throttle import ADDRESS_BURST
from support.routing.world import World, until

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module"), pytest.mark.security]

MOST_DENIALS = 30 * ADDRESS_BURST  # a slow machine gets some attempts back meanwhile


async def test_denials_of_one_address_are_limited(routing: World) -> None:
    router = await routing.router()
    session = await routing.ready(router, "guarded")
    wrong = {"Authorization": "Bearer wrong"}
    statuses = []
    for _ in range(MOST_DENIALS):
        url = f"{router.url}{session.path}/execute"
        async with routing.client.get(url, headers=wrong) as response:
            statuses.append(response.status)
            body, after = json.loads(await response.text()), response.headers.get("Retry-After")
        if response.status == 429:
            break

    assert len(statuses) > ADDRESS_BURST - 10
    assert (set(statuses[:-1]), statuses[-1]) == ({401}, 429)
    assert body["error"]["reason"] == "RateLimited"
    assert int(after or 0) >= 1
    assert (await routing.get(router, f"{session.path}/execute", session.auth))[0] == 200
    assert (await routing.get(router, "/readyz"))[0] == 200


async def test_slow_connections_are_cut_off_and_keep_no_others_out(routing: World) -> None:
    router = await routing.router(
        NANOGRID_READ_SECONDS="2",
        NANOGRID_MAX_CONNECTIONS="100",
        NANOGRID_MAX_CONNECTIONS_PER_ADDRESS="80",
    )
    session = await routing.ready(router, "busy")
    async with contextlib.AsyncExitStack() as stack:
        readers = []
        for number in range(300):
            reader, writer = await asyncio.open_connection(
                router.endpoint.host, router.endpoint.port
            )
            stack.callback(writer.close)
            writer.write(b"GET /execute HTTP/1.1\r\nX-Padding: " if number % 2 else b"")
            readers.append(reader)
        assert (await routing.get(router, "/readyz"))[0] == 200
        assert (await routing.get(router, f"{session.path}/execute", session.auth))[0] == 200
        answer = await asyncio.wait_for(readers[-1].read(), 60)
        nothing = await asyncio.wait_for(readers[-2].read(), 60)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["reason"] == "BadRequest"
    assert nothing == b""


async def test_the_requests_of_one_namespace_keep_no_others_out(routing: World) -> None:
    router = await routing.router(
        NANOGRID_MAX_CONNECTIONS="18",
        NANOGRID_MAX_CONNECTIONS_PER_ADDRESS="18",
        NANOGRID_MAX_REQUESTS_PER_NAMESPACE="12",
    )
    sessions = [await routing.ready(router, f"greedy-{number}") for number in range(3)]
    other = await routing.ready(router, "other", namespace="team-b")
    held = [
        asyncio.create_task(routing.get(router, f"{each.path}/wait", each.auth))
        for each in sessions
        for _ in range(6)
    ]
    try:
        await until(
            lambda: (
                sum(each.agent.seen["GET /wait"] for each in sessions) == 12
                and sum(task.done() for task in held) == 6
            ),
            "the agents have 12 requests, and the router has refused 6",
        )
        refused = {task.result()[0] for task in held if task.done()}
        answer = await routing.get(router, f"{other.path}/execute", other.auth)
    finally:
        for each in sessions:
            each.agent.gate.set()
        answered = [status for status, _ in await asyncio.gather(*held)]

    assert refused == {429}
    assert answer[0] == 200
    assert sorted(answered) == [200] * 12 + [429] * 6
    first = sessions[0]
    assert (await routing.get(router, f"{first.path}/execute", first.auth))[0] == 200
