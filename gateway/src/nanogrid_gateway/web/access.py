"""Signing in and out: the API's own check of a token, and a cookie that keeps it sealed.

On the page's own paths only, the cookie becomes the Authorization header that the API's check
reads: there is one check for both, and no cookie ever opens the API.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import quote, urlsplit

from flask import Response, request
from werkzeug.http import parse_cookie

from nanogrid.reasons import Reason
from nanogrid_gateway.api.auth import BEARER, Right
from nanogrid_gateway.api.core import Gateway
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.web.paths import HOME, PREFIX, SIGN_IN
from nanogrid_gateway.web.seal import Seal

COOKIE: Final = "nanogrid_web"
WORD: Final = "form_word"  # the hidden field that says a form is ours
_HEADER: Final = "HTTP_AUTHORIZATION"
_SAME: Final = ("same-origin", "none")

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class CookieToHeader:
    """WSGI middleware that unseals the cookie."""

    def __init__(self, app: Wsgi, seal: Seal) -> None:
        self._app = app
        self._seal = seal

    def __call__(self, environ: dict[str, Any], start_response: Any, /) -> Iterable[bytes]:
        """Pass a request on, with its caller's token."""
        ours = f"{environ.get('PATH_INFO', '')}/".startswith(HOME)
        if ours and _HEADER not in environ:
            value = parse_cookie(environ).get(COOKIE, "")
            if token := self._seal.open(value, time.time()):
                environ[_HEADER] = f"Bearer {token}"
        return self._app(environ, start_response)


def credentials() -> str:
    """What the request's caller showed; empty where nobody has to."""
    return request.headers.get("Authorization", "")


def check_form(seal: Seal) -> None:
    """Whether a form that changes something came from our own page.

    Raises:
        ApiError: 403, it may have come from elsewhere.
    """
    check_origin()
    if not seal.is_form_word(request.form.get(WORD, ""), credentials()):
        said = "The form is not this page's, or you have signed in anew since. Reload the page."
        raise ApiError(403, Reason.FORBIDDEN, said)


def check_origin() -> None:
    """Whether the browser says that a form came from this very site.

    Raises:
        ApiError: 403.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin", "")
    ours = site in _SAME if site else urlsplit(origin).netloc == request.host
    if not ours:
        said = "The form came from another site. Open this page itself, and try again."
        raise ApiError(403, Reason.FORBIDDEN, said)


def sign_in(gateway: Gateway, seal: Seal, token: str, right: Right, target: str) -> Response:
    """Check a token as the API would, and keep it.

    Raises:
        ApiError: 401 unknown, 413 too long for a cookie, 503.
    """
    token = token.strip()
    if token.lower().startswith(BEARER):
        token = token[len(BEARER) :].strip()
    if not token.isascii() or not token.isprintable():
        raise ApiError(401, Reason.UNAUTHORIZED, "A token has ASCII characters only. Copy it anew.")
    try:
        gateway.auth.admit(f"Bearer {token}", request.remote_addr or "-", right)
    except ApiError as e:
        if e.status != 403:  # known, without that right: each page says what is missing
            raise
    value = seal.close(token, time.time())
    if value is None:
        said = "The token is too long for a browser's cookie. Take one with fewer claims or groups."
        raise ApiError(413, Reason.REQUEST_TOO_LARGE, said)
    response = go(target)
    response.set_cookie(COOKIE, value, max_age=seal.ttl, **_attributes())
    return response


def sign_out() -> Response:
    """Forget the token."""
    response = go(SIGN_IN)
    response.delete_cookie(COOKIE, **_attributes())
    return response


def to_sign_in() -> Response:
    """To the form, and from there back; a fragment's page goes there as a whole."""
    here = request.full_path.rstrip("?") if request.method == "GET" else HOME
    if request.headers.get("HX-Request"):
        here = HOME
        if current := request.headers.get("HX-Current-URL"):
            parts = urlsplit(current)
            here = parts.path + (f"?{parts.query}" if parts.query else "")
        response = Response(status=401)
        response.headers["HX-Redirect"] = f"{SIGN_IN}?next={quote(here, safe='/')}"
        return response
    return go(f"{SIGN_IN}?next={quote(here, safe='/')}")


def go(target: str) -> Response:
    """See other: a page to go to."""
    return Response(status=303, headers={"Location": target})


def _attributes() -> dict[str, Any]:
    """Not for scripts, not from other sites, not to the API nor to sessions on the same host."""
    secure = request.is_secure or request.headers.get("X-Forwarded-Proto") == "https"
    return {"httponly": True, "samesite": "Strict", "secure": secure, "path": PREFIX}
