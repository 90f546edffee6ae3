"""The HTTP side of the router: which request is whose, the probes, the access log.

Paths: ``/sessions/{namespace}/{name}/…`` names its session; with the session cookie the plain,
older paths work too (``/execute``, ``/health`` …). ``/health`` without a cookie is the router's
own, for the load balancer in front; ``/readyz``, ``/healthz`` and ``/metrics`` are the cluster's.
"""

import asyncio
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_gateway.router import answers
from nanogrid_gateway.router import headers as head
from nanogrid_gateway.router.access import Access, Denial
from nanogrid_gateway.router.cookie import Claim, CookieJar
from nanogrid_gateway.router.forward import Forwarder, Order, Refused
from nanogrid_gateway.router.objects import Address, Job
from nanogrid_gateway.router.route import Ended, NotReady, Ready
from nanogrid_gateway.router.settings import Settings
from nanogrid_gateway.router.table import Table
from nanogrid_gateway.router.upstream import Upstreams, origin

log = logging.getLogger("nanogrid.router.access")

PREFIX = "/sessions"
SESSION_PATH = re.compile(rf"{PREFIX}/([a-z0-9.-]{{1,253}})/([a-z0-9.-]{{1,253}})(/.*)?", re.DOTALL)
PROGRESS_TIMEOUT = aiohttp.ClientTimeout(total=0.5)
PROGRESS_BYTES = 16384
LOGGED_PATH = 200
CLIENT_GONE = 499  # as nginx logs it


class Target(NamedTuple):
    """What a request's path names; ``address`` is None for the plain paths."""

    address: Address | None
    prefix: str
    path: str  # the agent's, encoded, without query


def target(raw_path: str) -> Target | None:
    """Read a path; None for one below the prefix that can name no session."""
    if raw_path != PREFIX and not raw_path.startswith(f"{PREFIX}/"):
        return Target(None, "", raw_path)
    found = SESSION_PATH.fullmatch(raw_path)
    if found is None:
        return None
    namespace, name, path = found.groups()
    prefix = names.session_path(namespace, name)
    return Target(Address(namespace, name), prefix, path or "/")


