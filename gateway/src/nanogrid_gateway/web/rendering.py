"""Renders the templates; text is always escaped, and what is not seen is shown as its escape."""

import hashlib
from collections.abc import Callable
from typing import Any, Final

import jinja2
from aiohttp import web
from markupsafe import Markup

from nanogrid.plurals import counted
from nanogrid.visible_text import printable_lines
from nanogrid_gateway.api.routing import CALLER
from nanogrid_gateway.web import (
    access,
    assets,
    formatting,
    function_view,
    paths,
    plots,
    rows,
    run_view,
    snippets,
)
from nanogrid_gateway.web.paths import Scopes

HTML: Final = "text/html"
SEEN: Final = "seen"


def _visible(value: Any) -> Any:
    """A value for a template; ``|e`` keeps a text that has to stay exact."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable_lines(value)
    return value


_ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__, "templates"),
    autoescape=True,
    auto_reload=False,
    finalize=_visible,
)


class Renderer:
    """Renders pages.

    Args:
        scopes: where the pages of each namespace are.
        open_to_all: whether callers need no token and no sign-in.
        credentials: what a request shows; empty if it shows nothing.
        csrf_token: gives the token for the forms of someone with these credentials.
    """

    def __init__(
        self,
        scopes: Scopes,
        *,
        open_to_all: bool,
        credentials: Callable[[web.Request], str],
        csrf_token: Callable[[str], str],
    ) -> None:
        self._scopes = scopes
        self._open_to_all = open_to_all
        self._credentials = credentials
        self._csrf_token = csrf_token

    def page(
        self, request: web.Request, name: str, status: int = 200, **values: Any
    ) -> web.Response:
        """A page, by its template's name."""
        return _html(self._render(request, f"{name}.html", values), status)

    def live(self, request: web.Request, name: str, seconds: int, **values: Any) -> web.Response:
        """A page, or for an open page its changed part; 204 if nothing has changed.

        Args:
            request: of the page, or of one of its polls.
            name: of the two templates, for the page and for the part that changes.
            seconds: between two polls of an open page; 0 for no polls.
            values: for both templates.
        """
        inner = self._render(request, f"{name}.part.html", values)
        digest = hashlib.sha256(_encoded(inner)).hexdigest()[:16]
        poll = request.headers.get("HX-Request") and SEEN in request.query
        if poll and request.query[SEEN] == digest:
            return web.Response(status=204)
        parts = {
            "inner": Markup(inner),  # noqa: S704 a template has just escaped it
            "digest": digest,
            "query": {k: request.query[k] for k in request.query if k != SEEN},
            "seconds": seconds,
        }
        live = self._render(request, "live.html", parts)
        if poll:
            return _html(live)
        return self.page(request, name, live=Markup(live), **values)  # noqa: S704 the same

    def _render(self, request: web.Request, file: str, values: dict[str, Any]) -> str:
        caller, credentials = request.get(CALLER), self._credentials(request)
        here = self._scopes.at(request)
        common: dict[str, Any] = {
            "request": request,
            "counted": counted,
            "formatting": formatting,
            "plots": plots,
            "run_view": run_view,
            "function_view": function_view,
            "rows": rows,
            "snippets": snippets,
            "origin": access.origin(request),
            "paths": paths,
            "scopes": self._scopes,
            "here": here,
            "choices": [],
            # Nothing about a namespace is shown to callers without a permission there.
            "namespace": here.namespace if caller else "",
            "caller": caller.name if caller else "",
            # Also a caller without the permission for this page can sign out.
            "signed_in": bool(credentials) and not self._open_to_all,
            "csrf_token": self._csrf_token(credentials),
            "static": assets.url,
        }
        return _ENVIRONMENT.get_template(file).render(common | values)


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(body=_encoded(text), status=status, content_type=HTML, charset="utf-8")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
