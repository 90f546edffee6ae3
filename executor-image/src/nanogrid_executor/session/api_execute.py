"""Routes about executions: run code, follow it, look at what became of it, interrupt it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from flask import Flask, Response, request

from nanogrid.reasons import Reason
from nanogrid_executor.clock import DeadlineError
from nanogrid_executor.s3_errors import StorageError
from nanogrid_executor.session.core import Session
from nanogrid_executor.session.errors import RETRY_SECONDS, ApiError, bad_request
from nanogrid_executor.session.events import encode
from nanogrid_executor.session.executions import Request, not_found
from nanogrid_executor.session.journal import digest
from nanogrid_executor.session.record import SHELL_PREFIX
from nanogrid_executor.session.requests import (
    KEY,
    MAX_PAGE,
    NO_STORE,
    answered,
    body,
    execute_schema,
    number_of,
    route,
)

EVENT_STREAM: Final = "text/event-stream"
REPLAYED: Final = "Idempotency-Replayed"
HIGHEST: Final = 10**15
PAGE: Final = 100
# Proxies in front of us shall pass each event on as it comes.
STREAM_HEADERS: Final = {**NO_STORE, "X-Accel-Buffering": "no"}


def add_routes(app: Flask, session: Session) -> None:
    """Add this module's routes."""
    routes = _Routes(session)
    route(app, "POST", "/execute", routes.execute)
    route(app, "GET", "/executions", routes.listing)
    route(app, "GET", "/executions/<number>", routes.record)
    route(app, "DELETE", "/executions/<number>", routes.interrupt)
    route(app, "GET", "/executions/<number>/stream", routes.stream)


class _Routes:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.executions = session.executions
        self.schema = execute_schema(session.rules)

    def execute(self) -> Response:
        session = self.session
        session.refuse_early_and_late()
        asked, data = body(self.schema)
        session.check_id(asked.get("session_id"))
        wanted = _read(asked)
        key = request.headers.get("Idempotency-Key")
        if key is not None and not re.fullmatch(KEY, key):
            raise bad_request("Idempotency-Key must be 1 to 200 visible ASCII characters.")
        as_events = asked.get("stream") or request.accept_mimetypes.best == EVENT_STREAM
        session.enter_gate()
        try:
            number, replayed = self.executions.accept(wanted, key, digest(data))
            response = self._streamed(number) if as_events else answered(self._await(number))
        except BaseException:
            session.leave_gate()
            raise
        if as_events:
            response.call_on_close(session.leave_gate)  # whoever watches may do so for long
        else:
            session.leave_gate()
        if replayed:
            response.headers[REPLAYED] = "true"
        return response

    def listing(self) -> Response:
        after = number_of("after", 0, HIGHEST)
        limit = number_of("limit", PAGE, MAX_PAGE)
        found = self.executions.summaries(after, limit)
        more = after + limit < self.executions.count
        return answered({"executions": found, "count": self.executions.count, "more": more})

    def record(self, number: str) -> Response:
        wanted = self._known(number)
        run = self.executions.find(wanted)
        if run is not None and not run.over:
            return answered({"execution_num": wanted, "status": run.state, "code": run.order.code})
        return answered(self._loaded(wanted))

    def interrupt(self, number: str) -> Response:
        wanted = self._known(number)
        self.executions.interrupt(wanted)
        return answered({"execution_num": wanted, "status": "interrupting"}, 202)

    def stream(self, number: str) -> Response:
        wanted = self._known(number)
        self.session.enter_gate()
        try:
            response = self._streamed(wanted)
        except BaseException:
            self.session.leave_gate()
            raise
        response.call_on_close(self.session.leave_gate)
        return response

    def _known(self, text: str) -> int:
        count = self.executions.count
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            raise ApiError(404, Reason.EXECUTION_NOT_FOUND, f"{text!a} is no execution's number.")
        if not 1 <= int(text) <= count:
            raise not_found(int(text), count)
        return int(text)

    def _await(self, number: int) -> dict[str, Any]:
        run = self.executions.find(number)
        if run is not None:
            run.wait()
        return self._answer(number) if run is None or run.answer is None else run.answer

    def _answer(self, number: int) -> dict[str, Any]:
        with _storage_errors():
            answer = self.executions.answer(number)
        if answer is None:
            raise _unrecorded(number)
        return answer

    def _loaded(self, number: int) -> dict[str, Any]:
        with _storage_errors():
            record = self.session.history.records.load(number)
        if record is None:
            raise _unrecorded(number)
        return record

    def _streamed(self, number: int) -> Response:
        run = self.executions.find(number)
        events = run.events.follow() if run is not None else _replay(self._answer(number))
        return Response(events, mimetype=EVENT_STREAM, headers=STREAM_HEADERS)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except (StorageError, DeadlineError) as error:
        said = f"The record could not be read: {error}. Try again."
        reason = Reason.STORAGE_UNAVAILABLE
        raise ApiError(503, reason, said, retry_after=RETRY_SECONDS) from error


def _read(asked: dict[str, Any]) -> Request:
    code: str = asked["code"]
    shell = code.startswith(SHELL_PREFIX)
    if shell and "context" in asked:
        raise bad_request("context is for Python; leave it out with `BASH: `.")
    return Request(
        code=code.removeprefix(SHELL_PREFIX) if shell else code,
        shell=shell,
        context=asked.get("context"),
        env=asked.get("env", {}),
        stdin=asked.get("stdin", ""),
        timeout_seconds=asked.get("timeoutSeconds"),
    )


def _replay(answer: dict[str, Any]) -> Iterator[str]:
    """The events of an execution of which only the record is left."""
    yield encode("started", {"execution_num": answer["execution_num"]})
    for stream in ("stdout", "stderr"):
        if answer[stream]:
            yield encode(stream, {"text": answer[stream]})
    for bundle in answer["results"]:
        yield encode("result", bundle)
    yield encode("end", answer)


def _unrecorded(number: int) -> ApiError:
    said = f"Execution {number} was accepted, but its record is lost."
    return ApiError(404, Reason.EXECUTION_NOT_FOUND, said)
