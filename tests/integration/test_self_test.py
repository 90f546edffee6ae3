"""`helm test` waits for real servers that become ready, and gives up on those that do not."""

from collections.abc import Iterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from nanogrid_operator.self_test import SelfTestError, check_servers

pytestmark = pytest.mark.integration


async def test_servers_must_become_ready() -> None:
    answers: Iterator[int] = iter([503, 503, 200])

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(status=next(answers))

    app = web.Application()
    app.router.add_get("/readyz", readyz)
    async with TestServer(app) as server:
        url = str(server.make_url("/readyz"))
        said: list[str] = []
        await check_servers([url], 30.0, said.append)
        assert said == [f"{url} is ready"]
    with pytest.raises(SelfTestError, match=r"readyz: not ready within 0\.2 s"):
        await check_servers([url], 0.2, said.append)
