"""Label and field selectors, as API servers for tests understand them. Pure."""

import re
from collections.abc import Mapping
from typing import Any, Final

from nanogrid.types import Json

_TERM: Final = re.compile(r"[^,(]+(?:\([^)]*\))?")  # a set has commas of its own


def selected(body: Json, labels: str = "", fields: str = "") -> bool:
    """Whether selectors with terms KEY, !KEY, KEY=VALUE and KEY in (VALUE,...) select an object.

    A field that the object does not have is empty.
    """
    own = body["metadata"].get("labels") or {}
    return all(_label(own, term) for term in _terms(labels)) and all(
        _field(body, term) for term in _terms(fields)
    )


def selected_by(body: Json, query: Mapping[str, str]) -> bool:
    """Whether the query of a LIST or WATCH selects an object."""
    return selected(body, query.get("labelSelector", ""), query.get("fieldSelector", ""))


def _terms(selector: str) -> list[str]:
    return [term.strip() for term in _TERM.findall(selector)]


def _label(own: Mapping[str, str], term: str) -> bool:
    key, one_of, values = term.partition(" in ")
    if one_of:
        return own.get(key) in values.strip("()").split(",")
    key, equals, value = term.partition("=")
    if key.startswith("!"):
        return key[1:] not in own
    return own.get(key) == value if equals else key in own


def _field(body: Json, term: str) -> bool:
    path, _, value = term.partition("=")
    found: Any = body
    for name in path.split("."):
        found = (found or {}).get(name)
    return str(found or "") == value
