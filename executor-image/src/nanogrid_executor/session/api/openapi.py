"""The OpenAPI 3.1 document of the API, for ``GET /openapi.json``."""

from typing import Final

from nanogrid import wire
from nanogrid.openapi import JSON, Operations, json_response, parameter
from nanogrid.types import Json
from nanogrid_executor.session.api.requests import (
    CONTEXT,
    END_SCHEMA,
    FILE_SYNC_SCHEMA,
    KEY,
    MAX_PAGE,
    execute_schema,
)
from nanogrid_executor.session.api.response_schemas import SCHEMAS

BYTES: Final = "application/octet-stream"
EVENTS: Final = "text/event-stream"

EVENT: Final[Json] = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {
            "type": "string",
            "enum": ["started", "stdout", "stderr", "result", "gap", "end"],
        },
        "data": {"type": "string", "description": "JSON; that of `end` is the whole answer"},
    },
}
ERRORS: Final = {
    400: "The request is invalid; the message names the field.",
    401: "The token is missing or invalid.",
    403: "The source is not one of this session's.",
    404: "It does not exist.",
    409: "It conflicts with the current state.",
    413: "The body is too long.",
    422: "The Idempotency-Key came with a different request before.",
    429: "Too many requests wait, or came without the token; see Retry-After.",
    500: "The API failed.",
    502: "S3 refused the request.",
    503: "The session is not ready, or is ending; see the body's status.",
    504: "The time limit is exceeded.",
    507: "No space is left in the workspace.",
}
ALWAYS: Final = (401, 429, 500)
_API: Final = Operations(ERRORS, ALWAYS)


def document(rules: wire.SessionRules) -> Json:
    """The whole document, with the limits of this session."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "NanoGrid session", "version": "1"},
        "security": [{"token": []}],
        "paths": {
            **_session_paths(),
            **_execution_paths(execute_schema(rules)),
            **_file_paths(),
        },
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _session_paths() -> Json:
    name = parameter("name", "path", {"type": "string", "pattern": CONTEXT})
    health = _API.operation("Whether the session accepts requests.", {200: "Health"}, (500,))
    health["security"] = []
    health["responses"]["503"] = {**json_response("Health"), "description": ERRORS[503]}
    return {
        "/health": {"get": health},
        "/container-info": {
            "get": _API.operation(
                "The session's ID, pod and limits.",
                {200: "Info"},
                (*ALWAYS, 409),
                [parameter("session_id", "query", {"type": "string"})],
            )
        },
        "/contexts": {"get": _API.operation("The running contexts.", {200: "Contexts"})},
        "/contexts/{name}": {
            "delete": _API.operation("End a context.", {200: "Dropped"}, (*ALWAYS, 404), [name])
        },
        "/end": {
            "post": _with_body(
                _API.operation("End the session.", {202: "Ending"}, (*ALWAYS, 400, 409, 413)),
                END_SCHEMA,
                required=False,
            )
        },
        "/openapi.json": {
            "get": {"summary": "This document.", "responses": _API.failures(ALWAYS) | _any_object()}
        },
    }


def _execution_paths(execute: Json) -> Json:
    number = parameter("number", "path", {"type": "integer", "minimum": 1})
    errors = (*ALWAYS, 400, 404, 409, 413, 422, 503)
    run = _API.operation(
        "Run code and wait for its end. The status is also 200 for code that fails.",
        {200: "Answer"},
        errors,
        [parameter("Idempotency-Key", "header", {"type": "string", "pattern": KEY})],
    )
    run["responses"]["200"]["content"][EVENTS] = {"schema": EVENT}
    page = [
        parameter("after", "query", {"type": "integer", "minimum": 0, "maximum": 10**15}),
        parameter("limit", "query", {"type": "integer", "minimum": 0, "maximum": MAX_PAGE}),
    ]
    stream = _API.operation(
        "All events of an execution so far, then live.", {}, (*ALWAYS, 404, 503), [number]
    )
    stream["responses"]["200"] = {
        "description": "All events from the start; `gap` gives the number of dropped events.",
        "content": {EVENTS: {"schema": EVENT}},
    }
    return {
        "/execute": {"post": _with_body(run, execute)},
        "/executions": {
            "get": _API.operation(
                "The executions in order.", {200: "Executions"}, (*ALWAYS, 400), page
            )
        },
        "/executions/{number}": {
            "get": _API.operation(
                "The record of an execution.", {200: "Record"}, (*ALWAYS, 404, 503), [number]
            ),
            "delete": _API.operation(
                "Interrupt an execution.", {202: "Interrupting"}, (*ALWAYS, 404, 409), [number]
            ),
        },
        "/executions/{number}/stream": {"get": stream},
    }


def _file_paths() -> Json:
    path = parameter("path", "path", {"type": "string", "minLength": 1})
    query = parameter("path", "query", {"type": "string"})
    listing = _API.operation(
        "The files below a folder.", {200: "Files"}, (*ALWAYS, 400, 404, 409), [query]
    )
    fetch = _API.operation("The file's content.", {}, (*ALWAYS, 400, 404, 409), [path])
    fetch["responses"]["200"] = {
        "description": "The content; the type follows from the file's name.",
        "content": {"*/*": {"schema": {}}},
    }
    send = _API.operation(
        "Write a file, and copy it to S3.",
        {201: "Sent"},
        (*ALWAYS, 400, 404, 409, 413, 502, 507),
        [path],
    )
    send["requestBody"] = {"content": {BYTES: {"schema": {}}}}
    errors = (*ALWAYS, 400, 403, 404, 409, 413, 502, 503, 504, 507)
    sync = _API.operation("Copy files from S3 into the data directory.", {200: "Synced"}, errors)
    return {
        "/debug/files": {"get": listing},
        "/files": {"get": listing},
        "/files/{path}": {
            "get": fetch,
            "put": send,
            "delete": _API.operation(
                "Remove a file.", {200: "Deleted"}, (*ALWAYS, 400, 404, 409), [path]
            ),
        },
        "/file-sync": {"post": _with_body(sync, FILE_SYNC_SCHEMA)},
    }


def _any_object() -> Json:
    return {"200": {"description": "OpenAPI", "content": {JSON: {"schema": {"type": "object"}}}}}


def _with_body(operation: Json, schema: Json, *, required: bool = True) -> Json:
    body = {"required": required, "content": {JSON: {"schema": schema}}}
    return {**operation, "requestBody": body}
