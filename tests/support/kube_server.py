"""An HTTP server that answers the asynchronous client as a test says, and records its requests."""

import asyncio
import functools
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from nanogrid.kube.client import KubeApi
from nanogrid.kube.transport import BUSY, Transport
from nanogrid.types import Json

PODS = "/api/v1/namespaces/team-a/pods"
BROKEN = "the connection breaks before the answer"
CUT = "the connection breaks within the answer"


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


class ApiServer:
    """Gives its answers in order, the last one again and again; records the requests.

    An answer is a status with a body: JSON, text, seconds to wait, BROKEN or CUT.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[tuple[int, Any]] = [(200, {})]
        self.headers: dict[str, str] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.requests.append(
            Request(
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                json.loads(text) if text else None,
            )
        )
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if body in (BROKEN, CUT):
            return await self._break(request, body)
        if isinstance(body, float):
            await asyncio.sleep(body)
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, headers=self.headers)

    async def _break(self, request: web.Request, where: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        if where == CUT:
            await response.prepare(request)
            await response.write(b'{"metadata":')
        assert request.transport is not None
        request.transport.close()
        return response


@dataclass
class Observed:
    """The Date headers that the client hands on, and the pauses that it makes."""

    dates: list[tuple[str, float, float, float]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def observe(self, date: str, sent: float, received: float, at: float) -> None:
        self.dates.append((date, sent, received, at))

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@asynccontextmanager
async def serving(server: ApiServer) -> AsyncIterator[str]:
    """The URL of the server while the context lasts."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    async with TestServer(app) as http:
        yield str(http.make_url("")).rstrip("/")


_tls = functools.cache(ssl.create_default_context)


def _api_client(settings: client.Configuration) -> client.ApiClient:
    """A client that does not read all certificates of this machine again: that takes 25 ms."""
    context = _tls()
    with patch.object(ssl, "create_default_context", return_value=context):
        return client.ApiClient(settings)


@asynccontextmanager
async def connected(
    server: ApiServer, observed: Observed, timeout_seconds: float = 60.0
) -> AsyncIterator[KubeApi]:
    """A client of the server with three tries, and pauses that take no time."""
    async with serving(server) as url:
        settings = client.Configuration(host=url)
        settings.retries = None
        transport = Transport(
            api=_api_client(settings),
            timeout_seconds=timeout_seconds,
            user_agent="nanogrid-test",
            observe=observed.observe,
            retry=replace(BUSY, tries=3),
            sleep=observed.sleep,
        )
        kube = KubeApi(transport)
        yield kube
        await kube.close()


def status(code: int, reason: str, message: str) -> tuple[int, Json]:
    """The answer with a Status object."""
    return code, {"kind": "Status", "code": code, "reason": reason, "message": message}
