"""How views answer, and how they say what right a caller needs for them."""

import json
from collections.abc import Callable
from typing import Any, Final, TypeVar

from flask import Response

from nanogrid import names
from nanogrid_gateway.api.auth import Right

View = TypeVar("View", bound=Callable[..., Response])

JSON: Final = "application/json"
_RIGHT: Final = "needs_right"


def answered(body: dict[str, Any], status: int = 200) -> Response:
    """A JSON answer."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), status=status, content_type=JSON)


def needs(verb: str, resource: str = names.PLURAL) -> Callable[[View], View]:
    """Mark a view with the right that its callers need."""

    def mark(view: View) -> View:
        setattr(view, _RIGHT, Right(verb, resource))
        return view

    return mark


def rights(view: Any) -> Right | None:
    """The right that callers of a view need; None for a view that is open to all."""
    found: Right | None = getattr(view, _RIGHT, None)
    return found
