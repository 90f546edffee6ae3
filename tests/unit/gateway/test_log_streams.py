"""The log streams of a gateway are few: no caller takes those of all others."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from nanogrid.types import Json
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.responses import error_response
from nanogrid_gateway.api.reviews import User
from nanogrid_gateway.api.routing import CALLER
from nanogrid_gateway.api.runs.logs import LogStreams
from nanogrid_gateway.api.runs.runs import Runs

pytestmark = pytest.mark.security


class LongRuns:
    """Runs that print a line, and then nothing for long."""

    def __init__(self) -> None:
        self.kube = self
        self.ended = asyncio.Event()

    async def look(self, request_id: str) -> Any:
        return SimpleNamespace(done=False)

    async def job(self, request_id: str) -> Json:
        return {"status": {"podName": "p"}}

    async def log(self, pod: str, container: str) -> AsyncGenerator[bytes | None, None]:
        yield b"line\n"
        await self.ended.wait()


async def test_a_caller_has_at_most_half_of_the_log_streams() -> None:
    runs = LongRuns()
    streams = LogStreams(4, runs.ended.is_set)

    async def logs(request: web.Request) -> web.StreamResponse:
        request[CALLER] = User(request.match_info["caller"])
        try:
            return await streams.send(request, cast(Runs, runs), "r")
        except ApiError as e:
            return error_response(e)

    app = web.Application()
    app.router.add_get("/{caller}", logs)
    async with TestClient(TestServer(app)) as client, AsyncExitStack() as opened:

        async def status(caller: str) -> int:
            answer = await opened.enter_async_context(client.get(f"/{caller}"))
            return answer.status

        assert [await status("loud") for _ in range(3)] == [200, 200, 429]
        assert [await status("quiet") for _ in range(3)] == [200, 200, 429]
        assert await status("late") == 429, "all streams are taken"
        runs.ended.set()
