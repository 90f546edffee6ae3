"""What requests may look like (the API's own document shows the same), and how they are read."""

import json
from typing import Annotated, Any, Final, NoReturn

from flask import Request
from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from nanogrid import names
from nanogrid.fields import Identifier, Model
from nanogrid.reasons import Reason
from nanogrid.status import Phase
from nanogrid_gateway.api.errors import ApiError, invalid, too_large

MEMORY: Final = r"^[1-9][0-9]{0,11}(k|M|G|T|Ki|Mi|Gi|Ti)$"
ENTRY_POINT: Final = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"
FUNCTION_ID: Final = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"
PHASES: Final = [phase.value for phase in Phase]
MAX_PAGE: Final = 500

FunctionId = Annotated[str, Field(min_length=1, max_length=63, pattern=FUNCTION_ID)]


class RunRequest(Model):
    """The body of ``POST /run``."""

    function_id: FunctionId = Field(description="What to run.")
    input_data: JsonValue = Field(
        default=None, description="Any JSON; the code reads it from the path in $FUNCTION_INPUT."
    )
    wait: float | None = Field(
        None, ge=0, description="Seconds to wait for the result; see the gateway's own limits."
    )
    request_id: Identifier | None = Field(
        None, description="Makes the request repeatable; default is a new one each time."
    )
    version: int | None = Field(None, ge=1, le=1_000_000, description="Default is the newest.")


class UploadForm(Model):
    """The form of ``POST /upload``, beside its file."""

    function_id: FunctionId | None = Field(
        None, description="A function that gets a new version; default makes a new function."
    )
    runtime: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        None, description="One of the gateway's runtimes; default is python."
    )
    entry_point: Annotated[str, Field(max_length=255, pattern=ENTRY_POINT)] = Field(
        names.ENTRYPOINT, description="The script that is started, relative to the ZIP."
    )
    memory: Annotated[str, Field(max_length=16, pattern=MEMORY)] | None = Field(
        None, description="Memory limit with its unit, for example 256Mi."
    )
    timeout: int | None = Field(None, ge=1, le=86_400, description="Seconds that a run may take.")


class PageQuery(Model):
    """The query of a listing."""

    limit: int = Field(100, ge=1, le=MAX_PAGE, description="Most items of a page.")
    continue_: Annotated[str, Field(max_length=512)] | None = Field(
        None, alias="continue", description="The last page's continue."
    )


class RunsQuery(PageQuery):
    """The query of ``GET /runs``."""

    phase: Phase | None = Field(None, description="Only runs of this phase.")
    function_id: FunctionId | None = Field(None, description="Only runs of this function.")


REQUEST_ID: Final[TypeAdapter[str]] = TypeAdapter(Identifier)
FUNCTION: Final[TypeAdapter[str]] = TypeAdapter(FunctionId)


def run_request(request: Request, max_bytes: int) -> RunRequest:
    """The body of ``POST /run``.

    Raises:
        ApiError: 413 too large, 400 no JSON, 422 other than the document says.
    """
    # One more, because a chunked body that is cut at the limit looks like one that ends there.
    request.max_content_length = max_bytes + 1
    if (request.content_length or 0) > max_bytes or len(data := request.get_data()) > max_bytes:
        raise too_large(max_bytes)
    body = json_body(data)
    try:
        return RunRequest.model_validate(body, by_name=False, by_alias=True)
    except ValidationError as e:
        raise invalid(_said(e)) from None


def json_body(data: bytes) -> Any:
    """The JSON of a body, strictly: no NaN, no infinity, UTF-8."""
    try:
        value = json.loads(data.decode(), parse_constant=_no_constant)
        json.dumps(value, allow_nan=False)  # 1e999 is read as infinity
    except (ValueError, RecursionError) as e:
        said = "is nested too deeply" if isinstance(e, RecursionError) else f"is no JSON ({e})"
        raise ApiError(400, Reason.BAD_REQUEST, f"The body {said}.") from None
    return value


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def upload_form(request: Request) -> UploadForm:
    """The form's fields; empty ones count as absent."""
    given = {key: value for key, value in request.form.items() if value != ""}
    try:
        return UploadForm.model_validate(given, by_name=False, by_alias=True)
    except ValidationError as e:
        raise invalid(_said(e)) from None


def query(request: Request, model: type[PageQuery]) -> Any:
    """The query's parameters as the model has them."""
    try:
        return model.model_validate(request.args.to_dict(), by_name=False, by_alias=True)
    except ValidationError as e:
        raise ApiError(400, Reason.BAD_REQUEST, _said(e)) from None


def valid_id(adapter: TypeAdapter[str], value: str, missing: Reason) -> str:
    """An id out of a path; one that cannot exist is not found."""
    try:
        return adapter.validate_python(value)
    except ValidationError:
        raise ApiError(404, missing) from None


def _said(error: ValidationError) -> str:
    """All that is wrong, each with its field."""
    faults = error.errors(include_url=False, include_input=False)
    parts = [f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in faults[:5]]
    return "; ".join(parts) + "."
