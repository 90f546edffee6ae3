"""Routes of runs: start, read, follow, download, cancel, list."""

from flask import Flask, Response, request

from nanogrid.reasons import Reason
from nanogrid_gateway.api import logs
from nanogrid_gateway.api.answers import answered, needs
from nanogrid_gateway.api.core import Gateway
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.outputs import output_response
from nanogrid_gateway.api.requests import REQUEST_ID, RunsQuery, query, run_request, valid_id
from nanogrid_gateway.api.runs import Answer


def add_routes(app: Flask, gateway: Gateway) -> None:
    """The routes below /run and /runs."""
    runs = gateway.runs

    @app.post("/run")
    @needs("create")
    def run() -> Response:
        return _told(runs.run(run_request(request, gateway.settings.max_input_bytes)))

    @app.get("/runs")
    @needs("list")
    def list_runs() -> Response:
        return answered(runs.page(query(request, RunsQuery)))

    @app.get("/runs/<request_id>")
    @needs("get")
    def look(request_id: str) -> Response:
        return _told(runs.look(_id(request_id)))

    @app.delete("/runs/<request_id>")
    @needs("patch")
    def cancel(request_id: str) -> Response:
        return answered(runs.cancel(_id(request_id)), 202)

    @app.get("/runs/<request_id>/logs")
    @needs("get")
    def follow(request_id: str) -> Response:
        known = _id(request_id)
        runs.look(known)  # 404 as an error, not as an event
        gateway.streams.take()
        events = logs.follow(runs, gateway.kube, known, lambda: gateway.draining)
        response = Response(events, content_type=logs.EVENTS, headers=logs.headers())
        response.call_on_close(gateway.streams.give_back)
        return response

    @app.get("/runs/<request_id>/outputs/<path:name>")
    @needs("get")
    def output(request_id: str, name: str) -> Response:
        answer = runs.look(_id(request_id))
        if not answer.done:
            said = "The run has not ended; its output files are stored at its end."
            raise ApiError(404, Reason.OUTPUT_NOT_FOUND, said, retry_after=2)
        return output_response(gateway.objects, answer.body, name)


def _told(answer: Answer) -> Response:
    """The result with 200, or the state with 202 and where to ask again."""
    response = answered(answer.body, 200 if answer.done else 202)
    if not answer.done:
        response.headers["Location"] = answer.body["links"]["self"]
        response.headers["Retry-After"] = "1"
    return response


def _id(text: str) -> str:
    return valid_id(REQUEST_ID, text, Reason.RUN_NOT_FOUND)
