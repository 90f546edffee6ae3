"""Functions as the API shows them. Pure."""

from typing import Final

from pydantic import ValidationError

from nanogrid import names
from nanogrid.api.function import Function
from nanogrid.api.function_spec import FunctionVersion
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_gateway.api.errors import ApiError

DEFAULT_RUNTIME: Final = "python"


def model_of(body: Json) -> Function:
    """The model of a Function.

    Raises:
        ApiError: 422, it cannot be read.
    """
    try:
        return Function.model_validate({k: v for k, v in body.items() if k != "status"})
    except ValidationError as e:
        message = f"Function {body['metadata']['name']} cannot be read: {e.errors()[0]}"
        raise ApiError(422, Reason.INVALID_SPEC, message) from None


def runtime_of(body: Json) -> str:
    """The runtime's name, or its image if the function was not uploaded here."""
    annotations = body["metadata"].get("annotations") or {}
    image = (body["spec"].get("runtime") or {}).get("image")
    return str(annotations.get(names.ANNOTATION_RUNTIME) or image or DEFAULT_RUNTIME)


def version_line(version: FunctionVersion) -> Json:
    """One version."""
    line = {
        "version": version.version,
        "s3Key": version.s3.key,
        "sha256": version.s3.sha256,
        "createdAt": version.created_at,
    }
    return line | ({"command": version.command} if version.command else {})


def function_line(body: Json) -> Json:
    """One function, with its newest version."""
    newest = model_of(body).spec.newest
    status = body.get("status") or {}
    limits = (body["spec"].get("resources") or {}).get("limits") or {}
    line = {
        "functionId": body["metadata"]["name"],
        "version": newest.version,
        "s3Key": newest.s3.key,
        "sha256": newest.s3.sha256,
        "runtime": runtime_of(body),
        "createdAt": body["metadata"].get("creationTimestamp"),
        "memory": limits.get("memory"),
        "timeout": (body["spec"].get("timeouts") or {}).get("executionSeconds"),
        "pool": (body["spec"].get("poolRef") or {}).get("name"),
        "runs": status.get("runs"),
        "lastRun": status.get("lastRun"),
        "recommendation": status.get("recommendation"),
    }
    return {key: value for key, value in line.items() if value is not None}
