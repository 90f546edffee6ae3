"""Routes of runs: start, read, follow, download, cancel, list."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from nanogrid.reasons import Reason
from nanogrid.threads import Threads
from nanogrid_gateway.api.async_objects import AsyncObjects
from nanogrid_gateway.api.bodies import Bodies
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.requests import (
    REQUEST_ID,
    RunRequest,
    RunsQuery,
    query,
    run_request,
    valid_id,
)
from nanogrid_gateway.api.responses import json_response, send_stream
from nanogrid_gateway.api.reviews import require
from nanogrid_gateway.api.routing import Routes
from nanogrid_gateway.api.runs.jobs import RunAnswer, RunInput, run_input
from nanogrid_gateway.api.runs.logs import LogStreams
from nanogrid_gateway.api.runs.outputs import open_output
from nanogrid_gateway.api.runs.runs import Runs

LARGE_BYTES: Final = 256 * 1024  # a larger body is parsed in a thread


@dataclass(frozen=True, slots=True)
class RunRoutes:
    """The handlers below /run and /runs."""

    runs: Runs
    objects: AsyncObjects
    streams: LogStreams
    bodies: Bodies
    threads: Threads
    max_bytes: int

    def add_to(self, routes: Routes) -> None:
        """Register the handlers."""
        routes.add("POST", "/run", self.run, require("create"))
        routes.add("GET", "/runs", self.list_runs, require("list"))
        routes.add("GET", "/runs/{request_id}", self.look, require("get"))
        routes.add("DELETE", "/runs/{request_id}", self.cancel, require("patch"))
        routes.add("GET", "/runs/{request_id}/logs", self.follow, require("get"))
        routes.add("GET", "/runs/{request_id}/outputs/{name:(?s:.+)}", self.output, require("get"))

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Start a run, and wait for its result."""
        data = await self.bodies.read(request, self.max_bytes)
        if len(data) > LARGE_BYTES:
            wanted, given = await self.threads.call(_read, data)
        else:
            wanted, given = _read(data)
        return _run_response(await self.runs.run(wanted, given))

    async def list_runs(self, request: web.Request) -> web.StreamResponse:
        """A page of runs."""
        return json_response(await self.runs.page(query(request.query, RunsQuery)))

    async def look(self, request: web.Request) -> web.StreamResponse:
        """The result of a run, or its state."""
        return _run_response(await self.runs.look(_id(request)))

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Stop a run."""
        return json_response(await self.runs.cancel(_id(request)), 202)

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """The output of a run, live."""
        return await self.streams.send(request, self.runs, _id(request))

    async def output(self, request: web.Request) -> web.StreamResponse:
        """One output file of a run."""
        answer = await self.runs.look(_id(request))
        if not answer.done:
            message = "The run has not ended; its output files are stored at its end."
            raise ApiError(404, Reason.OUTPUT_NOT_FOUND, message, retry_after=2)
        found = await open_output(self.objects, answer.body, request.match_info["name"])
        return await send_stream(request, web.StreamResponse(headers=found.headers), found.chunks)


def _read(data: bytes) -> tuple[RunRequest, RunInput]:
    wanted = run_request(data)
    return wanted, run_input(wanted)


def _run_response(answer: RunAnswer) -> web.Response:
    """The result with 200, or the state with 202 and where to ask again."""
    response = json_response(answer.body, 200 if answer.done else 202)
    if not answer.done:
        response.headers["Location"] = answer.body["links"]["self"]
        response.headers["Retry-After"] = "1"
    return response


def _id(request: web.Request) -> str:
    return valid_id(REQUEST_ID, request.match_info["request_id"], Reason.RUN_NOT_FOUND)