class Router:
    """The handler of all requests; ``not_primed`` names the watches that have no LIST yet."""

    def __init__(
        self,
        settings: Settings,
        table: Table,
        upstreams: Upstreams,
        not_primed: Callable[[], list[str]],
    ) -> None:
        self._settings = settings
        self._table = table
        self._not_primed = not_primed
        self._access = Access(settings, table)
        self._cookies = CookieJar(settings.key, settings.cookie_ttl_seconds)
        self._forwarder = Forwarder(
            upstreams,
            max_body=settings.max_body_bytes,
            idle=settings.idle_timeout_seconds,
            cookie_name=settings.cookie_name,
        )
        # A connection each: an address may be another pod's by the next time.
        connector = aiohttp.TCPConnector(force_close=True)
        self._probe = aiohttp.ClientSession(connector=connector, timeout=PROGRESS_TIMEOUT)
        self._own = {"/readyz": self._readyz, "/healthz": self._healthz, "/metrics": self._metrics}
        self._codes: Counter[int] = Counter()
        self.in_flight = 0
        self.draining = False

    async def close(self) -> None:
        """Close what the router itself opened."""
        await self._probe.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and log it once."""
        began, status = time.monotonic(), 500
        self.in_flight += 1
        try:
            response = await self._answer(request)
            if self.draining and not response.prepared:
                response.force_close()
            status = response.status
            return response
        except (asyncio.CancelledError, ConnectionResetError):
            status = CLIENT_GONE
            raise
        finally:
            self.in_flight -= 1
            self._codes[status] += 1
            own = request.rel_url.raw_path in self._own
            log.log(
                logging.DEBUG if own else logging.INFO,
                "%s %r %d %d ms from %s",
                request.method,
                request.rel_url.raw_path[:LOGGED_PATH],
                status,
                1000 * (time.monotonic() - began),
                request.remote,
            )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        raw_path = request.rel_url.raw_path
        if request.method == "GET" and raw_path in self._own:
            return self._own[raw_path]()
        wanted = target(raw_path)
        cookie, others = head.own_cookies(request.headers, self._settings.cookie_name)
        if raw_path == "/health" and cookie is None and request.method in ("GET", "HEAD"):
            return self._health()
        if wanted is None:
            return answers.denied(self._unnamed(request))
        now = time.time()
        claim = self._cookies.read(cookie, now) if cookie is not None else None
        job = self._access.admit(wanted.address, request.headers, claim)
        if isinstance(job, Denial):
            return answers.denied(job)
        scheme = head.client_scheme(request.headers, request.scheme)
        via = head.Via(request.remote or "", scheme, wanted.prefix)
        extra = self._cookie_for(wanted, job, claim, scheme, now)
        try:
            return await self._to(request, job, wanted, via, others, extra)
        except Refused as e:
            e.answer.headers.extend(extra)
            return e.answer

    def _unnamed(self, request: web.BaseRequest) -> Denial:
        """A path that can be no session's is answered as an unknown session is."""
        nobody = self._access.admit(Address("", ""), request.headers, None)
        return nobody if isinstance(nobody, Denial) else Denial(404, Reason.SESSION_NOT_FOUND)

    async def _to(
        self,
        request: web.BaseRequest,
        job: Job,
        wanted: Target,
        via: head.Via,
        cookies: str,
        extra: dict[str, str],
    ) -> web.StreamResponse:
        """Where an admitted request goes."""
        asked = request.rel_url.query.get("session_id")
        if wanted.path == "/container-info" and asked not in (None, job.request_id):
            raise Refused(
                answers.error(409, Reason.WRONG_SESSION, f"This is session {job.request_id}")
            )
        match self._table.route(job):
            case Ended() as ended:
                raise Refused(answers.ended(job, ended))
            case NotReady() as waiting if wanted.path == "/health":
                raise Refused(answers.health(job, waiting, await self._progress(job, waiting)))
            case NotReady() as waiting:
                raise Refused(answers.not_ready(job, waiting))
            case Ready(pod):
                query = request.rel_url.raw_query_string
                order = Order(
                    pod=pod,
                    token=names.session_token(self._settings.key, job.uid),
                    path=f"{wanted.path}?{query}" if query else wanted.path,
                    via=via,
                    cookies=cookies,
                    extra=extra,
                    close=self.draining,
                )
                return await self._forwarder.forward(request, order)

    async def _progress(self, job: Job, route: NotReady) -> dict[str, Any]:
        """What a session that copies its inputs says of itself; nothing if it does not at once."""
        if not route.ip:
            return {}
        try:
            async with self._probe.get(f"{origin(route.ip)}/health") as answer:
                said = await answer.content.read(PROGRESS_BYTES)
            found = json.loads(said)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return {}
        own = isinstance(found, dict) and found.get("session_id") in (None, job.request_id)
        return found if own else {}

    def _cookie_for(
        self, wanted: Target, job: Job, claim: Claim | None, scheme: str, now: float
    ) -> dict[str, str]:
        """Set-Cookie for a request that named its session, unless it has a fresh one."""
        if wanted.address is None:
            return {}
        if claim is not None and claim.uid == job.uid and self._cookies.fresh(claim, now):
            return {}
        secure = {"auto": scheme == "https", "always": True, "never": False}
        parts = [
            f"{self._settings.cookie_name}={self._cookies.make(job.address, job.uid, now)}",
            "Path=/",
            f"Max-Age={self._settings.cookie_ttl_seconds}",
            "HttpOnly",
            "SameSite=Lax",
        ]
        if secure[self._settings.cookie_secure]:
            parts.append("Secure")
        return {"Set-Cookie": "; ".join(parts)}

    def _health(self) -> web.Response:
        """The router's own health, for the load balancer: 503 once it must not get new requests."""
        bad = self.draining or bool(self._not_primed())
        body = {"status": "unready" if bad else "healthy"}
        return web.json_response(body, status=503 if bad else 200)

    def _healthz(self) -> web.Response:
        """Liveness: the loop turns."""
        return web.json_response({"status": "alive"})

    def _readyz(self) -> web.Response:
        """Readiness: 200, or 503 with what is missing."""
        missing = ["draining"] if self.draining else self._not_primed()
        body = {"ready": not missing, "missing": missing}
        return web.json_response(body, status=503 if missing else 200)

    def _metrics(self) -> web.Response:
        """Prometheus' text format."""
        jobs, pods = self._table.counts()
        lines = ["# TYPE nanogrid_router_requests_total counter"]
        lines += [
            f'nanogrid_router_requests_total{{code="{code}"}} {count}'
            for code, count in sorted(self._codes.items())
        ]
        gauges = {"in_flight": self.in_flight, "sessions": jobs, "pods": pods}
        for name, value in gauges.items():
            lines += [f"# TYPE nanogrid_router_{name} gauge", f"nanogrid_router_{name} {value}"]
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")
