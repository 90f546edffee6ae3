"""Sign-in and sign-out: the API checks the token, and an encrypted cookie stores it.

Only on the page's own paths the cookie replaces the Authorization header that the API's check
reads. So page and API share one check, and the API itself accepts no cookie.
"""

import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlsplit

from aiohttp import web

from nanogrid.reasons import Reason
from nanogrid_gateway.api.auth import BEARER, Auth
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.routing import ADDRESS
from nanogrid_gateway.web.paths import PREFIX, SIGN_IN
from nanogrid_gateway.web.sign_in_cookie import SignInCookie

COOKIE: Final = "nanogrid_web"
CSRF_FIELD: Final = "csrf_token"  # hidden in each form
_CREDENTIALS: Final = web.RequestKey("credentials", str)
_SAME: Final = ("same-origin", "none")


def credentials(request: web.Request, cookie: SignInCookie) -> str:
    """The Authorization header, else the cookie's token as one; empty if there is neither."""
    known = request.get(_CREDENTIALS)
    if known is None:
        header = request.headers.get("Authorization")
        token = cookie.decrypt(request.cookies.get(COOKIE, ""), time.time())
        known = header if header is not None else f"Bearer {token}" if token else ""
        known = known if known.isascii() else ""
        request[_CREDENTIALS] = known
    return known


def check_form(request: web.Request, fields: Mapping[str, str], cookie: SignInCookie) -> None:
    """Check that a form that changes something came from this page.

    Raises:
        ApiError: 403, it may come from another site.
    """
    check_origin(request)
    if not cookie.is_csrf_token(fields.get(CSRF_FIELD, ""), credentials(request, cookie)):
        message = "The form is out of date, for example after a new sign-in. Reload the page."
        raise ApiError(403, Reason.FORBIDDEN, message)


def check_origin(request: web.Request) -> None:
    """Check that the browser reports this site as the form's origin.

    Raises:
        ApiError: 403.
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin", "")
    ours = site in _SAME if site else urlsplit(origin).netloc == request.host
    if not ours:
        message = "The form came from another site. Open this page and try again."
        raise ApiError(403, Reason.FORBIDDEN, message)


async def sign_in(
    request: web.Request,
    fields: Mapping[str, str],
    auth: Auth,
    cookie: SignInCookie,
    target: str,
) -> web.Response:
    """Check a token as the API does, and store it in the cookie.

    Raises:
        ApiError: 401 unknown, 413 too long for a cookie, 429 too many attempts, 503.
    """
    token = fields.get("token", "").strip()
    if token.lower().startswith(BEARER):
        token = token[len(BEARER) :].strip()
    if not token.isascii() or not token.isprintable():
        message = "A token has only printable ASCII characters. Copy it again."
        raise ApiError(401, Reason.UNAUTHORIZED, message)
    await auth.caller(f"Bearer {token}", request[ADDRESS])
    value = cookie.encrypt(token, time.time())
    if value is None:
        message = "The token is too long for a cookie. Use one with fewer claims or groups."
        raise ApiError(413, Reason.REQUEST_TOO_LARGE, message)
    response = go(target)
    response.set_cookie(COOKIE, value, max_age=cookie.ttl, **_attributes(request))
    return response


def sign_out(request: web.Request) -> web.Response:
    """Delete the cookie."""
    response = go(SIGN_IN)
    response.del_cookie(COOKIE, **_attributes(request))
    return response


def to_sign_in(request: web.Request, home: str) -> web.Response:
    """Redirect to the sign-in form, which returns here; htmx redirects the whole page.

    Args:
        request: of a caller who is not known.
        home: the first page, where a form returns to.
    """
    here = request.path_qs if request.method in ("GET", "HEAD") else home
    if request.headers.get("HX-Request"):
        here = home
        if current := request.headers.get("HX-Current-URL"):
            parts = urlsplit(current)
            here = parts.path + (f"?{parts.query}" if parts.query else "")
        location = f"{SIGN_IN}?next={quote(here, safe='/')}"
        return web.Response(status=401, headers={"HX-Redirect": location})
    return go(f"{SIGN_IN}?next={quote(here, safe='/')}")


def go(target: str) -> web.Response:
    """303 See Other."""
    return web.Response(status=303, headers={"Location": target})


def origin(request: web.Request) -> str:
    """Scheme and host of this gateway, as the browser names them."""
    return f"{'https' if _secure(request) else 'http'}://{request.host}"


def _secure(request: web.Request) -> bool:
    return request.secure or request.headers.get("X-Forwarded-Proto") == "https"


def _attributes(request: web.Request) -> dict[str, Any]:
    """Keeps the cookie from scripts, other sites, the API, and sessions on the same host."""
    secure = _secure(request)
    return {"httponly": True, "samesite": "Strict", "secure": secure, "path": PREFIX}
