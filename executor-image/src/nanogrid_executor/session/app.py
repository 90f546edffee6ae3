"""The WSGI application: who is let in, what an error looks like, which routes there are."""

import sys
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_executor.log import log
from nanogrid_executor.session import api_execute, api_files, api_session
from nanogrid_executor.session.auth import Auth
from nanogrid_executor.session.core import Session
from nanogrid_executor.session.errors import ApiError
from nanogrid_executor.session.requests import BODY_BYTES, answered

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HEALTH: Final = "/health"


def create_app(session: Session, auth: Auth) -> Flask:
    """The API of one session."""
    app = Flask("nanogrid-session", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # a path with '//' is refused, not redirected

    @app.before_request
    def let_in() -> None:
        if request.path == HEALTH and request.method in ("GET", "HEAD"):
            return
        auth.check(request.headers.get("Authorization"))
        session.life.enter()
        g.active = True

    @app.teardown_request
    def let_out(error: BaseException | None) -> None:
        if g.pop("active", False):
            session.life.leave()

    app.register_error_handler(ApiError, _refused)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unforeseen)
    for module in (api_session, api_execute, api_files):
        module.add_routes(app, session)
    own = names.session_path(session.task.namespace, session.task.job)
    app.wsgi_app = Unprefixed(app.wsgi_app, own)  # type: ignore[assignment,method-assign]
    return app


class Unprefixed:
    """Takes the session's path at the router off: an own load balancer rule leaves it on."""

    def __init__(self, app: "WSGIApplication", prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        """Serve one request."""
        path = environ.get("PATH_INFO", "")
        if path.startswith(f"{self._prefix}/"):
            environ["PATH_INFO"] = path[len(self._prefix) :]
        return self._app(environ, start)


def _refused(error: ApiError) -> Response:
    response = answered(error.body(), error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="nanogrid-session"'
    return response


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    message = (error.description or error.name).rstrip(".") + "."
    if isinstance(error, NotFound):
        message = f"There is no path {request.path!a}. GET /openapi.json lists them."
    if isinstance(error, RequestEntityTooLarge):
        message = f"The body has more than {BODY_BYTES} bytes. Send less; files go to PUT /files."
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or []))
        message = f"{request.path} does not take {request.method}, but: {allowed}."
    response = _refused(ApiError(status, Reason.BAD_REQUEST, message))
    for name, value in error.get_headers():
        if name in ("Allow", "Location"):
            response.headers[name] = value
    return response


def _unforeseen(error: Exception) -> Response:
    traceback.print_exception(error, file=sys.stdout)
    log("request-failed", method=request.method, path=request.path, error=type(error).__name__)
    said = "The API failed; the agent's log has the traceback. Try again."
    return _refused(ApiError(500, Reason.INTERNAL_ERROR, said))
