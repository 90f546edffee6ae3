"""The WSGI application: who is let in, what an error looks like, which routes there are."""

import logging
from collections.abc import Callable
from typing import Any, Final

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from nanogrid.reasons import Reason
from nanogrid_gateway import web
from nanogrid_gateway.api import api_functions, api_runs, api_service
from nanogrid_gateway.api.answers import answered, rights
from nanogrid_gateway.api.core import Gateway
from nanogrid_gateway.api.errors import ApiError, cluster_away, too_large
from nanogrid_gateway.router.cluster import KubeError

log = logging.getLogger("nanogrid.gateway")

FORM_PARTS: Final = 20
FORM_BYTES: Final = 64 * 1024  # of the fields beside the file


def create_app(gateway: Gateway) -> Flask:
    """The API of one gateway."""
    app = Flask("nanogrid-gateway", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = gateway.settings.max_upload_bytes
    app.config["MAX_FORM_PARTS"] = FORM_PARTS
    app.config["MAX_FORM_MEMORY_SIZE"] = FORM_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # a path with '//' is refused, not redirected

    @app.before_request
    def let_in() -> None:
        if request.endpoint is None:
            return  # there is no such path, or not with this method: the error says so
        right = rights(app.view_functions[request.endpoint])
        if right is None:
            return
        address = request.remote_addr or "-"
        caller = gateway.auth.admit(request.headers.get("Authorization"), address, right)
        gateway.limits.enter(caller)
        g.caller = caller

    @app.teardown_request
    def let_out(error: BaseException | None) -> None:
        if caller := g.pop("caller", None):
            gateway.limits.leave(caller)

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    handlers: list[tuple[type[Exception], Callable[[Any], Response]]] = [
        (ApiError, _refused),
        (HTTPException, _http_error),
        (KubeError, lambda e: _refused(cluster_away(str(e)))),
        (Exception, _unforeseen),
    ]
    for kind, handler in handlers:
        app.register_error_handler(kind, handler)
    for module in (api_service, api_functions, api_runs, web):
        module.add_routes(app, gateway)
    return app


def _refused(error: ApiError) -> Response:
    response = answered(error.body(), error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="nanogrid"'
    return response


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    message = (error.description or error.name).rstrip(".") + "."
    if isinstance(error, NotFound):
        message = f"There is no path {request.path!a}. GET /openapi.json lists them."
    if isinstance(error, RequestEntityTooLarge):
        return _refused(too_large(request.max_content_length or 0))
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or []))
        message = f"{request.path!a} does not take {request.method}, but: {allowed}."
    response = _refused(ApiError(status, Reason.BAD_REQUEST, message))
    for name, value in error.get_headers():
        if name in ("Allow", "Location"):
            response.headers[name] = value
    return response


def _unforeseen(error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    said = "The gateway failed; its log has the traceback. Try again."
    return _refused(ApiError(500, Reason.INTERNAL_ERROR, said))
