"""The router's HTTP handler: finds the session of each request, serves probes, logs accesses.

Paths: ``/sessions/{namespace}/{name}/…`` names its session; with the session cookie the plain,
older paths work too (``/execute``, ``/health`` …). ``/health`` without a cookie is the router's
own health, for the load balancer in front; ``/readyz`` and ``/healthz`` are for the cluster.
``/metrics`` is on another port; here it is no path of a session either.
"""

import logging
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from nanogrid import json_text, names
from nanogrid.addresses import client_address, plain
from nanogrid.connection_limits import Shares
from nanogrid.logs import FIELDS, about, note
from nanogrid.metrics.registry import OTHER
from nanogrid.reasons import Reason
from nanogrid.throttle import Attempts
from nanogrid.traces.export import NoTracing, Tracing
from nanogrid_gateway.counted import Counted, counting
from nanogrid_gateway.metrics import RouterMetrics
from nanogrid_gateway.router import responses
from nanogrid_gateway.router.access import AccessPolicy, Denial
from nanogrid_gateway.router.cookie import CookieSigner, SessionCookie
from nanogrid_gateway.router.forward import Forwarder, ForwardRequest, Refused
from nanogrid_gateway.router.headers import ForwardedInfo, client_scheme, own_cookie
from nanogrid_gateway.router.patterns import OWN, session_pattern
from nanogrid_gateway.router.request_trace import describe
from nanogrid_gateway.router.route import Ended, NotReady, Ready
from nanogrid_gateway.router.sessions import Address, Job, Pod
from nanogrid_gateway.router.settings import RouterSettings
from nanogrid_gateway.router.start_waits import StartWaits
from nanogrid_gateway.router.table import SessionTable
from nanogrid_gateway.router.upstream import Upstreams, origin
from nanogrid_gateway.tracing import RequestSpan, request_span

log = logging.getLogger("nanogrid.router.access")

PREFIX = "/sessions"
SESSION_PATH = re.compile(rf"{PREFIX}/([a-z0-9.-]{{1,253}})/([a-z0-9.-]{{1,253}})(/.*)?", re.DOTALL)
PROGRESS_TIMEOUT = aiohttp.ClientTimeout(total=0.5)
PROGRESS_BYTES = 16384
LOGGED_PATH = 200  # characters


class RequestTarget(NamedTuple):
    """The session and path that a request names; ``address`` is None for the plain paths."""

    address: Address | None
    prefix: str
    path: str  # at the agent, encoded, without query


def parse_target(raw_path: str) -> RequestTarget | None:
    """Parse a path; None for a path below the prefix that cannot name a session."""
    if raw_path != PREFIX and not raw_path.startswith(f"{PREFIX}/"):
        return RequestTarget(None, "", raw_path)
    match = SESSION_PATH.fullmatch(raw_path)
    if match is None:
        return None
    namespace, name, path = match.groups()
    prefix = names.session_path(namespace, name)
    return RequestTarget(Address(namespace, name), prefix, path or "/")


