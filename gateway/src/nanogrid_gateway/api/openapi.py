"""The OpenAPI 3.1 document of the API: the answer of ``GET /openapi.json``."""

from typing import Final

from pydantic.json_schema import models_json_schema

from nanogrid.api.fields import Model
from nanogrid.openapi import JSON, Operations, json_response, parameter
from nanogrid.types import Json
from nanogrid_gateway.api.openapi_schemas import OPEN, SCHEMAS, TEXT
from nanogrid_gateway.api.requests import (
    FUNCTION_ID,
    PageQuery,
    RunRequest,
    RunsQuery,
    UploadForm,
)
from nanogrid_gateway.api.settings import Settings

EVENTS: Final = "text/event-stream"
REQUEST_ID: Final[Json] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 63,
    "pattern": "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
}
ERRORS: Final = {
    400: "The request cannot be read; the message names the field.",
    401: "There is no valid token.",
    403: "The caller lacks a permission; the message names it.",
    404: "The object does not exist.",
    408: "The body arrives too slowly.",
    409: "The request conflicts with the current state.",
    410: "The continue token is too old.",
    413: "The body is too large.",
    415: "The body has the wrong media type.",
    422: "The request is valid but cannot be served; found shows what was found.",
    429: "Too many requests; see Retry-After.",
    500: "The gateway failed.",
    503: "Kubernetes or S3 does not answer, or the gateway is not ready.",
}
ALWAYS: Final = (401, 403, 429, 500, 503)
_API: Final = Operations(ERRORS, ALWAYS)


def document(settings: Settings) -> Json:
    """The document, with the limits of this gateway."""
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
        ("/healthz", "Health", "Liveness: whether the process works."),
        ("/readyz", "Ready", "Readiness, and the dependencies that are missing."),
    ):
        answers = {
            "200": json_response(schema),
            "503": json_response(schema),
            "500": json_response("Error"),
        }
        paths[path] = {"get": {"summary": summary, "security": [], "responses": answers}}
    whole = {"200": {"description": "OpenAPI", "content": {JSON: {"schema": OPEN}}}}
    paths["/openapi.json"] = {
        "get": {"summary": "This document.", "security": [], "responses": whole}
    }
    return paths


def _function_paths() -> Json:
    one = parameter(
        "functionId", "path", {"type": "string", "pattern": FUNCTION_ID, "maxLength": 63}
    )
    fields = _schema(UploadForm)
    fields["properties"]["file"] = {
        "type": "string",
        "format": "binary",
        "description": "A ZIP, or a Python file whose name ends with .py; the field can also be "
        "named code.",
    }
    fields["required"] = ["file"]
    fields.pop("additionalProperties", None)
    upload = _API.operation(
        "Store code as a new function, which needs the verb create, or as a new version of a "
        "function, which needs patch.",
        {201: "Uploaded"},
        (*ALWAYS, 400, 404, 408, 409, 413, 415, 422),
    )
    upload["requestBody"] = {
        "required": True,
        "content": {"multipart/form-data": {"schema": fields}},
    }
    listing = _API.operation(
        "A page of functions.", {200: "Functions"}, (*ALWAYS, 400, 410), _query(PageQuery)
    )
    return {
        "/upload": {"post": upload},
        "/functions": {"get": listing},
        "/functions/{functionId}": {
            "get": _API.operation("One function.", {200: "Function"}, (*ALWAYS, 404, 422), [one]),
            "delete": _API.operation(
                "Delete a function and its code; 409 while runs have not ended.",
                {200: "Deleted"},
                (*ALWAYS, 404, 409),
                [one],
            ),
        },
        "/functions/{functionId}/versions": {
            "get": _API.operation(
                "All versions of a function, the newest first.",
                {200: "Versions"},
                (*ALWAYS, 404, 422),
                [one],
            )
        },
    }


def _run_paths(settings: Settings) -> Json:
    one = parameter("requestId", "path", REQUEST_ID)
    name = parameter("name", "path", {"type": "string", "minLength": 1})
    run = _API.operation(
        f"Run a function and wait for its result: {settings.wait_seconds:g} s by default, at most "
        f"{settings.max_wait_seconds:g} s. Code that fails is also a 200.",
        {200: "Result", 202: "Run"},
        (*ALWAYS, 400, 404, 408, 409, 413, 422),
    )
    run["requestBody"] = {"required": True, "content": {JSON: {"schema": _schema(RunRequest)}}}
    stream = _API.operation("The output of a run, live.", {}, (*ALWAYS, 404), [one])
    stream["responses"]["200"] = {
        "description": "Events: log {text}, end {the result without its streams}, error, gone.",
        "content": {EVENTS: {"schema": TEXT}},
    }
    download = _API.operation("One output file of a run.", {}, (*ALWAYS, 404), [one, name])
    download["responses"]["200"] = {
        "description": "The content, as an attachment.",
        "content": {"*/*": {"schema": {}}},
    }
    listing = _API.operation(
        "A page of runs.", {200: "Runs"}, (*ALWAYS, 400, 410), _query(RunsQuery)
    )
    return {
        "/run": {"post": run},
        "/runs": {"get": listing},
        "/runs/{requestId}": {
            "get": _API.operation(
                "The result of a run, or its state with 202.",
                {200: "Result", 202: "Run"},
                (*ALWAYS, 404),
                [one],
            ),
            "delete": _API.operation("Stop a run.", {202: "Run"}, (*ALWAYS, 404, 409), [one]),
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
    """Without title, null and references: this API omits a field instead of sending null."""
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
    return [parameter(name, "query", schema) for name, schema in properties.items()]
