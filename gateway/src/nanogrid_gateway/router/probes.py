"""The router's own answers: health for the load balancer, probes for the cluster, no metrics."""

from collections.abc import Callable

from aiohttp import web

from nanogrid.reasons import Reason
from nanogrid_gateway.router import responses
from nanogrid_gateway.router.headers import own_cookie

Answer = Callable[[], web.Response]


class Probes:
    """Finds the requests for the router itself, and answers them.

    ``missing`` names why the router must get no new requests; empty if it may get some.
    """

    def __init__(self, cookie_name: str, missing: Callable[[], list[str]]) -> None:
        self._cookie_name = cookie_name
        self._missing = missing
        self._paths: dict[str, Answer] = {
            "/readyz": self._readyz,
            "/healthz": self._healthz,
            "/metrics": self._no_metrics,
        }

    def names(self, raw_path: str) -> bool:
        """Whether this path is never one of a session; such requests come often."""
        return raw_path in self._paths

    def answer_to(self, request: web.BaseRequest) -> Answer | None:
        """The router's own answer to a request; None if it is for a session."""
        raw_path = request.rel_url.raw_path
        if request.method == "GET" and raw_path in self._paths:
            return self._paths[raw_path]
        if raw_path == "/health" and request.method in ("GET", "HEAD"):
            cookie = own_cookie(request.headers, self._cookie_name)
            return self._health if cookie is None else None
        return None

    def _health(self) -> web.Response:
        """The router's health for the load balancer: 503 when it must get no new requests."""
        unready = bool(self._missing())
        body = {"status": "unready" if unready else "healthy"}
        return web.json_response(body, status=503 if unready else 200)

    def _healthz(self) -> web.Response:
        """Liveness: the event loop runs."""
        return web.json_response({"status": "alive"})

    def _readyz(self) -> web.Response:
        """Readiness: 200, or 503 with the missing parts."""
        missing = self._missing()
        body = {"ready": not missing, "missing": missing}
        return web.json_response(body, status=503 if missing else 200)

    def _no_metrics(self) -> web.Response:
        """Sessions' clients get no metrics, and no session gets the requests of Prometheus."""
        detail = "Metrics are on another port, for Prometheus"
        return responses.error(404, Reason.BAD_REQUEST, detail)
