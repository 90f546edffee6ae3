"""The API's own document, OpenAPI 3.1: what ``GET /openapi.json`` gives."""

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from nanogrid.fields import Model
from nanogrid_gateway.api.requests import (
    FUNCTION_ID,
    PageQuery,
    RunRequest,
    RunsQuery,
    UploadForm,
)
from nanogrid_gateway.api.settings import Settings

Json = dict[str, Any]

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"
TEXT: Final[Json] = {"type": "string"}
NUMBER: Final[Json] = {"type": "integer"}
MAYBE_NUMBER: Final[Json] = {"type": ["integer", "null"]}
OPEN: Final[Json] = {"type": "object"}
REQUEST_ID: Final[Json] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 63,
    "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
}
ERRORS: Final = {
    400: "The request cannot be understood; the message names the field.",
    401: "There is no valid token.",
    403: "The caller may not do this; the message names the right.",
    404: "There is no such thing.",
    408: "The body came too slowly.",
    409: "It cannot be done as things are now.",
    410: "The continue token is too old.",
    413: "The body is too large.",
    415: "The body has the wrong media type.",
    422: "It cannot be done as asked; found says what was found.",
    429: "Too many requests; see Retry-After.",
    500: "The gateway failed.",
    503: "Kubernetes or S3 does not answer, or the gateway is not ready.",
}
ALWAYS: Final = (401, 403, 429, 500, 503)


def _object(required: dict[str, Json], **more: Json) -> Json:
    return {"type": "object", "required": sorted(required), "properties": required | more}


LINKS: Final = _object({"self": TEXT, "logs": TEXT})
RUN: Final = _object(
    {"requestId": TEXT, "status": {"enum": ["PENDING", "RUNNING"]}, "phase": TEXT, "links": LINKS},
    functionId=TEXT,
    version=NUMBER,
    reason=TEXT,
    message=TEXT,
    createdAt=TEXT,
)
RESULT: Final = _object(
    {
        "requestId": TEXT,
        "status": {"enum": ["SUCCESS", "FAILED", "TIMEOUT"]},
        "stdout": TEXT,
        "stderr": TEXT,
        "durationMillis": NUMBER,
        "optimizationTip": TEXT,
        "outputFiles": {"type": "array", "items": TEXT},
        "reason": TEXT,
    },
    functionId={"type": ["string", "null"]},
    exitCode=MAYBE_NUMBER,
    peakMemoryBytes=MAYBE_NUMBER,
    peakMemoryMB=MAYBE_NUMBER,
    outputs={"type": "array", "items": OPEN},
)
VERSION: Final = _object(
    {"version": NUMBER, "s3Key": TEXT, "sha256": TEXT, "createdAt": TEXT},
    command={"type": "array", "items": TEXT},
)
FUNCTION: Final = _object(
    {"functionId": TEXT, "version": NUMBER, "s3Key": TEXT, "sha256": TEXT, "runtime": TEXT},
    createdAt=TEXT,
    memory={"type": ["string", "integer"]},
    timeout=NUMBER,
    runs=NUMBER,
    lastRun=OPEN,
    recommendation=OPEN,
)
ERROR: Final = _object(
    {"error": _object({"reason": TEXT, "message": TEXT}, found=OPEN)},
)
SCHEMAS: Final[Json] = {
    "Error": ERROR,
    "Run": RUN,
    "Result": RESULT,
    "RunLine": _object({"requestId": TEXT, "status": TEXT, "phase": TEXT, "links": LINKS}),
    "Runs": _object(
        {"runs": {"type": "array", "items": {"$ref": "#/components/schemas/RunLine"}}},
        **{"continue": TEXT},
    ),
    "Uploaded": _object(
        {
            "functionId": TEXT,
            "version": NUMBER,
            "s3Key": TEXT,
            "runtime": TEXT,
            "sha256": TEXT,
            "files": NUMBER,
        }
    ),
    "Function": FUNCTION,
    "Functions": _object(
        {"functions": {"type": "array", "items": {"$ref": "#/components/schemas/Function"}}},
        **{"continue": TEXT},
    ),
    "Version": VERSION,
    "Versions": _object(
        {"versions": {"type": "array", "items": {"$ref": "#/components/schemas/Version"}}}
    ),
    "Deleted": _object({"functionId": TEXT, "deletedObjects": NUMBER}),
    "Health": _object({"status": TEXT}),
    "Ready": _object(
        {
            "ready": {"type": "boolean"},
            "missing": {"type": "array", "items": TEXT},
            "warnings": {"type": "array", "items": TEXT},
        }
    ),
}