class Router:
    """Handles all requests.

    ``not_primed`` names what the router still waits for, such as watches without a LIST.
    ``network_problem`` is why header mode may not serve; empty if it may.
    """

    def __init__(
        self,
        settings: RouterSettings,
        table: SessionTable,
        upstreams: Upstreams,
        not_primed: Callable[[], list[str]],
        metrics: RouterMetrics,
        network_problem: Callable[[], str] = str,
        tracing: Tracing | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._start_waits = StartWaits(metrics.start_wait_seconds.observe)
        self._table = table
        self._not_primed = not_primed
        self._tracing = tracing or NoTracing()
        self._access = AccessPolicy(settings, table, network_problem)
        self._attempts = Attempts()
        self._proxies = settings.proxies
        self._cookies = CookieSigner(settings.key, settings.cookie_ttl_seconds)
        self._forwarder = Forwarder(
            upstreams,
            metrics,
            max_body=settings.max_body_bytes,
            idle=settings.idle_timeout_seconds,
        )
        # One connection per probe, because the address may belong to another pod next time.
        connector = aiohttp.TCPConnector(force_close=True)
        self._probe = aiohttp.ClientSession(connector=connector, timeout=PROGRESS_TIMEOUT)
        self._own_paths = {
            "/readyz": self._readyz,
            "/healthz": self._healthz,
            "/metrics": self._no_metrics,
        }
        self._requests = Shares(settings.max_requests_per_namespace)
        self.in_flight = 0
        self.draining = False

    async def close(self) -> None:
        """Close the router's own connections."""
        await self._probe.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; count it and log it once."""
        with about({}):
            return await self._handle(request)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        began = time.monotonic()
        self.in_flight += 1
        try:
            with (
                counting(self._metrics.answers, request, self._pattern(request)) as counted,
                request_span(self._tracing, request.method, request.headers, {}) as span,
            ):
                response = await self._answer(request, counted, span)
                span.status = response.status
                if self.draining and not response.prepared:
                    response.force_close()
                counted.answer(response)
                return response
        finally:
            self.in_flight -= 1
            own = request.rel_url.raw_path in self._own_paths
            log.log(
                logging.DEBUG if own else logging.INFO,
                "request",
                extra={
                    FIELDS: {
                        "method": request.method,
                        "path": request.rel_url.raw_path[:LOGGED_PATH],
                        "status": counted.status,
                        "millis": int(1000 * (time.monotonic() - began)),
                        "client": plain(request.remote or "-"),
                    }
                },
            )

    def _own(self, request: web.BaseRequest) -> Callable[[], web.Response] | None:
        """The router's own answer to a request; None if it is for a session."""
        raw_path = request.rel_url.raw_path
        if request.method == "GET" and raw_path in self._own_paths:
            return self._own_paths[raw_path]
        if raw_path == "/health" and request.method in ("GET", "HEAD"):
            cookie = own_cookie(request.headers, self._settings.cookie_name)
            return self._health if cookie is None else None
        return None

    def _pattern(self, request: web.BaseRequest) -> str:
        """The pattern of a request's path; ``_other`` if it has none."""
        raw_path = request.rel_url.raw_path
        if self._own(request) is not None:
            return raw_path if raw_path in OWN else OTHER
        target = parse_target(raw_path)
        return OTHER if target is None else session_pattern(request.method, target.path)

    async def _answer(
        self, request: web.BaseRequest, counted: Counted, span: RequestSpan
    ) -> web.StreamResponse:
        if own := self._own(request):
            return own()
        target = parse_target(request.rel_url.raw_path)
        value = own_cookie(request.headers, self._settings.cookie_name)
        if target is None:
            return self._denied(request, self._deny_unknown_path(request))
        now = time.time()
        cookie = self._cookies.verify(value, now) if value is not None else None
        job = self._access.authorize(target.address, request.headers, cookie)
        if isinstance(job, Denial):
            return self._denied(request, job)
        note(job.log_fields())
        describe(span, target.path, job)
        scheme = client_scheme(request.headers, request.scheme)
        set_cookie = self._set_cookie(target, job, cookie, scheme, now)
        query = request.rel_url.raw_query_string
        try:
            namespace = job.address.namespace
            with self._requests.slot(namespace, lambda: _too_many_requests(namespace)):
                pod = await self._ready_pod(request, job, target.path)
                with span.call(span.method, span.attributes) as trace:
                    outgoing = ForwardRequest(
                        pod=pod,
                        token=names.session_token(self._settings.key, job.uid),
                        path=f"{target.path}?{query}" if query else target.path,
                        forwarded=ForwardedInfo(plain(request.remote or ""), scheme, target.prefix),
                        extra_headers=set_cookie,
                        close=self.draining,
                        head=counted.head,
                        trace=trace,
                    )
                    return await self._forwarder.forward(request, outgoing)
        except Refused as e:
            e.response.headers.extend(set_cookie)
            return e.response

    def _denied(self, request: web.BaseRequest, denial: Denial) -> web.Response:
        """The answer for a denial; after too many of one address, all get the same one."""
        forwarded = request.headers.getall("X-Forwarded-For", [])
        address = client_address(request.remote or "-", forwarded, self._proxies)
        if pause := self._attempts.begin(address):
            return responses.too_many_attempts(pause)
        return responses.denied(denial)

    def _deny_unknown_path(self, request: web.BaseRequest) -> Denial:
        """A path that cannot name a session gets the answer of an unknown session."""
        found = self._access.authorize(Address("", ""), request.headers, None)
        return found if isinstance(found, Denial) else Denial(404, Reason.SESSION_NOT_FOUND)

    async def _ready_pod(self, request: web.BaseRequest, job: Job, path: str) -> Pod:
        """The pod that answers an authorized request.

        Raises:
            Refused: another session is meant, or this one has ended or is not ready.
        """
        session_id = request.rel_url.query.get("session_id")
        if path == "/container-info" and session_id not in (None, job.request_id):
            raise Refused(
                responses.error(409, Reason.WRONG_SESSION, f"This is session {job.request_id}")
            )
        match self._table.route(job):
            case Ended() as ended:
                s = self._settings
                self._start_waits.ended(job.uid)
                raise Refused(responses.ended(job, ended, s.compatibility_namespace, s.s3_prefix))
            case NotReady() as waiting:
                if waiting.ending:
                    self._start_waits.ended(job.uid)
                else:
                    self._start_waits.refused(job.uid)
                if path == "/health":
                    progress = await self._progress(job, waiting)
                    raise Refused(responses.health(job, waiting, progress))
                raise Refused(responses.not_ready(job, waiting))
            case Ready(pod):
                self._start_waits.accepted(job.uid)
                return pod

    async def _progress(self, job: Job, route: NotReady) -> dict[str, Any]:
        """The health of a session that copies its inputs; empty without a prompt answer."""
        if not route.ip:
            return {}
        try:
            # The agent tells no identity without a token; it refuses a request for another session.
            url = f"{origin(route.ip)}/health"
            query = {"session_id": job.request_id}
            async with self._probe.get(url, params=query) as response:
                body = await response.content.read(PROGRESS_BYTES)
            found = json_text.parse(body)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return {}
        own = isinstance(found, dict) and found.get("session_id") in (None, job.request_id)
        return found if own and "error" not in found else {}

    def _set_cookie(
        self,
        target: RequestTarget,
        job: Job,
        cookie: SessionCookie | None,
        scheme: str,
        now: float,
    ) -> dict[str, str]:
        """Set-Cookie for a request whose path names the session, unless its cookie is fresh."""
        if target.address is None:
            return {}
        if cookie is not None and cookie.uid == job.uid and self._cookies.is_fresh(cookie, now):
            return {}
        secure = {"auto": scheme == "https", "always": True, "never": False}
        parts = [
            f"{self._settings.cookie_name}={self._cookies.sign(job.address, job.uid, now)}",
            "Path=/",
            f"Max-Age={self._settings.cookie_ttl_seconds}",
            "HttpOnly",
            "SameSite=Lax",
        ]
        if secure[self._settings.cookie_secure]:
            parts.append("Secure")
        return {"Set-Cookie": "; ".join(parts)}

    def _health(self) -> web.Response:
        """The router's health for the load balancer: 503 when it must get no new requests."""
        unready = self.draining or bool(self._not_primed())
        body = {"status": "unready" if unready else "healthy"}
        return web.json_response(body, status=503 if unready else 200)

    def _healthz(self) -> web.Response:
        """Liveness: the event loop runs."""
        return web.json_response({"status": "alive"})

    def _readyz(self) -> web.Response:
        """Readiness: 200, or 503 with the missing parts."""
        missing = ["draining"] if self.draining else self._not_primed()
        body = {"ready": not missing, "missing": missing}
        return web.json_response(body, status=503 if missing else 200)

    def _no_metrics(self) -> web.Response:
        """Sessions' clients get no metrics, and no session gets the requests of Prometheus."""
        detail = "Metrics are on another port, for Prometheus"
        return responses.error(404, Reason.BAD_REQUEST, detail)


def _too_many_requests(namespace: str) -> Refused:
    return Refused(responses.too_many_requests(namespace))
