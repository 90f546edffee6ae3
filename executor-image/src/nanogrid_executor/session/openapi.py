"""The API's own document, OpenAPI 3.1: what ``GET /openapi.json`` gives."""

from typing import Any, Final

from nanogrid import wire
from nanogrid_executor.session.answers import SCHEMAS
from nanogrid_executor.session.requests import (
    CONTEXT,
    END_SCHEMA,
    FILE_SYNC_SCHEMA,
    KEY,
    MAX_PAGE,
    execute_schema,
)

Json = dict[str, Any]

JSON: Final = "application/json"
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
    400: "The request cannot be understood; the message names the field.",
    401: "There is no valid token.",
    403: "The source is not one of this session's own.",
    404: "There is no such thing.",
    409: "It cannot be done as things are now.",
    413: "The body is too long.",
    422: "The Idempotency-Key came with another request before.",
    429: "Too many wait; see Retry-After.",
    500: "The API failed.",
    502: "S3 refused.",
    503: "Not yet, or not any more; see the body's status.",
    504: "The time was over.",
    507: "No space is left in the workspace.",
}
ALWAYS: Final = (401, 500)


def document(rules: wire.SessionRules) -> Json:
    """The whole document; a session's own limits are in it."""
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
    name = _parameter("name", "path", {"type": "string", "pattern": CONTEXT})
    health = _operation("Whether the session takes requests.", {200: "Health"}, (500,))
    health["security"] = []
    health["responses"]["503"] = {**_json("Health"), "description": ERRORS[503]}
    return {
        "/health": {"get": health},
        "/container-info": {
            "get": _operation(
                "Which session and pod this is.",
                {200: "Info"},
                (*ALWAYS, 409),
                [_parameter("session_id", "query", {"type": "string"})],
            )
        },
        "/contexts": {"get": _operation("The living contexts.", {200: "Contexts"})},
        "/contexts/{name}": {
            "delete": _operation("End a context.", {200: "Dropped"}, (*ALWAYS, 404), [name])
        },
        "/end": {
            "post": _with_body(
                _operation("End the session.", {202: "Ending"}, (*ALWAYS, 400, 409, 413)),
                END_SCHEMA,
                required=False,
            )
        },
        "/openapi.json": {
            "get": {"summary": "This document.", "responses": _errors(ALWAYS) | _any_object()}
        },
    }


def _execution_paths(execute: Json) -> Json:
    number = _parameter("number", "path", {"type": "integer", "minimum": 1})
    errors = (*ALWAYS, 400, 404, 409, 413, 422, 429, 503)
    run = _operation(
        "Run code and wait for its end. Failing code is a 200, too.",
        {200: "Answer"},
        errors,
        [_parameter("Idempotency-Key", "header", {"type": "string", "pattern": KEY})],
    )
    run["responses"]["200"]["content"][EVENTS] = {"schema": EVENT}
    page = [
        _parameter("after", "query", {"type": "integer", "minimum": 0, "maximum": 10**15}),
        _parameter("limit", "query", {"type": "integer", "minimum": 0, "maximum": MAX_PAGE}),
    ]
    stream = _operation("All its events so far, then live.", {}, (*ALWAYS, 404, 429, 503), [number])
    stream["responses"]["200"] = {
        "description": "Everything from the beginning; gap: so many events were dropped.",
        "content": {EVENTS: {"schema": EVENT}},
    }
    return {
        "/execute": {"post": _with_body(run, execute)},
        "/executions": {"get": _operation("In order.", {200: "Executions"}, (*ALWAYS, 400), page)},
        "/executions/{number}": {
            "get": _operation("Its record.", {200: "Record"}, (*ALWAYS, 404, 503), [number]),
            "delete": _operation(
                "Interrupt it.", {202: "Interrupting"}, (*ALWAYS, 404, 409), [number]
            ),
        },
        "/executions/{number}/stream": {"get": stream},
    }


def _file_paths() -> Json:
    path = _parameter("path", "path", {"type": "string", "minLength": 1})
    query = _parameter("path", "query", {"type": "string"})
    listing = _operation("What lies below.", {200: "Files"}, (*ALWAYS, 400, 404, 409), [query])
    fetch = _operation("The file's content.", {}, (*ALWAYS, 400, 404, 409), [path])
    fetch["responses"]["200"] = {
        "description": "The content, its type by the file's name.",
        "content": {"*/*": {"schema": {}}},
    }
    send = _operation(
        "Write a file, and copy it to S3.",
        {201: "Sent"},
        (*ALWAYS, 400, 404, 409, 413, 502, 507),
        [path],
    )
    send["requestBody"] = {"content": {BYTES: {"schema": {}}}}
    errors = (*ALWAYS, 400, 403, 404, 409, 413, 429, 502, 503, 504, 507)
    sync = _operation("Copy files from S3 into the data directory.", {200: "Synced"}, errors)
    return {
        "/debug/files": {"get": listing},
        "/files": {"get": listing},
        "/files/{path}": {
            "get": fetch,
            "put": send,
            "delete": _operation("Remove it.", {200: "Deleted"}, (*ALWAYS, 400, 404, 409), [path]),
        },
        "/file-sync": {"post": _with_body(sync, FILE_SYNC_SCHEMA)},
    }


def _operation(
    summary: str,
    answers: dict[int, str],
    errors: tuple[int, ...] = ALWAYS,
    parameters: list[Json] | None = None,
) -> Json:
    responses = {str(status): _json(schema) for status, schema in answers.items()}
    operation: Json = {"summary": summary, "responses": responses | _errors(errors)}
    return operation | ({"parameters": parameters} if parameters else {})


def _errors(statuses: tuple[int, ...]) -> Json:
    return {str(s): {**_json("Error"), "description": ERRORS[s]} for s in sorted(statuses)}


def _json(schema: str) -> Json:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": schema, "content": {JSON: {"schema": reference}}}


def _any_object() -> Json:
    return {"200": {"description": "OpenAPI", "content": {JSON: {"schema": {"type": "object"}}}}}


def _with_body(operation: Json, schema: Json, *, required: bool = True) -> Json:
    body = {"required": required, "content": {JSON: {"schema": schema}}}
    return {**operation, "requestBody": body}


def _parameter(name: str, place: str, schema: Json) -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}
