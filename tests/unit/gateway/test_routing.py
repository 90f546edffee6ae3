"""Every route of the API is in its document, and needs a permission unless it is open to all."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import web

from nanogrid_gateway.api import service_routes
from nanogrid_gateway.api.functions.routes import FunctionRoutes
from nanogrid_gateway.api.gateway import Gateway
from nanogrid_gateway.api.openapi import document
from nanogrid_gateway.api.reviews import Permission
from nanogrid_gateway.api.routing import Handler, Routes
from nanogrid_gateway.api.runs.routes import RunRoutes
from nanogrid_gateway.api.settings import Settings

SETTINGS = Settings(namespace="x", s3_bucket="xxx", redis_url="redis://x")
OPEN = {("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/openapi.json")}


class Recorder(Routes):
    """Records what is registered."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        super().__init__(web.Application(), cast(Any, None), cast(Any, None))
        object.__setattr__(self, "found", {})

    def _register(
        self, method: str, path: str, handler: Handler, permissions: Sequence[Permission]
    ) -> None:
        self.found[method, path.replace(":(?s:.+)", "")] = permissions


def registered() -> dict[tuple[str, str], Sequence[Permission]]:
    recorder = Recorder()
    part: Any = None
    service_routes.add_routes(recorder, cast(Gateway, SimpleNamespace(settings=SETTINGS)))
    FunctionRoutes(part, part, part, 1).add_to(recorder)
    RunRoutes(part, part, part, part, part, 1).add_to(recorder)
    return recorder.found


def test_the_document_has_every_route() -> None:
    found = {
        (method, path.replace("function_id", "functionId").replace("request_id", "requestId"))
        for method, path in registered()
    }
    paths = document(SETTINGS)["paths"]

    assert found == {(m.upper(), p) for p, item in paths.items() for m in item}


def test_every_route_needs_a_permission_or_is_known_to_be_open() -> None:
    assert {route for route, permissions in registered().items() if not permissions} == OPEN
