"""What requests look like (the OpenAPI document shows the same), and how they are validated."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, NoReturn, TypeVar

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from nanogrid import names
from nanogrid.api.faults import faults
from nanogrid.api.fields import Identifier, MemoryLimit, Model, PoolName
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError, bad_request, invalid

M = TypeVar("M", bound=Model)

ENTRY_POINT: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"
FUNCTION_ID: Final = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
MAX_PAGE: Final = 500

FunctionId = Annotated[str, Field(min_length=1, max_length=63, pattern=FUNCTION_ID)]


class RunRequest(Model):
    """The body of ``POST /run``."""

    function_id: FunctionId = Field(description="The function to run.")
    input_data: JsonValue = Field(
        default=None, description="Any JSON; the code reads it from the path in $FUNCTION_INPUT."
    )
    wait: float | None = Field(
        None, ge=0, description="Seconds to wait for the result, within the gateway's limit."
    )
    request_id: Identifier | None = Field(
        None, description="Makes the request repeatable; default is a new one for each request."
    )
    version: int | None = Field(None, ge=1, le=1_000_000, description="Default is the newest.")
    pool: PoolName | None = Field(
        None,
        description="The ExecutionPool whose waiting pod the run takes. Default is the function's.",
    )


class UploadForm(Model):
    """The form of ``POST /upload`` without its file."""

    function_id: FunctionId | None = Field(
        None, description="The existing function that gets a new version."
    )
    name: FunctionId | None = Field(
        None,
        description="Name of the function: an existing one gets a new version, otherwise it is "
        "created. Without name and functionId a new function gets a generated name.",
    )
    runtime: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        None, description="One of the gateway's runtimes; default is python."
    )
    entry_point: Annotated[str, Field(max_length=255, pattern=ENTRY_POINT)] = Field(
        names.ENTRYPOINT,
        description="The script to start, relative to the ZIP; a Python file is stored under it.",
    )
    memory: MemoryLimit | None = Field(None, description="Memory limit, for example 256Mi.")
    timeout: int | None = Field(
        None, ge=1, le=86_400, description="Seconds that a run may take at most."
    )
    pool: PoolName | None = Field(
        None, description="The ExecutionPool that gives runs of the function waiting pods."
    )


class PageQuery(Model):
    """The query of a listing."""

    limit: int = Field(100, ge=1, le=MAX_PAGE, description="Most items of a page.")
    continue_: Annotated[str, Field(max_length=512)] | None = Field(
        None, alias="continue", description="The value of continue in the previous page."
    )


class RunsQuery(PageQuery):
    """The query of ``GET /runs``."""

    phase: Phase | None = Field(None, description="Only runs in this phase.")
    function_id: FunctionId | None = Field(None, description="Only runs of this function.")


REQUEST_ID: Final[TypeAdapter[str]] = TypeAdapter(Identifier)
FUNCTION: Final[TypeAdapter[str]] = TypeAdapter(FunctionId)


def run_request(data: bytes) -> RunRequest:
    """The body of ``POST /run``.

    Raises:
        ApiError: 400 not JSON, 422 not as the document describes it.
    """
    body = json_body(data)
    try:
        return RunRequest.model_validate(body, by_name=False, by_alias=True)
    except ValidationError as e:
        raise invalid(_message(e, RunRequest)) from None


def json_body(data: bytes) -> Any:
    """The JSON of a body, strictly: no NaN, no infinity, UTF-8.

    Raises:
        ApiError: 400.
    """
    try:
        value = json.loads(data.decode(), parse_constant=_no_constant)
        json.dumps(value, allow_nan=False)  # 1e999 is read as infinity
    except (ValueError, RecursionError) as e:
        what = "is nested too deeply" if isinstance(e, RecursionError) else f"is not JSON ({e})"
        raise bad_request(f"The body {what}.") from None
    return value


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def upload_form(fields: Mapping[str, str]) -> UploadForm:
    """The form's fields; empty ones count as absent.

    Raises:
        ApiError: 422.
    """
    given = {key: value for key, value in fields.items() if value != ""}
    try:
        form = UploadForm.model_validate(given, by_name=False, by_alias=True)
    except ValidationError as e:
        raise invalid(_message(e, UploadForm)) from None
    if form.name is not None and form.function_id is not None:
        raise invalid("name and functionId: send only one of them.")
    return form


def query(given: Mapping[str, str], model: type[M]) -> M:
    """The parameters of a query; of a repeated one the first counts.

    Raises:
        ApiError: 400.
    """
    try:
        return model.model_validate({k: given[k] for k in given}, by_name=False, by_alias=True)
    except ValidationError as e:
        raise bad_request(_message(e, model)) from None


def valid_id(adapter: TypeAdapter[str], value: str, missing: Reason) -> str:
    """An id from a path; one that cannot exist is not found.

    Raises:
        ApiError: 404 with the reason ``missing``.
    """
    try:
        return adapter.validate_python(value)
    except ValidationError:
        raise ApiError(404, missing) from None


def _message(error: ValidationError, model: type[Model]) -> str:
    """The first five faults, each with its field."""
    return f"{faults(error, model, whole='body')}."
