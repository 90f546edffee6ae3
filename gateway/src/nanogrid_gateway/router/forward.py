"""One request to a session's agent and its answer back, chunk by chunk in both directions.

Failures keep three cases apart, because they tell the client what it may do. Nothing was sent: 503,
try again. The connection broke with the request on its way: 502, nobody knows whether it was
executed. The answer broke off: the client's connection is cut, so that it sees the answer is torn.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from nanogrid.reasons import Reason
from nanogrid_gateway.router import headers as head
from nanogrid_gateway.router.answers import error
from nanogrid_gateway.router.objects import Pod
from nanogrid_gateway.router.upstream import DisconnectedError, Upstreams, origin

log = logging.getLogger("nanogrid.router")

REPEATABLE = frozenset({"GET", "HEAD"})
PAUSE_SECONDS = (0.02, 0.1)  # before the second try
CONNECT_ERRORS = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
READ_ERRORS = (aiohttp.ClientError, DisconnectedError, TimeoutError)


class Refused(Exception):
    """The request ends with this answer of the router's own."""

    def __init__(self, answer: web.Response) -> None:
        super().__init__(f"answered with {answer.status}")
        self.answer = answer


class _TornError(Exception):
    """The agent's answer broke off after it had begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to forward: ``path`` is the agent's, encoded, with its query."""

    pod: Pod
    token: str
    path: str
    via: head.Via
    cookies: str  # the Cookie header without ours
    extra: dict[str, str]  # headers for the client
    close: bool  # whether the client's connection ends with this answer


class Forwarder:
    """Forwards requests; ``max_body`` in bytes, ``idle`` in seconds without a byte."""

    def __init__(
        self, upstreams: Upstreams, *, max_body: int, idle: float, cookie_name: str
    ) -> None:
        self._upstreams = upstreams
        self._max_body = max_body
        self._idle = idle
        self._cookie_name = cookie_name

    async def forward(self, request: web.BaseRequest, order: Order) -> web.StreamResponse:
        """Forward a request and stream its answer.

        Raises:
            Refused: the agent cannot be reached, or the request is too large.
        """
        if (request.content_length or 0) > self._max_body:
            raise Refused(self._too_large())
        await _continue(request)
        async with self._upstreams.lease(order.pod) as session:
            upstream = await self._send(session, request, order)
            try:
                if upstream.status == 401:
                    self._stale(order)
                return await self._back(request, upstream, order)
            finally:
                await _finish(upstream)

    async def _send(
        self, session: aiohttp.ClientSession, request: web.BaseRequest, order: Order
    ) -> aiohttp.ClientResponse:
        """Send the request, a repeatable one twice if need be; returns when the answer begins."""
        body = _Body(request, self._max_body, self._idle) if request.body_exists else None
        tries = 2 if body is None and request.method in REPEATABLE else 1
        source = CIMultiDict(request.headers)
        headers = head.request_headers(source, order.via, order.token, order.cookies)
        url = URL(origin(order.pod.ip) + order.path, encoded=True)
        for left in reversed(range(tries)):
            try:
                return await session.request(
                    request.method,
                    url,
                    headers=headers,
                    data=body.chunks() if body is not None else None,
                    allow_redirects=False,
                )
            except READ_ERRORS as e:
                if left and not isinstance(e, aiohttp.SocketTimeoutError):
                    await asyncio.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311 jitter
                    if not session.closed:  # as it is when the pod is gone
                        continue
                raise Refused(self._failed(e, order, body)) from e
        raise AssertionError("the loop returns or raises")

    async def _back(
        self, request: web.BaseRequest, upstream: aiohttp.ClientResponse, order: Order
    ) -> web.StreamResponse:
        """Stream the agent's answer to the client."""
        source = CIMultiDict(upstream.headers)
        headers = head.response_headers(source, order.via, origin(order.pod.ip), self._cookie_name)
        headers.extend(order.extra)
        response = web.StreamResponse(
            status=upstream.status, reason=upstream.reason, headers=headers
        )
        if order.close:
            response.force_close()
        await response.prepare(request)
        try:
            async for chunk in _chunks(upstream):
                await response.write(chunk)
        except _TornError as e:
            log.warning("answer of pod %s broke off: %s", order.pod.address.name, e)
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
        return response

    def _stale(self, order: Order) -> None:
        """A pod that does not know its own session's token is another one under the same IP."""
        self._upstreams.retire(order.pod)
        log.warning(
            "pod %s at %s refuses its session's token: the route is stale",
            order.pod.address.name,
            order.pod.ip,
        )
        detail = "Another pod answers at its address"
        raise Refused(error(503, Reason.SESSION_UNREACHABLE, detail, retry=True))

    def _failed(self, e: Exception, order: Order, body: "_Body | None") -> web.Response:
        """The answer to a request that got none."""
        if body is not None and body.too_large:
            return self._too_large()
        if body is not None and body.stalled:
            return error(408, Reason.BAD_REQUEST, f"No byte of the body came in {self._idle:g} s")
        log.warning("pod %s at %s: %r", order.pod.address.name, order.pod.ip, e)
        if isinstance(e, CONNECT_ERRORS):
            return error(503, Reason.SESSION_UNREACHABLE, "Nothing was sent to it", retry=True)
        if isinstance(e, aiohttp.SocketTimeoutError):
            detail = f"It took the request and sent nothing in {self._idle:g} s"
            return error(504, Reason.SESSION_UNREACHABLE, detail)
        detail = "The connection broke; GET /executions tells whether the request was executed"
        return error(502, Reason.SESSION_UNREACHABLE, detail, retry=True)

    def _too_large(self) -> web.Response:
        detail = f"A request may have {self._max_body} bytes"
        return error(413, Reason.FILE_TOO_LARGE, detail)


class _Body:
    """A request's body on its way; remembers what became of it when that was the client's doing."""

    def __init__(self, request: web.BaseRequest, most: int, idle: float) -> None:
        self._content = request.content
        self._most = most
        self._idle = idle
        self.too_large = False
        self.stalled = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        size = 0
        while True:
            try:
                async with asyncio.timeout(self._idle):
                    chunk = await self._content.readany()
            except TimeoutError:
                self.stalled = True
                raise
            if not chunk:
                return
            size += len(chunk)
            if size > self._most:
                self.too_large = True
                raise ValueError("the body is too large")
            yield chunk


async def _continue(request: web.BaseRequest) -> None:
    """Ask for the body that a client holds back until it knows that it is wanted."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _chunks(upstream: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in upstream.content.iter_any():
            yield chunk
    except READ_ERRORS as e:
        raise _TornError(repr(e)) from e


async def _finish(upstream: aiohttp.ClientResponse) -> None:
    """Give the connection back if the answer was read to its end, else close it."""
    if upstream.content.at_eof():
        upstream.release()
    else:
        upstream.close()
