"""The router's HTTP handler: finds the session of each request, forwards it, logs accesses.

Paths: ``/sessions/{namespace}/{name}/…`` names its session; with the session cookie the plain,
older paths work too (``/execute``, ``/health`` …). ``/health`` without a cookie is the router's
own health, for the load balancer in front; ``/readyz`` and ``/healthz`` are for the cluster.
``/metrics`` is on another port; here it is no path of a session either.
"""

import logging
import time
from collections.abc import Callable

from aiohttp import web

from nanogrid import names
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
from nanogrid_gateway.router.probes import Probes
from nanogrid_gateway.router.ready_pods import ReadyPods
from nanogrid_gateway.router.request_trace import describe
from nanogrid_gateway.router.sessions import Address, Job
from nanogrid_gateway.router.settings import RouterSettings
from nanogrid_gateway.router.table import SessionTable
from nanogrid_gateway.router.target import RequestTarget, parse_target
from nanogrid_gateway.router.upstream import Upstreams
from nanogrid_gateway.tracing import RequestSpan, request_span

log = logging.getLogger("nanogrid.router.access")

LOGGED_PATH = 200  # characters


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
        self._probes = Probes(settings.cookie_name, self._missing)
        self._ready_pods = ReadyPods(settings, table, metrics.start_wait_seconds.observe)
        self._requests = Shares(settings.max_requests_per_namespace)
        self.in_flight = 0
        self.draining = False

    async def close(self) -> None:
        """Close the router's own connections."""
        await self._ready_pods.close()

    def _missing(self) -> list[str]:
        """Why the router must get no new requests."""
        return ["draining"] if self.draining else self._not_primed()

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
            own = self._probes.names(request.rel_url.raw_path)
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

    def _pattern(self, request: web.BaseRequest) -> str:
        """The pattern of a request's path; ``_other`` if it has none."""
        raw_path = request.rel_url.raw_path
        if self._probes.answer_to(request) is not None:
            return raw_path if raw_path in OWN else OTHER
        target = parse_target(raw_path)
        return OTHER if target is None else session_pattern(request.method, target.path)

    async def _answer(
        self, request: web.BaseRequest, counted: Counted, span: RequestSpan
    ) -> web.StreamResponse:
        if own := self._probes.answer_to(request):
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
                pod = await self._ready_pods.find(request, job, target.path)
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


def _too_many_requests(namespace: str) -> Refused:
    return Refused(responses.too_many_requests(namespace))
