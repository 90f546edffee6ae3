"""The WSGI application: authentication, the shape of errors, and the table of all routes."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from nanogrid import names
from nanogrid.error_headers import error_headers
from nanogrid.reasons import Reason
from nanogrid_executor.log import write
from nanogrid_executor.session.api.auth import Auth
from nanogrid_executor.session.api.executions import ExecutionRoutes
from nanogrid_executor.session.api.files import FileRoutes
from nanogrid_executor.session.api.requests import BODY_BYTES, json_response
from nanogrid_executor.session.api.session import SessionRoutes
from nanogrid_executor.session.errors import ApiError
from nanogrid_executor.session.session import Session

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
    def authenticate() -> None:
        header = request.headers.get("Authorization")
        g.trusted = not auth.problem(header)
        if request.path == HEALTH and request.method in ("GET", "HEAD"):
            return
        auth.check(header, request.remote_addr or "")
        session.timeouts.begin_activity()
        g.active = True

    @app.after_request
    def close_others(response: Response) -> Response:
        if not g.get("trusted", False):  # a client without the token keeps no connection
            response.headers["Connection"] = "close"
        return response

    @app.teardown_request
    def end_activity(error: BaseException | None) -> None:
        if g.pop("active", False):
            session.timeouts.end_activity()

    app.register_error_handler(ApiError, _error_response)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected_error)
    for method, path, view in _routes(session):
        # The endpoint is unique, so that views may share a name.
        app.add_url_rule(path, f"{method} {path}", view, methods=[method])
    prefix = names.session_path(session.task.namespace, session.task.job)
    app.wsgi_app = StripPrefix(app.wsgi_app, prefix)  # type: ignore[assignment,method-assign]
    return app


def _routes(session: Session) -> list[tuple[str, str, Callable[..., Response]]]:
    whole, executions, files = SessionRoutes(session), ExecutionRoutes(session), FileRoutes(session)
    return [
        ("GET", HEALTH, whole.health),
        ("GET", "/container-info", whole.container_info),
        ("GET", "/contexts", whole.contexts),
        ("DELETE", "/contexts/<name>", whole.drop_context),
        ("POST", "/end", whole.end),
        ("GET", "/openapi.json", whole.openapi),
        ("POST", "/execute", executions.execute),
        ("GET", "/executions", executions.listing),
        ("GET", "/executions/<number>", executions.record),
        ("DELETE", "/executions/<number>", executions.interrupt),
        ("GET", "/executions/<number>/stream", executions.stream),
        ("GET", "/debug/files", files.listing),
        ("GET", "/files", files.listing),
        ("PUT", "/files/<path:path>", files.put),
        ("GET", "/files/<path:path>", files.get),
        ("DELETE", "/files/<path:path>", files.delete),
        ("POST", "/file-sync", files.file_sync),
    ]


class StripPrefix:
    """Removes the session's path at the router; a load balancer rule for one session keeps it."""

    def __init__(self, app: "WSGIApplication", prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        """Serve one request."""
        path = environ.get("PATH_INFO", "")
        if path.startswith(f"{self._prefix}/"):
            environ["PATH_INFO"] = path[len(self._prefix) :]
        return self._app(environ, start)


def _error_response(error: ApiError) -> Response:
    response = json_response(error.body(), error.status)
    response.headers.update(error_headers(error.status, error.retry_after, "nanogrid-session"))
    return response


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    message = (error.description or error.name).rstrip(".") + "."
    if isinstance(error, NotFound):
        message = f"The path {request.path!a} does not exist. GET /openapi.json lists the paths."
    if isinstance(error, RequestEntityTooLarge):
        message = f"The body has more than {BODY_BYTES} bytes. Use PUT /files for files."
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or []))
        message = f"{request.path} does not allow {request.method}. Use one of: {allowed}."
    response = _error_response(ApiError(status, Reason.BAD_REQUEST, message))
    for name, value in error.get_headers():
        if name in ("Allow", "Location"):
            response.headers[name] = value
    return response


def _unexpected_error(error: Exception) -> Response:
    values = {"method": request.method, "path": request.path}
    write("ERROR", "request-failed", values, error=error)
    message = "The API failed; the agent's log has the traceback. Try again."
    return _error_response(ApiError(500, Reason.INTERNAL_ERROR, message))
