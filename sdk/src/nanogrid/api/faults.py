"""What is wrong with an object that a model refuses, one line for each field. Pure."""

import difflib
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import BaseModel, ValidationError

MOST: Final = 5
ALIKE: Final = 0.6  # of two names, for a suggestion


def faults(error: ValidationError, model: type[BaseModel], where: str = "", whole: str = "") -> str:
    """The first five faults, separated by semicolons.

    Args:
        error: of the validation.
        model: that refuses the object.
        where: path of the object, for example "spec".
        whole: what a fault of the object itself is said about, if ``where`` is empty.
    """
    found = error.errors(include_url=False, include_input=False)[:MOST]
    lines = []
    for one in found:
        location, text = list(one["loc"]), one["msg"]
        if one["type"] == "extra_forbidden":
            name = str(location.pop())
            text = f'unknown field "{name}"{_suggestion(name, fields_at(model, location))}'
        path = ".".join(str(part) for part in [where, *location] if part != "") or whole
        lines.append(f"{path}: {text}" if path else text)
    return "; ".join(lines)


def _suggestion(name: str, known: Sequence[str]) -> str:
    # Upper and lower case are the most common mistake.
    by_lower = {one.lower(): one for one in known}
    alike = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=ALIKE)
    return f' (did you mean "{by_lower[alike[0]]}"?)' if alike else ""


def fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The names of the fields that a model accepts at a place of its object."""
    models = [model]
    for part in location:
        below = [
            found
            for one in models
            for name, field in one.model_fields.items()
            if part in (name, field.alias)
            for found in _models_in(field.annotation)
        ]
        models = below or models  # indexes of lists and names of unions are no fields
    return [field.alias or name for one in models for name, field in one.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models_in(part)
