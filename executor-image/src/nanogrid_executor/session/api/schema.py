"""Validates a request's JSON against the schemas of the OpenAPI document.

Those schemas use a small part of JSON Schema. This module validates exactly that part, so that the
agent needs no further package. Each error names the field.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from nanogrid_executor.session.errors import bad_request

Schema = Mapping[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "object": (dict,),
}


def check(schema: Schema, value: Any, where: str = "") -> None:
    """Raise an ``ApiError`` (400) that names the first invalid field and what is expected.

    Args:
        schema: of the value.
        value: from JSON.
        where: the value's place in the body; empty for the body itself.
    """
    name = where or "the body"
    kind = schema["type"]
    is_bool = isinstance(value, bool) and kind != "boolean"
    if is_bool or not isinstance(value, _TYPES[kind]):
        raise bad_request(f"{name} must be {_article(kind)}, not {_type_name(value)}.")
    if "enum" in schema and value not in schema["enum"]:
        allowed = ", ".join(repr(item) for item in schema["enum"])
        raise bad_request(f"{name} must be one of {allowed}.")
    _CHECKS.get(kind, _no_check)(schema, value, name, where)


def _string(schema: Schema, value: str, name: str, where: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise bad_request(f"{name} contains a lone surrogate, which is not valid text.") from None
    if len(value) < schema.get("minLength", 0):
        raise bad_request(f"{name} must have at least {schema['minLength']} characters.")
    if len(value) > schema.get("maxLength", math.inf):
        raise bad_request(f"{name} must have at most {schema['maxLength']} characters.")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise bad_request(f"{name} must match {schema['pattern']}")


def _number(schema: Schema, value: float, name: str, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise bad_request(f"{name} must be a finite number.")
    if value <= schema.get("exclusiveMinimum", -math.inf):
        raise bad_request(f"{name} must be more than {schema['exclusiveMinimum']}.")
    if value > schema.get("maximum", math.inf):
        raise bad_request(f"{name} must be at most {schema['maximum']}.")


def _object(schema: Schema, value: dict[str, Any], name: str, where: str) -> None:
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", False)
    for key in schema.get("required", ()):
        if key not in value:
            raise bad_request(f"{_inside(where, key)} is missing.")
    for key, item in value.items():
        if "propertyNames" in schema:
            check(schema["propertyNames"], key, f"the name {key!a} in {name}")
        if key in properties:
            check(properties[key], item, _inside(where, key))
        elif others:
            check(others, item, _inside(where, key))
        else:
            known = ", ".join(properties)
            raise bad_request(
                f"{name} has the unknown field {key!a}; the known fields are: {known}."
            )


def _no_check(schema: Schema, value: Any, name: str, where: str) -> None:
    """The type alone is enough."""


_CHECKS: dict[str, Callable[[Schema, Any, str, str], None]] = {
    "string": _string,
    "number": _number,
    "integer": _number,
    "object": _object,
}


def _inside(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aio" else f"a {kind}"


def _type_name(value: Any) -> str:
    names = {str: "a string", bool: "a boolean", dict: "an object", list: "an array"}
    return "null" if value is None else names.get(type(value), "a number")
