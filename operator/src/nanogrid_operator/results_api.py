"""Where agents push their results, and the operator's probes: a small aiohttp server.

``POST /v1/results`` takes a :class:`nanogrid.wire.Report`, ``POST /v1/sessions`` a
:class:`nanogrid.wire.SessionReport`. The caller proves which pod it is with a
service-account token of audience ``nanogrid-results`` that the kubelet projected into the agent's
container alone; a TokenReview names that pod. A report only counts for the job that owns the pod.
"""

import logging
import time
from collections.abc import Callable

from aiohttp import web

from nanogrid import names, wire
from nanogrid_operator.health import Health
from nanogrid_operator.kube import TOKEN_REVIEWS, KubeApi, KubeError
from nanogrid_operator.session import Seen
from nanogrid_operator.store import Store
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.results")

POD_UID = "authentication.kubernetes.io/pod-uid"


class ResultsApi:
    """Handlers of the HTTP server; :meth:`app` wires them."""

    def __init__(
        self,
        *,
        kube: KubeApi,
        store: Store,
        queue: WorkQueue,
        health: Health,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kube = kube
        self._store = store
        self._queue = queue
        self._health = health
        self._clock = clock

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=wire.REPORT_CAP_BYTES)
        app.router.add_post(names.RESULTS_PATH, self.take)
        app.router.add_post(names.SESSIONS_PATH, self.take_session)
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        return app

    async def healthz(self, _: web.Request) -> web.Response:
        """Liveness: 200 while the loop turns and the checks run, else 503 with the cause."""
        trouble = self._health.stuck()
        return web.json_response({"stuck": trouble}, status=503 if trouble else 200)

    async def readyz(self, _: web.Request) -> web.Response:
        """Readiness: 200, or 503 naming what is missing."""
        missing = self._health.missing()
        return web.json_response(
            {"ready": not missing, "missing": missing}, status=503 if missing else 200
        )

    async def take(self, request: web.Request) -> web.Response:
        """Take in a result: 202 noted, 401 unknown caller, 403 foreign job, 400 unreadable."""
        return await self._note(request, self._read_report)

    async def take_session(self, request: web.Request) -> web.Response:
        """Take in what a session says of itself; answers as for a result."""
        return await self._note(request, self._read_session)

    def _read_report(self, body: bytes) -> tuple[str, int, Callable[[], None]]:
        report = wire.loads(wire.Report, body)
        uid = report.result.job.uid
        return uid, report.attempt, lambda: self._store.put_report(uid, report, self._clock())

    def _read_session(self, body: bytes) -> tuple[str, int, Callable[[], None]]:
        seen = Seen(wire.loads(wire.SessionReport, body), self._clock())
        return seen.report.uid, seen.report.attempt, lambda: self._store.put_session(seen)

    async def _note(
        self, request: web.Request, read: Callable[[bytes], tuple[str, int, Callable[[], None]]]
    ) -> web.Response:
        """Find out who calls, and take the body in if the job that it names is the caller's own."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            pod_uid = await self._pod_uid(token)
        except KubeError as e:
            log.warning("token review failed: %s", e)
            return web.json_response({"error": "cannot check the token now"}, status=503)
        if pod_uid is None:
            return web.json_response({"error": "the token is not valid here"}, status=401)
        try:
            uid, attempt, take_in = read(await request.read())
        except ValueError as e:
            log.warning("unreadable report of pod uid=%s: %s", pod_uid, e)
            return web.json_response({"error": str(e)}, status=400)
        pod = self._store.pod(uid, attempt)
        gone = self._store.gone(uid, attempt)
        known = self._store.job(uid) is not None
        if not self._store.primed or (known and pod is None and gone is None):
            # The pod is newer than our watch: the agent asks again in a moment.
            return web.json_response({"error": "the pod is not known yet"}, status=503)
        owner = pod or gone
        if not known or owner is None or owner["metadata"]["uid"] != pod_uid:
            log.warning("pod uid=%s reported for job uid=%s, which is not its own", pod_uid, uid)
            return web.json_response({"error": "that job is not this pod's"}, status=403)
        take_in()
        self._queue.add(uid)
        return web.json_response({"noted": True}, status=202)

    async def _pod_uid(self, token: str) -> str | None:
        """The uid of the pod that a token is bound to, or None."""
        if not token:
            return None
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [names.RESULTS_AUDIENCE]},
        }
        status = (await self._kube.create(TOKEN_REVIEWS, body)).get("status", {})
        if not status.get("authenticated"):
            return None
        # An API server that does not know audiences would accept any token.
        if names.RESULTS_AUDIENCE not in status.get("audiences", []):
            return None
        uids = status.get("user", {}).get("extra", {}).get(POD_UID, [])
        return uids[0] if uids else None
