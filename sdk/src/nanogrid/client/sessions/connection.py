"""The connection to a session's HTTP API: the way to it, token, and a new one when it breaks.

Inside the cluster, and for a session with an address of its own, the way is that address. Outside
the cluster it is a tunnel to the session's pod: it needs rights in the session's namespace only,
and starts no program. Where the API server refuses the tunnel, or the tunnel does not reach the pod
(some sandboxed runtimes), the way is a port-forward to the router.
"""

import base64
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from nanogrid import names
from nanogrid.backoff import exponential, jitter
from nanogrid.client.configured import header_text, server_url
from nanogrid.client.errors import ApiError, NotFound, Unauthorized, Unreachable
from nanogrid.client.http import Http
from nanogrid.client.jobs.run import Run
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.kube.paths import secrets
from nanogrid.client.kube.pod_tunnel import PodTunnel
from nanogrid.client.kube.port_forward import port_forward
from nanogrid.types import Json

T = TypeVar("T")
ENV_ROUTER_URL: Final = "NANOGRID_ROUTER_URL"
TRIES: Final = 6
TUNNEL_TRIES: Final = 2  # before the way is the router
GONE_SECONDS: Final = 30.0
RETRYABLE: Final = frozenset({0, 429, 502, 503, 504})
# The router learns of a session by a watch, a moment after the session is ready.
UNKNOWN_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 5.0


class SessionConnection:
    """Requests to one session. Safe for threads; close it after use.

    Attributes:
        reached: whether the session has ever answered.
    """

    def __init__(self, cluster: Cluster, run: Run, until_ready: Callable[[], None]) -> None:
        self._cluster = cluster
        self._run = run
        self._until_ready = until_ready
        self._timing = cluster.timing
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._http: Http | None = None
        self._answered = False  # the session has answered once
        self.reached = False
        self._failures = 0  # connections that broke
        self._by_router = False  # the API server refuses the tunnel to the pod

    def close(self) -> None:
        """Close connections and the port-forward."""
        with self._lock:
            self._http = None
            self._stack.close()

    def call(self, use: Callable[[Http], T], wait: bool = True) -> T:
        """Call ``use`` with the connection, and again with a new one after a failure.

        The first call waits until the session is ready, unless ``wait`` is false.

        Every request to a session is repeatable: reads, writes of whole files, and executions with
        their Idempotency-Key.

        Raises:
            ApiError: a final answer, or none after six tries.
            Expired: the session has ended.
            WaitTimeout: the session is not ready.
        """
        if wait and not self._answered:
            self._until_ready()
        began = self._timing.now()
        for attempt in range(TRIES):
            http = self._connected()
            try:
                found = use(http)
                self._answered = self.reached = True
                return found
            except ApiError as e:
                self.reached = self.reached or e.status > 0
                early = isinstance(e, Unauthorized) and not self._answered
                unknown = early and self._timing.now() - began < UNKNOWN_SECONDS
                if attempt == TRIES - 1 or not (unknown or e.status in RETRYABLE):
                    raise
                if isinstance(e, Unreachable):
                    self._drop(http)
                pause = max(e.retry_after, exponential(attempt, PAUSE_SECONDS))
                pause = min(LONGEST_PAUSE_SECONDS, pause)
                self._timing.sleep(jitter(pause, 0.8, 1.2))
        raise AssertionError("the loop returns or raises")

    def json(self, method: str, path: str, wait: bool = True, **options: Any) -> Json:
        """The JSON of the answer to a request; see call."""
        return self.call(lambda http: http.json(method, path, **options), wait)

    def _connected(self) -> Http:
        with self._lock:
            if self._http is None:
                self._http = self._open(self._token())
                self._stack.callback(self._http.close)
            return self._http

    def _drop(self, http: Http) -> None:
        with self._lock:
            if self._http is http:
                self._failures += 1
                self._http = None
                self._stack.close()

    def _open(self, token: str) -> Http:
        path = names.session_path(self._run.namespace, self._run.name)
        if router := os.environ.get(ENV_ROUTER_URL):
            return Http(server_url(router, f"${ENV_ROUTER_URL}") + path, token)
        url = str(self._session.get("url") or "")
        if not url:
            raise Unreachable(0, "NoAddress", f"session {self._run.name} has no address yet.")
        parts = urlsplit(url)
        service = (parts.hostname or "").split(".")
        # NAME.NAMESPACE.svc is a Service. Only pods can reach it.
        if self._cluster.connection.in_cluster or len(service) < 3 or service[2] != "svc":
            return Http(url, token)
        if (tunnel := self._tunnel()) is not None:
            return Http("", token, tunnel)
        port = self._stack.enter_context(
            port_forward(self._cluster, service[1], f"svc/{service[0]}", parts.port or 80)
        )
        return Http(f"http://127.0.0.1:{port}{parts.path}", token)

    def _tunnel(self) -> PodTunnel | None:
        """A tunnel to the pod; None where the way is the router."""
        pod = self._run.status.get("podName")
        never = not self.reached and self._failures >= TUNNEL_TRIES
        if self._by_router or never or not pod:
            return None
        try:
            return PodTunnel(self._cluster, self._run.namespace, str(pod), names.SESSION_PORT)
        except Unreachable:
            raise
        except NotFound:
            # The operator soon notices that the pod is gone.
            if self._run.refresh().until(lambda: self._run.finished, GONE_SECONDS):
                self._until_ready()  # raises why the session has ended
            return None
        except ApiError:
            self._by_router = True
            return None

    def _token(self) -> str:
        name = self._session.get("tokenSecretName")
        if not name:
            return ""  # spec.session.auth is Unprotected
        secret = self._cluster.get(f"{secrets(self._run.namespace)}/{name}")
        token = base64.b64decode(secret["data"]["token"]).decode(errors="replace")
        return header_text(token, f"the token in Secret {name}")

    @property
    def _session(self) -> Json:
        found: Json = self._run.status.get("session") or {}
        return found
