"""What the gateway logs about a request names the request and the run."""

import json
import logging
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from nanogrid import names
from nanogrid.log_line import JOB_FIELDS
from nanogrid.logs import LineFormatter, fields_of_job, note
from nanogrid_gateway.api.routing import Routes
from nanogrid_gateway.router.sessions import job_from
from support.builders import a_job_body
from support.log_lines import missing, of_json


async def test_an_error_of_a_request_is_logged_with_its_path_and_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.handler.setFormatter(LineFormatter("json"))
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
    assert "RuntimeError: bug" in line["exception"]


async def test_fields_that_a_handler_learns_are_in_its_later_lines_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The requests of one connection have one task: no field of one is in the lines of the next."""
    caplog.handler.setFormatter(LineFormatter("json"))
    caplog.set_level(logging.INFO, "nanogrid")
    log = logging.getLogger("nanogrid.test")
    routes = Routes(web.Application(), cast(Any, None), cast(Any, None))

    async def look(request: web.Request) -> web.Response:
        log.info("before")
        if request.match_info["request_id"] == "r-1":
            note(fields_of_job(a_job_body(requestId="r-1", name="sales")))
        log.info("after")
        return web.Response()

    routes.add_open("GET", "/runs/{request_id}", look)
    async with TestClient(TestServer(routes.app)) as client:
        for request_id in ("r-1", "r-2"):
            async with client.get(f"/runs/{request_id}") as answer:
                assert answer.status == 200

    before, after, *others = of_json(caplog.text)
    assert (before["requestId"], missing(before)) == ("r-1", ["namespace", "job", "uid", "attempt"])
    assert (after["job"], missing(after)) == ("sales", [])
    for line in others:
        assert (line["requestId"], "job" in line) == ("r-2", False)


def test_the_router_knows_the_fields_of_a_session() -> None:
    status = {"attempts": [{"number": 0}], "requestId": "order-1"}
    body = a_job_body(mode=names.MODE_SESSION, status=status)
    job = job_from(body)

    assert job is not None
    assert job.log_fields() == fields_of_job(body)
    assert (job.attempt, list(job.log_fields())) == (1, list(JOB_FIELDS))
