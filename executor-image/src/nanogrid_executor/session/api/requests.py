"""The schemas of requests, which the OpenAPI document also shows, and helpers to read them."""

import json
from typing import Any, Final

from flask import Response, request

from nanogrid import names, wire
from nanogrid_executor.session.api.schema import check
from nanogrid_executor.session.errors import bad_request

BODY_BYTES: Final = 1024 * 1024
MAX_PAGE: Final = 1000
NO_STORE: Final = {"Cache-Control": "no-store"}
NO_NUL: Final = "^[^\\u0000]*$"
CONTEXT: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
KEY: Final = "^[!-~]{1,200}$"
_RESERVED: Final = "|".join(names.RESERVED_ENV_PREFIXES)
SESSION_ID: Final = {
    "type": "string",
    "description": "if given, must be this session's ID",
}


def execute_schema(rules: wire.SessionRules) -> dict[str, Any]:
    """The body of ``POST /execute``."""
    return {
        "type": "object",
        "required": ["code"],
        "additionalProperties": False,
        "properties": {
            "code": {
                "type": "string",
                "minLength": 1,
                "pattern": NO_NUL,
                "description": "Python code, or shell code after the prefix `BASH: `",
            },
            "timeoutSeconds": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": rules.execution_timeout_seconds,
            },
            "env": {
                "type": "object",
                "propertyNames": {
                    "type": "string",
                    "pattern": f"^(?!{_RESERVED})[A-Za-z_][A-Za-z0-9_]*$",
                },
                "additionalProperties": {"type": "string", "pattern": NO_NUL},
            },
            "context": {
                "type": "string",
                "pattern": CONTEXT,
                "description": "a Python process that keeps its variables; not for shell code",
            },
            "stdin": {"type": "string"},
            "keepProcesses": {
                "type": "boolean",
                "description": "processes that the code started continue after its end, until the "
                "session ends; not for a context, which keeps them as long as it lives",
            },
            "stream": {"type": "boolean", "description": "respond with server-sent events"},
            "session_id": SESSION_ID,
        },
    }


FILE_SYNC_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["action", "bucket_name", "s3_key_prefix"],
    "additionalProperties": False,
    "properties": {
        "action": {"type": "string", "enum": ["sync_data_from_s3"]},
        "bucket_name": {"type": "string", "minLength": 1},
        "s3_key_prefix": {"type": "string"},
        "local_path": {
            "type": "string",
            "minLength": 1,
            "default": f"{names.DEFAULT_DATA_PATH}/",
            "description": f"{names.DEFAULT_DATA_PATH} or a folder below it",
        },
        "session_id": SESSION_ID,
    },
}

END_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "reason": {
            "type": "string",
            "maxLength": 1000,
            "description": "a text for the agent's log",
        },
        "session_id": SESSION_ID,
    },
}


def read_body(schema: dict[str, Any], *, optional: bool = False) -> tuple[dict[str, Any], bytes]:
    """The request's JSON, checked, and its bytes.

    Raises:
        ApiError: 400, the body is not JSON or does not match the schema.
        RequestEntityTooLarge: the body has more than ``BODY_BYTES``.
    """
    data = request.get_data(cache=False)
    if optional and not data:
        return {}, data
    try:
        value = json.loads(data)
    except RecursionError:
        raise bad_request("The body is nested too deeply.") from None
    except ValueError as error:
        raise bad_request(f"The body is not JSON: {error}. Send a JSON object.") from error
    check(schema, value)
    return value, data


def integer_parameter(name: str, default: int, maximum: int) -> int:
    """A query parameter that is an integer from 0 to ``maximum``.

    Raises:
        ApiError: 400.
    """
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) <= maximum):
        raise bad_request(f"{name} must be an integer from 0 to {maximum}, not {text!a}.")
    return int(text)


def json_response(value: Any, status: int = 200) -> Response:
    """A JSON response."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # File names and similar texts may contain bytes that are not UTF-8.
    data = text.encode(errors="replace")
    return Response(data, status, mimetype="application/json", headers=NO_STORE)