def document(settings: Settings) -> Json:
    """The whole document; the gateway's own limits are in it."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "NanoGrid functions", "version": "1"},
        "security": [] if settings.auth_mode == "none" else [{"token": []}],
        "paths": {**_service_paths(), **_function_paths(), **_run_paths(settings)},
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _service_paths() -> Json:
    paths: Json = {}
    for path, schema, summary in (
        ("/healthz", "Health", "Whether the process works."),
        ("/readyz", "Ready", "Whether requests can be served, and what is missing."),
    ):
        answers = {"200": _json(schema), "503": _json(schema), "500": _json("Error")}
        paths[path] = {"get": {"summary": summary, "security": [], "responses": answers}}
    whole = {"200": {"description": "OpenAPI", "content": {JSON: {"schema": OPEN}}}}
    paths["/openapi.json"] = {
        "get": {"summary": "This document.", "security": [], "responses": whole}
    }
    return paths


def _function_paths() -> Json:
    one = _parameter(
        "functionId", "path", {"type": "string", "pattern": FUNCTION_ID, "maxLength": 63}
    )
    fields = _schema(UploadForm)
    fields["properties"]["file"] = {
        "type": "string",
        "contentMediaType": "application/zip",
        "format": "binary",
        "description": "The ZIP; the field may also be called code.",
    }
    fields["required"] = ["file"]
    fields.pop("additionalProperties", None)
    upload = _operation(
        "Store code as a new function, or as a new version of one.",
        {201: "Uploaded"},
        (*ALWAYS, 400, 404, 408, 409, 413, 415, 422),
    )
    upload["requestBody"] = {
        "required": True,
        "content": {"multipart/form-data": {"schema": fields}},
    }
    return {
        "/upload": {"post": upload},
        "/functions": {
            "get": _operation(
                "All functions, page by page.",
                {200: "Functions"},
                (*ALWAYS, 400, 410),
                _query(PageQuery),
            )
        },
        "/functions/{functionId}": {
            "get": _operation("One function.", {200: "Function"}, (*ALWAYS, 404, 422), [one]),
            "delete": _operation(
                "Delete it and its code; 409 while runs have not ended.",
                {200: "Deleted"},
                (*ALWAYS, 404, 409),
                [one],
            ),
        },
        "/functions/{functionId}/versions": {
            "get": _operation(
                "Its versions, the newest first.", {200: "Versions"}, (*ALWAYS, 404, 422), [one]
            )
        },
    }


def _run_paths(settings: Settings) -> Json:
    one = _parameter("requestId", "path", REQUEST_ID)
    name = _parameter("name", "path", {"type": "string", "minLength": 1})
    run = _operation(
        f"Run a function and wait for its result, {settings.wait_seconds:g} s unless the request "
        f"says, at most {settings.max_wait_seconds:g} s. Failing code is a 200, too.",
        {200: "Result", 202: "Run"},
        (*ALWAYS, 400, 404, 408, 409, 413, 422),
    )
    run["requestBody"] = {"required": True, "content": {JSON: {"schema": _schema(RunRequest)}}}
    stream = _operation("What it prints, live.", {}, (*ALWAYS, 404), [one])
    stream["responses"]["200"] = {
        "description": "Events log {text}, end {the result without its streams}, error, gone.",
        "content": {EVENTS: {"schema": TEXT}},
    }
    download = _operation("One output file.", {}, (*ALWAYS, 404), [one, name])
    download["responses"]["200"] = {
        "description": "The content, as an attachment.",
        "content": {"*/*": {"schema": {}}},
    }
    return {
        "/run": {"post": run},
        "/runs": {
            "get": _operation(
                "Runs, page by page.", {200: "Runs"}, (*ALWAYS, 400, 410), _query(RunsQuery)
            )
        },
        "/runs/{requestId}": {
            "get": _operation(
                "The result, or the state with 202.",
                {200: "Result", 202: "Run"},
                (*ALWAYS, 404),
                [one],
            ),
            "delete": _operation("Cancel it.", {202: "Run"}, (*ALWAYS, 404, 409), [one]),
        },
        "/runs/{requestId}/logs": {"get": stream},
        "/runs/{requestId}/outputs/{name}": {"get": download},
    }


def _schema(model: type[Model]) -> Json:
    """A model's JSON schema, without references."""
    _, top = models_json_schema([(model, "validation")], by_alias=True)
    definitions = top["$defs"]
    schema: Json = dict(definitions[model.__name__])
    schema["properties"] = {
        name: _resolved(field, definitions) for name, field in schema.get("properties", {}).items()
    }
    return schema


def _resolved(field: Json, definitions: Json) -> Json:
    """Without title, null and references: an absent field is how this API says null."""
    field = {k: v for k, v in field.items() if k not in ("title", "default")}
    branches = [b for b in field.pop("anyOf", []) if b.get("type") != "null"]
    for branch in branches:
        field |= branch
    if reference := field.pop("$ref", None):
        target: Json = definitions[reference.rpartition("/")[2]]
        field |= {k: v for k, v in target.items() if k not in ("title", "$defs", "description")}
    return field


def _query(model: type[Model]) -> list[Json]:
    properties = _schema(model)["properties"]
    return [_parameter(name, "query", schema) for name, schema in properties.items()]


def _operation(
    summary: str,
    answers: dict[int, str],
    errors: tuple[int, ...] = ALWAYS,
    parameters: list[Json] | None = None,
) -> Json:
    responses = {str(status): _json(schema) for status, schema in answers.items()}
    for status in sorted(errors):
        responses[str(status)] = {**_json("Error"), "description": ERRORS[status]}
    operation: Json = {"summary": summary, "responses": responses}
    return operation | ({"parameters": parameters} if parameters else {})


def _json(schema: str) -> Json:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": schema, "content": {JSON: {"schema": reference}}}


def _parameter(name: str, place: str, schema: Json) -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}
