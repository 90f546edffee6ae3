"""What the gateway logs about a request names the request and the run."""

import json
import logging
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from nanogrid.logs import JsonFormatter
from nanogrid_gateway.api.routing import Routes


async def test_an_error_of_a_request_is_logged_with_its_path_and_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.handler.setFormatter(JsonFormatter())
    caplog.set_level(logging.ERROR)
    routes = Routes(web.Application(), cast(Any, None), cast(Any, None))

    async def fail(request: web.Request) -> web.Response:
        raise RuntimeError("bug")

    routes.add_open("GET", "/runs/{request_id}", fail)
    async with TestClient(TestServer(routes.app)) as client:
        assert (await client.get("/runs/r-1")).status == 500

    (line,) = map(json.loads, caplog.text.splitlines())
    wanted = {"method": "GET", "path": "/runs/r-1", "requestId": "r-1", "level": "ERROR"}
    assert line.items() >= wanted.items()
    assert "RuntimeError: bug" in line["error"]
