"""The application: its routes, and what is the same for every answer."""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from nanogrid.addresses import client_address
from nanogrid.connections import Connections
from nanogrid.reasons import Reason
from nanogrid.traces.export import NoTracing, Tracing
from nanogrid_gateway.api import service_routes
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.functions.routes import FunctionRoutes
from nanogrid_gateway.api.gateway import Gateway
from nanogrid_gateway.api.responses import error_response
from nanogrid_gateway.api.routing import ADDRESS, CALLER, Handler, Refusal, Routes, pattern_of
from nanogrid_gateway.api.runs.routes import RunRoutes
from nanogrid_gateway.counted import counting, with_reason
from nanogrid_gateway.tracing import RequestSpan, request_span
from nanogrid_gateway.web import pages, paths

ALWAYS: Final = {"X-Content-Type-Options": "nosniff", "Server": "nanogrid-gateway"}


def create_app(
    gateway: Gateway, connections: Callable[[], Connections], tracing: Tracing | None = None
) -> web.Application:
    """The API and the web page of one gateway.

    Args:
        gateway: the parts.
        connections: gives the server's connections, which exist once it is set up.
        tracing: where the spans of requests go; None: nowhere.
    """
    spans = tracing or NoTracing()
    about = {"k8s.namespace.name": gateway.settings.namespace}
    proxies = gateway.settings.proxies

    def refuse(request: web.Request, error: ApiError) -> web.StreamResponse:
        """The error of a path or method that no route has; a browser gets a page."""
        below = paths.below(request.path)
        response = page_refusal(request, error) if below else error_response(error)
        return with_reason(response, error.reason)

    @web.middleware
    async def outermost(request: web.Request, handler: Handler) -> web.StreamResponse:
        forwarded = request.headers.getall("X-Forwarded-For", [])
        request[ADDRESS] = client_address(request.remote or "-", forwarded, proxies)
        with (
            connections().request(request.transport) as exchange,
            counting(gateway.metrics.answers, request, pattern_of(request)) as counted,
            request_span(spans, request.method, request.headers, about) as span,
        ):
            try:
                response = await _answer(request, handler, refuse)
                span.status = response.status
            finally:
                _describe(span, request)
            counted.answer(response)
            # Unread bytes must not become the next request.
            exchange.closing = gateway.draining or not request.content.is_eof()
            if exchange.closing:
                response.force_close()
            return response

    app = web.Application(middlewares=[outermost])
    app.on_response_prepare.append(_harden)
    routes = Routes(app, gateway.auth, gateway.limits)
    service_routes.add_routes(routes, gateway)
    FunctionRoutes(
        gateway.functions, gateway.uploads, gateway.bodies, gateway.settings.max_upload_bytes
    ).add_to(routes)
    RunRoutes(
        gateway.runs,
        gateway.objects,
        gateway.streams,
        gateway.bodies,
        gateway.threads,
        gateway.settings.max_input_bytes,
    ).add_to(routes)
    page_refusal = pages.add_routes(app, gateway)
    return app


def _describe(span: RequestSpan, request: web.Request) -> None:
    """What the routing and the check of the caller have found."""
    span.known = request.get(CALLER) is not None
    span.route = pattern_of(request)


async def _answer(request: web.Request, handler: Handler, refuse: Refusal) -> web.StreamResponse:
    """The handler's answer; errors of the routing itself look like those of other requests."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as e:
        allowed = ", ".join(sorted(e.allowed_methods))
        message = f"{request.path!a} does not support {request.method}; it supports: {allowed}."
        response = refuse(request, ApiError(405, Reason.BAD_REQUEST, message))
        response.headers["Allow"] = allowed
        return response
    except web.HTTPNotFound:
        message = f"There is no path {request.path!a}."
        hint = "" if paths.below(request.path) else "GET /openapi.json lists all paths."
        return refuse(request, ApiError(404, Reason.BAD_REQUEST, message, hint=hint))
    except web.HTTPException as e:
        return refuse(request, ApiError(e.status, Reason.BAD_REQUEST, f"{e.reason}."))


async def _harden(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(ALWAYS)
    response.headers.setdefault("Cache-Control", "no-store")
