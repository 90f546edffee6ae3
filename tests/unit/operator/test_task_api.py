"""The requests of agents of pools' pods for their task, over HTTP."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientResponse, ClientTimeout
from aiohttp.test_utils import TestClient, TestServer

from nanogrid import names, wire
from nanogrid_operator.server.tasks import Timing
from support.builders import CREATED, JOB_UID, a_report, a_result
from support.operator_fakes import PODS, reviewed
from support.pool_world import PoolWorld

BEARER = {"Authorization": "Bearer the-token"}
UID = "pod-0000000a"
LONG = Timing(heartbeat=600, wait=600, close=600, look=0.005)
BOUND = ClientTimeout(total=60)


class Server:
    """An operator's HTTP server; the token is that of the pod."""

    def __init__(self) -> None:
        self.world = PoolWorld()
        self.world.kube.review = reviewed(UID)
        self.api = self.world.parts.api
        self.api.tasks.timing, self.api.tasks.monotonic = LONG, time.monotonic
        self.http = TestClient(TestServer(self.api.app()))

    async def ask(self) -> ClientResponse:
        """A request; the answer's body is still to be read."""
        return await self.http.get(names.TASK_PATH, headers=BEARER, timeout=BOUND)

    async def waits(self) -> ClientResponse:
        """A request that waits for a task."""
        answer = await self.ask()
        assert answer.status == 200
        async with asyncio.timeout(60):
            while not self.world.parts.agents.waits(UID):  # noqa: ASYNC110 it begins after the headers
                await asyncio.sleep(0.002)
        return answer


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with server.http:
        yield server


def task_in(text: str) -> wire.HandOver:
    """The task of an answer, after its empty lines."""
    return wire.loads(wire.HandOver, text.strip())


async def test_a_process_that_stands_by_has_no_tasks(server: Server) -> None:
    server.world.waiting_pod("0000000a")
    server.world.queue.paused = True

    assert (await server.ask()).status == 503


async def test_a_pod_that_is_not_known_asks_again(server: Server) -> None:
    assert (await server.ask()).status == 503


@pytest.mark.security
async def test_a_token_of_no_pod_gets_no_task(server: Server) -> None:
    server.world.waiting_pod("0000000a")
    server.world.kube.review = {"authenticated": False}

    assert (await server.ask()).status == 401


async def test_an_agent_waits_and_gets_its_task(server: Server) -> None:
    server.world.waiting_pod("0000000a")
    answer = await server.waits()

    await server.world.reconcile()

    task = task_in(await answer.text())
    assert (task.task.uid, task.task.attempt) == (JOB_UID, 0)
    assert task.task.code_inline == "print('hello')\n"
    assert task.result_key
    assert server.world.owner("0000000a") == JOB_UID


async def test_empty_lines_show_that_the_connection_lives(server: Server) -> None:
    server.api.tasks.timing = LONG._replace(heartbeat=0.001)
    server.world.waiting_pod("0000000a")
    answer = await server.waits()

    assert await answer.content.readline() == b"\n"
    assert await answer.content.readline() == b"\n"
    await server.world.reconcile()
    assert task_in(await answer.text()).task.uid == JOB_UID


async def test_an_answer_without_a_task_ends_after_a_while(server: Server) -> None:
    server.api.tasks.timing = LONG._replace(heartbeat=0.001, wait=0.01)
    server.world.waiting_pod("0000000a")

    answer = await server.ask()

    assert (await answer.text()).strip() == ""
    assert not server.world.parts.agents.waits(UID)


async def test_an_agent_that_has_lost_its_connection_does_not_wait(server: Server) -> None:
    """A line to it would fail, but the next one may be ten seconds away."""
    server.world.waiting_pod("0000000a")
    answer = await server.waits()

    answer.close()

    async with asyncio.timeout(60):
        while server.world.parts.agents.waits(UID):  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_a_newer_request_ends_an_older_one(server: Server) -> None:
    server.world.waiting_pod("0000000a")
    older = await server.waits()
    newer = await server.ask()

    assert await older.text() == ""
    await server.world.reconcile()

    assert task_in(await newer.text()).task.uid == JOB_UID


async def test_a_claimed_pod_gets_its_task_again(server: Server) -> None:
    server.world.waiting_pod("0000000a")
    first = await server.waits()
    await server.world.reconcile()
    given = await first.text()

    again = await server.ask()

    assert again.status == 200
    assert task_in(await again.text()).task == task_in(given).task


async def test_a_claim_that_another_process_made_reaches_an_agent_that_waits(
    server: Server,
) -> None:
    server.world.waiting_pod("0000000a")
    answer = await server.waits()
    server.world.parts.agents._requests.pop(UID)  # the agent waits at another process
    other = server.world.ask(UID)
    await server.world.reconcile()
    assert other.done()

    again = await server.ask()
    answer.close()

    assert task_in(await again.text()).task.uid == JOB_UID


async def test_a_finished_attempt_gets_no_task(server: Server) -> None:
    world = server.world
    world.ready_pod("0000000a")
    await world.reconcile()
    world.push(a_report(a_result()))
    await world.reconcile()
    assert world.end[0] == "Succeeded"
    world.requests.close()

    assert (await server.ask()).status == 503


async def test_a_pod_whose_agent_does_not_take_its_task_is_deleted(server: Server) -> None:
    server.api.tasks.timing = LONG._replace(close=0.0)
    world = server.world
    world.waiting_pod("0000000a")
    deleted = asyncio.Event()
    delete = world.kube.delete

    async def note(path: str, name: str, *args: str, **more: int) -> object:
        deleted.set()
        return await delete(path, name, *args, **more)  # type: ignore[arg-type]

    world.kube.delete = note  # type: ignore[assignment,method-assign]
    reader, writer = await asyncio.open_connection(server.http.host, server.http.port)
    with contextlib.closing(writer):
        lines = [f"GET {names.TASK_PATH} HTTP/1.1", "Host: a", "Authorization: Bearer the-token"]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await reader.readline()
        async with asyncio.timeout(60):
            while not world.parts.agents.waits(UID):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            await world.reconcile()
            await deleted.wait()

    name = names.pool_pod("warm", "0000000a")
    assert world.kube.writes[-1] == f"DELETE {PODS}/{name} {UID}"
    world.parts.handlers.on_pod("DELETED", world.cache.pod(JOB_UID, 0) or {})
    world.now = CREATED + 5
    await world.reconcile()
    assert world.end[:2] == ("Failed", "PodLost")


async def test_an_agent_that_closes_its_connection_keeps_its_pod(server: Server) -> None:
    server.world.waiting_pod("0000000a")
    answer = await server.waits()
    await server.world.reconcile()
    await answer.text()
    answer.close()

    await server.http.close()  # waits for the handler

    assert not any(line.startswith("DELETE") for line in server.world.kube.writes)
