"""Forwards one request to a session's agent and streams the response back.

Three kinds of failure tell the client whether a retry is safe. The router sent nothing: 503, try
again. The connection broke after the router sent the request: 502, it is unknown whether the agent
executed it. The response broke off: the router aborts the client's connection, so that the client
sees that the response is incomplete.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from nanogrid.backoff import jitter
from nanogrid.reasons import Reason
from nanogrid.traces.context import TraceContext, headers_of
from nanogrid_gateway.metrics import RouterMetrics, UpstreamError
from nanogrid_gateway.router.headers import ForwardedInfo, request_headers, response_headers
from nanogrid_gateway.router.responses import error
from nanogrid_gateway.router.sessions import Pod
from nanogrid_gateway.router.upstream import DisconnectedError, Upstreams, origin

log = logging.getLogger("nanogrid.router")

RETRYABLE_METHODS = frozenset({"GET", "HEAD"})
RETRY_DELAY_SECONDS = (0.02, 0.1)
CONNECT_ERRORS = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
READ_ERRORS = (aiohttp.ClientError, DisconnectedError, TimeoutError)


class Refused(Exception):
    """The router answers the request itself, with ``response``."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(f"answered with {response.status}")
        self.response = response


class _IncompleteResponseError(Exception):
    """The agent's response broke off after its start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardRequest:
    """Where and how to forward a request; ``path`` is the agent's, encoded, with the query."""

    pod: Pod
    token: str
    path: str
    forwarded: ForwardedInfo
    extra_headers: dict[str, str]  # for the client
    close: bool  # whether to close the client's connection after the response
    head: Callable[[int], None]  # is called with the status when the response's head was sent
    trace: TraceContext | None = None  # the span of this request, for the agent


