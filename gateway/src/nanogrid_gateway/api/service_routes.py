"""Routes about the gateway itself: its document, liveness and readiness. They need no token."""

from aiohttp import web

from nanogrid_gateway.api.gateway import Gateway
from nanogrid_gateway.api.openapi import document
from nanogrid_gateway.api.responses import json_response
from nanogrid_gateway.api.routing import Routes


def add_routes(routes: Routes, gateway: Gateway) -> None:
    """Register the handlers."""
    openapi = document(gateway.settings)

    async def healthz(request: web.Request) -> web.StreamResponse:
        alive = gateway.feed.alive
        return json_response({"status": "ok" if alive else "stuck"}, 200 if alive else 503)

    async def readyz(request: web.Request) -> web.StreamResponse:
        missing = await gateway.missing()
        body = {"ready": not missing, "missing": missing, "warnings": gateway.warnings()}
        return json_response(body, 503 if missing else 200)

    async def show_document(request: web.Request) -> web.StreamResponse:
        return json_response(openapi)

    routes.add_open("GET", "/healthz", healthz)
    routes.add_open("GET", "/readyz", readyz)
    routes.add_open("GET", "/openapi.json", show_document)
