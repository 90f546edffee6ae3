"""The load balancer: an HTTP listener in front of a target group, and its health checks.

Its own responses, as in
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html:
502 when a target refuses or resets the connection, or its response is not HTTP; 503 when no target
can take the request; 504 when a connection times out, or the target sends nothing for the idle
timeout. The balancer sends a request to one target only and never tries another one. It adds
``X-Forwarded-For``, ``-Proto`` and ``-Port``, keeps connections to targets open, and with
stickiness sets ``AWSALB`` in every response. If a response breaks off, it aborts the client's
connection.
"""

import asyncio
import base64
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from support.alb.targets import Endpoint, State, Target, TargetGroup

COOKIE = "AWSALB"
Sleep = Callable[[float], Awaitable[None]]
HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Attributes of listener and group in seconds; AWS defaults, except where noted for speed."""

    health_path: str = "/health"
    health_interval: float = 0.1  # AWS: 30
    health_timeout: float = 5.0
    healthy_threshold: int = 2  # AWS: 5
    unhealthy_threshold: int = 2
    stickiness: float = 0.0  # duration; 0 is off
    deregistration_delay: float = 300.0
    connect_timeout: float = 10.0
    idle_timeout: float = 60.0
    fail_open: bool = True


class LoadBalancer:
    """One listener with one target group; ``codes`` counts its own responses.

    ``sleep`` waits between health checks and for the deregistration delay.
    """

    def __init__(self, options: Options | None = None, *, sleep: Sleep = asyncio.sleep) -> None:
        self._options = options or Options()
        self._sleep = sleep
        self.group = TargetGroup(fail_open=self._options.fail_open)
        self.codes: Counter[int] = Counter()
        self._url = ""
        self._checks: dict[Endpoint, asyncio.Task[None]] = {}
        self._drains: set[asyncio.Task[None]] = set()
        self._exchanges: dict[Endpoint, set[asyncio.Task[object]]] = {}
        self._changed = asyncio.Condition()

    @property
    def url(self) -> str:
        """Its base URL."""
        return self._url

    @contextlib.asynccontextmanager
    async def running(self, host: str = "127.0.0.1") -> AsyncIterator["LoadBalancer"]:
        """Listen on a free port."""
        limits = aiohttp.ClientTimeout(
            total=None,
            sock_connect=self._options.connect_timeout,
            sock_read=self._options.idle_timeout,
        )
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=limits,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers={"User-Agent", "Accept", "Accept-Encoding", "Content-Type"},
            middlewares=(_no_automatic_retry,),
        )
        server = web.Server(
            self._handle, access_log=None, auto_decompress=False, handler_cancellation=True
        )
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, host, 0)
        await site.start()
        self._url = f"http://{host}:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()
            tasks = [*self._checks.values(), *self._drains]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._client.close()

    def register(self, endpoint: Endpoint) -> None:
        """Register a target and start its health checks."""
        target = self.group.register(endpoint)
        if endpoint not in self._checks:
            self._checks[endpoint] = asyncio.create_task(self._check(target))

    def deregister(self, endpoint: Endpoint) -> None:
        """Deregister a target: it drains and disappears after the deregistration delay."""
        target = self.group.targets[endpoint]
        target.drain()
        self._checks.pop(endpoint).cancel()
        task = asyncio.create_task(self._drained(target))
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)

    async def until(self, endpoint: Endpoint, state: State, seconds: float = 60.0) -> None:
        """Wait until a target has a state."""

        def has_state() -> bool:
            return self.group.targets[endpoint].state is state

        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(has_state)

    def zombies(self, live: Iterable[Endpoint]) -> list[Endpoint]:
        """Registered targets without a live endpoint."""
        return self.group.zombies(live)

    async def _check(self, target: Target) -> None:
        options = self._options
        target.reason = "Elb.InitialHealthChecking"
        while True:
            failure = await self._probe(target.endpoint)
            target.checked(failure, options.healthy_threshold, options.unhealthy_threshold)
            async with self._changed:
                self._changed.notify_all()
            await self._sleep(options.health_interval)

    async def _probe(self, endpoint: Endpoint) -> str:
        """One health check on its own connection; the reason code of a failure, else empty."""
        url = f"http://{endpoint.host}:{endpoint.port}{self._options.health_path}"
        limits = aiohttp.ClientTimeout(total=self._options.health_timeout)
        try:
            async with self._client.get(
                url,
                timeout=limits,
                headers={"User-Agent": "ELB-HealthChecker/2.0", "Connection": "close"},
            ) as answer:
                return "" if answer.status == 200 else "Target.ResponseCodeMismatch"
        except TimeoutError:
            return "Target.Timeout"
        except (aiohttp.ClientError, _ResetError):
            return "Target.FailedHealthChecks"

    async def _drained(self, target: Target) -> None:
        await self._sleep(self._options.deregistration_delay)
        for exchange in self._exchanges.pop(target.endpoint, set()):
            exchange.cancel()
        if self.group.targets.get(target.endpoint) is target:
            del self.group.targets[target.endpoint]

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = self.group.choose(_sticky_endpoint(request))
        if target is None:
            return self._own_response(503)
        task = asyncio.current_task()
        assert task is not None
        running = self._exchanges.setdefault(target.endpoint, set())
        running.add(task)
        target.in_flight += 1
        try:
            return await self._exchange(request, target)
        except asyncio.CancelledError:
            if running is self._exchanges.get(target.endpoint):
                raise  # the client disconnected
            # The deregistration delay is over; a response that has started can only be aborted.
            if request.writer.output_size and request.transport is not None:
                request.transport.abort()
            return self._own_response(502)
        finally:
            target.in_flight -= 1
            target.served += 1
            running.discard(task)

    async def _exchange(self, request: web.BaseRequest, target: Target) -> web.StreamResponse:
        host, port = target.endpoint
        try:
            answer = await self._client.request(
                request.method,
                URL(f"http://{host}:{port}{request.raw_path}", encoded=True),
                headers=_forwarded_headers(request),
                data=request.content.iter_any() if request.body_exists else None,
                allow_redirects=False,
            )
        except (aiohttp.ServerTimeoutError, TimeoutError):
            return self._own_response(504)
        except (aiohttp.ClientError, _ResetError):
            return self._own_response(502)
        async with answer:
            return await self._stream_back(request, answer, target)

    async def _stream_back(
        self, request: web.BaseRequest, answer: aiohttp.ClientResponse, target: Target
    ) -> web.StreamResponse:
        headers = _without_hops(answer.headers.items())
        if self._options.stickiness:
            value = base64.urlsafe_b64encode("{}:{}".format(*target.endpoint).encode()).decode()
            age = int(self._options.stickiness)
            headers.add("Set-Cookie", f"{COOKIE}={value}; Max-Age={age}; Path=/")
        response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
        await response.prepare(request)
        while True:
            try:
                chunk = await answer.content.readany()
            except (aiohttp.ClientError, TimeoutError):
                if request.transport is not None:
                    request.transport.abort()
                return response
            if not chunk:
                break
            await response.write(chunk)
        await response.write_eof()
        return response

    def _own_response(self, code: int) -> web.Response:
        self.codes[code] += 1
        return web.Response(status=code, text=f"<h1>{code}</h1>", headers={"Server": "awselb/2.0"})


class _ResetError(Exception):
    """The target broke the connection before its response."""


async def _no_automatic_retry(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Hide broken connections from aiohttp, which would retry the request."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as e:
        raise _ResetError(str(e)) from e


def _sticky_endpoint(request: web.BaseRequest) -> Endpoint | None:
    value = request.cookies.get(COOKIE)
    if value is None:
        return None
    host, _, port = base64.urlsafe_b64decode(value).decode().rpartition(":")
    return Endpoint(host, int(port))


def _forwarded_headers(request: web.BaseRequest) -> "CIMultiDict[str]":
    headers = _without_hops(request.headers.items())
    previous, remote = headers.get("X-Forwarded-For"), request.remote or ""
    headers["X-Forwarded-For"] = f"{previous}, {remote}" if previous else remote
    headers["X-Forwarded-Proto"] = request.scheme
    headers["X-Forwarded-Port"] = str(request.url.port or 80)
    return headers


def _without_hops(items: Iterable[tuple[str, str]]) -> "CIMultiDict[str]":
    return CIMultiDict((k, v) for k, v in items if k.lower() not in HOP_BY_HOP)
