"""Every route of the API is in its document, and needs a permission unless it is open to all."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from nanogrid.reasons import Reason
from nanogrid_gateway.api import service_routes
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.functions.routes import FunctionRoutes
from nanogrid_gateway.api.gateway import Gateway
from nanogrid_gateway.api.limits import Limits
from nanogrid_gateway.api.openapi import document
from nanogrid_gateway.api.reviews import Permission, User, require
from nanogrid_gateway.api.routing import ADDRESS, CALLER, Handler, Routes
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


class Callers:
    """Knows every caller, and counts what it is asked about."""

    def __init__(self, *allowed: str) -> None:
        self.allowed = allowed
        self.checked: list[str | None] = []

    async def caller(self, header: str | None, address: str) -> User:
        if header is None:
            raise ApiError(401, Reason.UNAUTHORIZED)
        return User(header)

    async def check(self, user: User, permission: Permission) -> None:
        self.checked.append(permission.namespace)
        if permission.namespace not in self.allowed:
            raise ApiError(403, Reason.FORBIDDEN)


async def _ok(request: web.Request) -> web.StreamResponse:
    return web.Response(text=request[CALLER].name)


@web.middleware
async def _address(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[ADDRESS] = "192.0.2.1"
    return await handler(request)


@pytest.mark.security
async def test_a_caller_above_its_rate_causes_no_reviews_of_permissions() -> None:
    auth, app = Callers("team-1"), web.Application(middlewares=[_address])
    limits = Limits(rate=0.01, burst=5, concurrent=5)
    Routes(app, auth, limits).add("GET", "/ns/{namespace}/", _ok, require("list"))

    async with TestClient(TestServer(app)) as client:

        async def status(caller: str, number: int) -> int:
            path = f"/ns/team-{number}/"
            async with client.get(path, headers={"Authorization": caller}) as answer:
                return answer.status

        statuses = [await status("loud", number) for number in range(20)]
        assert statuses == [403, 200, 403, 403, 403] + [429] * 15
        assert auth.checked == [f"team-{number}" for number in range(5)]
        assert await status("quiet", 1) == 200
        async with client.get("/ns/team-1/") as answer:
            assert answer.status == 401