class Forwarder:
    """Forwards requests; ``max_body`` in bytes, ``idle`` in seconds without a byte."""

    def __init__(
        self, upstreams: Upstreams, metrics: RouterMetrics, *, max_body: int, idle: float
    ) -> None:
        self._upstreams = upstreams
        self._streams = metrics.streams
        self._errors = metrics.upstream_errors_total
        self._max_body = max_body
        self._idle = idle

    async def forward(
        self, request: web.BaseRequest, outgoing: ForwardRequest
    ) -> web.StreamResponse:
        """Forward a request and stream its response.

        Raises:
            Refused: the agent is unreachable, or the request is too large.
        """
        if (request.content_length or 0) > self._max_body:
            raise Refused(self._too_large())
        await _send_continue(request)
        async with self._upstreams.lease(outgoing.pod) as session:
            upstream = await self._send(session, request, outgoing)
            try:
                if upstream.status == 401:
                    self._refuse_stale_route(outgoing)
                return await self._stream_back(request, upstream, outgoing)
            finally:
                _release(upstream)

    async def _send(
        self, session: aiohttp.ClientSession, request: web.BaseRequest, outgoing: ForwardRequest
    ) -> aiohttp.ClientResponse:
        """Send the request, and retry it once if that is safe; returns at the response's start."""
        body = _RequestBody(request, self._max_body, self._idle) if request.body_exists else None
        tries = 2 if body is None and request.method in RETRYABLE_METHODS else 1
        headers = request_headers(CIMultiDict(request.headers), outgoing.forwarded, outgoing.token)
        headers.update(headers_of(outgoing.trace))
        url = URL(origin(outgoing.pod.ip) + outgoing.path, encoded=True)
        for tries_left in reversed(range(tries)):
            try:
                return await session.request(
                    request.method,
                    url,
                    headers=headers,
                    data=body.chunks() if body is not None else None,
                    allow_redirects=False,
                )
            except READ_ERRORS as e:
                if tries_left and not isinstance(e, aiohttp.SocketTimeoutError):
                    await asyncio.sleep(jitter(1.0, *RETRY_DELAY_SECONDS))
                    if not session.closed:  # closed means that the pod was deleted
                        continue
                raise Refused(self._failure(e, outgoing, body)) from e
        raise AssertionError("the loop returns or raises")

    async def _stream_back(
        self, request: web.BaseRequest, upstream: aiohttp.ClientResponse, outgoing: ForwardRequest
    ) -> web.StreamResponse:
        """Stream the agent's response to the client."""
        headers = response_headers(
            CIMultiDict(upstream.headers),
            outgoing.forwarded.prefix,
            origin(outgoing.pod.ip),
        )
        headers.extend(outgoing.extra_headers)
        response = web.StreamResponse(
            status=upstream.status, reason=upstream.reason, headers=headers
        )
        if outgoing.close:
            response.force_close()
        await response.prepare(request)
        outgoing.head(response.status)
        try:
            with self._streams.track_inprogress():
                async for chunk in _chunks(upstream):
                    await response.write(chunk)
        except _IncompleteResponseError as e:
            self._count(UpstreamError.INCOMPLETE)
            log.warning("response of pod %s broke off: %s", outgoing.pod.address.name, e)
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
        return response

    def _count(self, error: UpstreamError) -> None:
        self._errors.labels(error.value).inc()

    def _refuse_stale_route(self, outgoing: ForwardRequest) -> None:
        """A pod that rejects its own session's token is another pod with the same IP."""
        self._upstreams.retire(outgoing.pod)
        self._count(UpstreamError.STALE_ROUTE)
        log.warning(
            "stale route: pod %s at %s rejects its session's token",
            outgoing.pod.address.name,
            outgoing.pod.ip,
        )
        detail = "Another pod uses its address now"
        raise Refused(error(503, Reason.SESSION_UNREACHABLE, detail, retry=True))

    def _failure(
        self, e: Exception, outgoing: ForwardRequest, body: "_RequestBody | None"
    ) -> web.Response:
        """The response to a request that the agent did not answer."""
        if body is not None and body.too_large:
            return self._too_large()
        if body is not None and body.stalled:
            detail = f"No data of the request body arrived for {self._idle:g} s"
            return error(408, Reason.BAD_REQUEST, detail)
        log.warning("pod %s at %s: %r", outgoing.pod.address.name, outgoing.pod.ip, e)
        if isinstance(e, CONNECT_ERRORS):
            self._count(UpstreamError.NOT_CONNECTED)
            return error(503, Reason.SESSION_UNREACHABLE, "The request was not sent", retry=True)
        if isinstance(e, aiohttp.SocketTimeoutError):
            self._count(UpstreamError.TIMEOUT)
            detail = f"It received the request and sent no data for {self._idle:g} s"
            return error(504, Reason.SESSION_UNREACHABLE, detail)
        self._count(UpstreamError.CONNECTION_LOST)
        detail = "The connection broke; GET /executions shows whether the request was executed"
        return error(502, Reason.SESSION_UNREACHABLE, detail, retry=True)

    def _too_large(self) -> web.Response:
        detail = f"The limit for a request body is {self._max_body} bytes"
        return error(413, Reason.FILE_TOO_LARGE, detail)


class _RequestBody:
    """A request's body while it is read; records failures that the client caused."""

    def __init__(self, request: web.BaseRequest, limit: int, idle: float) -> None:
        self._content = request.content
        self._limit = limit
        self._idle = idle
        self.too_large = False
        self.stalled = False

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in chunks, as they arrive."""
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
            if size > self._limit:
                self.too_large = True
                raise ValueError("the body is too large")
            yield chunk


async def _send_continue(request: web.BaseRequest) -> None:
    """Ask for the body if the client waits for 100 Continue."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _chunks(upstream: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in upstream.content.iter_any():
            yield chunk
    except READ_ERRORS as e:
        raise _IncompleteResponseError(repr(e)) from e


def _release(upstream: aiohttp.ClientResponse) -> None:
    """Return the connection to its pool if the response was read completely; else close it."""
    if upstream.content.at_eof():
        upstream.release()
    else:
        upstream.close()
