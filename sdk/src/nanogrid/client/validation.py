"""Validation of a spec by its model, with errors that name the fields."""

from pydantic import BaseModel, ValidationError

from nanogrid.api.faults import faults
from nanogrid.client.errors import InvalidRequest
from nanogrid.types import Json


def check_spec(model: type[BaseModel], spec: Json, kind: str, hint: str) -> None:
    """Check types, bounds and unknown fields; CEL rules are left to the API server.

    Args:
        model: of the spec.
        spec: as in YAML.
        kind: of the object, for the message.
        hint: of the error.

    Raises:
        InvalidRequest: the message names up to five wrong fields.
    """
    try:
        model.model_validate(spec)
    except ValidationError as e:
        wrong = faults(e, model, "spec")
        raise InvalidRequest(f"the {kind} is not valid: {wrong}.", hint) from e
