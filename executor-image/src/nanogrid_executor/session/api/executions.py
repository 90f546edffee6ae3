"""Routes of executions: run code, follow it, read its result, interrupt it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from flask import Response, request

from nanogrid import source_encoding
from nanogrid.reasons import Reason
from nanogrid.traces import context as traces
from nanogrid_executor.clock import DeadlineError
from nanogrid_executor.session.api.requests import (
    KEY,
    MAX_PAGE,
    NO_STORE,
    execute_schema,
    integer_parameter,
    json_response,
    read_body,
)
from nanogrid_executor.session.errors import RETRY_SECONDS, ApiError, bad_request
from nanogrid_executor.session.events import encode
from nanogrid_executor.session.executions import ExecuteRequest, not_found
from nanogrid_executor.session.journal import digest
from nanogrid_executor.session.record import SHELL_PREFIX
from nanogrid_executor.session.session import Session
from nanogrid_executor.storage.errors import StorageError

EVENT_STREAM: Final = "text/event-stream"
REPLAYED: Final = "Idempotency-Replayed"
HIGHEST: Final = 10**15
PAGE: Final = 100
# Asks proxies in front of us to pass each event on immediately.
STREAM_HEADERS: Final = {**NO_STORE, "X-Accel-Buffering": "no"}


class ExecutionRoutes:
    """The views of one session's executions."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.executions = session.executions
        self.schema = execute_schema(session.rules)

    def execute(self) -> Response:
        """``POST /execute``: accept code, and answer when it has ended, or with its events."""
        session = self.session
        session.check_accepting()
        body, data = read_body(self.schema)
        session.check_id(body.get("session_id"))
        execute_request = _execute_request(body, _trace_env())
        key = request.headers.get("Idempotency-Key")
        if key is not None and not re.fullmatch(KEY, key):
            raise bad_request("Idempotency-Key must be 1 to 200 visible ASCII characters.")
        as_events = body.get("stream") or request.accept_mimetypes.best == EVENT_STREAM
        session.gate.enter()
        try:
            number, replayed = self.executions.accept(execute_request, key, digest(data))
            response = self._streamed(number) if as_events else json_response(self._await(number))
        except BaseException:
            session.gate.leave()
            raise
        if as_events:
            response.call_on_close(session.gate.leave)  # a client may watch for long
        else:
            session.gate.leave()
        if replayed:
            response.headers[REPLAYED] = "true"
        return response

    def listing(self) -> Response:
        """``GET /executions``: one page of numbers and states."""
        after = integer_parameter("after", 0, HIGHEST)
        limit = integer_parameter("limit", PAGE, MAX_PAGE)
        found, count = self.executions.summaries(after, limit), self.executions.count
        return json_response({"executions": found, "count": count, "more": after + limit < count})

    def record(self, number: str) -> Response:
        """``GET /executions/NUMBER``: its record, or its state while it has none."""
        known = self._known(number)
        execution = self.executions.find(known)
        if execution is None or execution.done:
            return json_response(self._loaded(known))
        state = {"status": execution.state, "code": execution.spec.code}
        return json_response({"execution_num": known, **state})

    def interrupt(self, number: str) -> Response:
        """``DELETE /executions/NUMBER``: stop it."""
        known = self._known(number)
        self.executions.interrupt(known)
        return json_response({"execution_num": known, "status": "interrupting"}, 202)

    def stream(self, number: str) -> Response:
        """``GET /executions/NUMBER/stream``: its events from the start."""
        known = self._known(number)
        self.session.gate.enter()
        try:
            response = self._streamed(known)
        except BaseException:
            self.session.gate.leave()
            raise
        response.call_on_close(self.session.gate.leave)
        return response

    def _known(self, text: str) -> int:
        count = self.executions.count
        if not (text.isascii() and text.isdigit() and len(text) < 16):
            message = f"{text!a} is not the number of an execution."
            raise ApiError(404, Reason.EXECUTION_NOT_FOUND, message)
        if not 1 <= int(text) <= count:
            raise not_found(int(text), count)
        return int(text)

    def _await(self, number: int) -> dict[str, Any]:
        execution = self.executions.find(number)
        answer = None if execution is None else execution.wait()
        return self._answer(number) if answer is None else answer

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
        execution = self.executions.find(number)
        if execution is not None:
            events = execution.events.follow()
        else:
            events = _replay(self._answer(number))
        return Response(events, mimetype=EVENT_STREAM, headers=STREAM_HEADERS)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except (StorageError, DeadlineError) as error:
        message = f"The record could not be read: {error}. Try again."
        reason = Reason.STORAGE_UNAVAILABLE
        raise ApiError(503, reason, message, retry_after=RETRY_SECONDS) from error


def _trace_env() -> dict[str, str]:
    """The span of the request, as variables of the code; none without a valid ``traceparent``."""
    headers = request.headers
    found = traces.from_headers(
        headers.getlist(traces.TRACEPARENT), headers.getlist(traces.TRACESTATE)
    )
    # An empty TRACESTATE replaces that of the session, which belongs to another span.
    return {traces.ENV_TRACESTATE: "", **traces.env_of(found)} if found is not None else {}


def _execute_request(body: dict[str, Any], trace_env: dict[str, str]) -> ExecuteRequest:
    code: str = body["code"]
    shell = code.startswith(SHELL_PREFIX)
    if shell and "context" in body:
        raise bad_request("context is for Python only; remove it, or remove `BASH: `.")
    if body.get("keepProcesses") and "context" in body:
        raise bad_request(
            "A context keeps its processes as long as it lives; remove keepProcesses."
        )
    return ExecuteRequest(
        code=code.removeprefix(SHELL_PREFIX) if shell else code,
        shell=shell,
        encoding=source_encoding.UTF8 if shell else _encoding(code),
        context=body.get("context"),
        env={**trace_env, **body.get("env", {})},
        stdin=body.get("stdin", ""),
        keep_processes=body.get("keepProcesses", False),
        timeout_seconds=body.get("timeoutSeconds"),
    )


def _encoding(code: str) -> str:
    """The encoding of the code's file."""
    try:
        name = source_encoding.encoding_of(code)
        if name != source_encoding.UTF8:
            source_encoding.encode(code)
    except source_encoding.EncodingError as error:
        raise bad_request(f"code: {error}. {source_encoding.HINT}") from error
    return name


def _replay(answer: dict[str, Any]) -> Iterator[str]:
    """The events of an execution, made from its record."""
    yield encode("started", {"execution_num": answer["execution_num"]})
    for stream in ("stdout", "stderr"):
        if answer[stream]:
            yield encode(stream, {"text": answer[stream]})
    for bundle in answer["results"]:
        yield encode("result", bundle)
    yield encode("end", answer)


def _unrecorded(number: int) -> ApiError:
    message = f"Execution {number} was accepted, but its record is lost."
    return ApiError(404, Reason.EXECUTION_NOT_FOUND, message)
