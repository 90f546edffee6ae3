"""The HTTP server that takes results from agents and answers the operator's probes (aiohttp).

``POST /v1/results`` takes a :class:`nanogrid.wire.Report`, ``POST /v1/sessions`` a
:class:`nanogrid.wire.SessionReport`, ``POST /v1/memory`` a :class:`nanogrid.wire.MemoryReport`, and
``GET /v1/task`` answers with the task of a pool's pod, see :mod:`.tasks`. The
caller authenticates with a token that only the agent's
container has: see :mod:`.authentication`. A report only counts for the sender's own job. A result
that has an authentication code must have the right one. A process that stands by forwards valid
reports to the leader, which checks them again: see :mod:`.forwarder`.

Answers are cached, see :mod:`.senders`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from nanogrid import names, result_bounds, wire
from nanogrid.lifecycle import finished
from nanogrid.live_memory import MemoryUse
from nanogrid.logs import about, note
from nanogrid.network_condition import NetworkCondition
from nanogrid_operator.model.observed import SessionObservation
from nanogrid_operator.model.pod_facts import pod_facts
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.server.authentication import Sender
from nanogrid_operator.server.forwarder import ReportForwarder
from nanogrid_operator.server.health import Health
from nanogrid_operator.server.senders import Frequent, Refused, Senders
from nanogrid_operator.server.tasks import TaskApi
from nanogrid_operator.status.live_memory import LiveMemory
from nanogrid_operator.watch.cache import JobCache
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.results")

BODY_SECONDS: Final = 10.0
TAKEN: Final = 202  # the answer to a report that is noted

ACCEPTED, FORWARDED, REFUSED = "accepted", "forwarded", "refused"

Read = Callable[[bytes], tuple[str, int, Callable[[], None]]]  # to uid, attempt, what takes it in


@dataclass(slots=True, kw_only=True)
class ResultsApi:
    """The handlers of the HTTP server; :meth:`app` registers them."""

    senders: Senders
    keys: ResultKeys
    cache: JobCache
    queue: WorkQueue
    health: Health
    network: Callable[[], NetworkCondition]
    memory: LiveMemory
    forwarder: ReportForwarder
    tasks: TaskApi
    counted: Callable[[str], None]  # receives ACCEPTED, FORWARDED or REFUSED
    clock: Callable[[], float] = time.time

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=wire.REPORT_CAP_BYTES)
        app.router.add_post(names.RESULTS_PATH, self.take)
        app.router.add_post(names.SESSIONS_PATH, self.take_session)
        app.router.add_post(names.MEMORY_PATH, self.take_memory)
        app.router.add_get(names.TASK_PATH, self.give_task)
        app.router.add_get("/healthz", self.healthz)
        app.router.add_get("/readyz", self.readyz)
        return app

    async def healthz(self, _: web.Request) -> web.Response:
        """Liveness: 200 while the event loop and the checks run, else 503 with the cause."""
        stuck = self.health.stuck()
        return web.json_response({"stuck": stuck}, status=503 if stuck else 200)

    async def readyz(self, _: web.Request) -> web.Response:
        """Readiness: 200, or 503 with the checks that fail."""
        missing = self.health.missing()
        if not self.cache.primed:
            missing["lists"] = "the first LIST of jobs and pods has not ended"
        network = wire.to_dict(self.network())
        body = {"ready": not missing, "missing": missing, "network": network}
        return web.json_response(body, status=503 if missing else 200)

    async def take(self, request: web.Request) -> web.Response:
        """Take a result: 202 noted, else an error.

        401 unknown caller, 403 not its job, 400 malformed or forged, 408 too slow, 429 too many
        attempts.
        """
        return await self._note(request, self._read_report)

    async def take_session(self, request: web.Request) -> web.Response:
        """Take a report of a session; the answers are those for a result."""
        return await self._note(request, self._read_session)

    async def take_memory(self, request: web.Request) -> web.Response:
        """Take the memory of running code; the answers are those for a result."""
        return await self._note(request, self._read_memory, Frequent.MEMORY)

    async def give_task(self, request: web.Request) -> web.StreamResponse:
        """Answer an agent of a pool's pod: 200 with lines, else the errors of a report."""
        try:
            sender = await self.senders.of(request, Frequent.TASK)
        except Refused as refused:
            return refused.response
        return await self.tasks.answer(request, sender)

    def _read_report(self, body: bytes) -> tuple[str, int, Callable[[], None]]:
        report = self.keys.read_report(body)
        uid = report.result.job.uid

        def take_in() -> None:
            self.cache.put_report(uid, report, self.clock())
            self.queue.add(uid)

        return uid, report.attempt, take_in

    def _read_session(self, body: bytes) -> tuple[str, int, Callable[[], None]]:
        report = result_bounds.session_report(wire.loads(wire.SessionReport, body))
        observed = SessionObservation(report, self.clock())

        def take_in() -> None:
            self.cache.put_session(observed)
            if report.memory_bytes is not None:
                use = MemoryUse(report.memory_bytes, report.peak_memory_bytes)
                self._take_use(report.uid, report.attempt, use)
            self.queue.add(report.uid)

        return report.uid, report.attempt, take_in

    def _read_memory(self, body: bytes) -> tuple[str, int, Callable[[], None]]:
        report = result_bounds.memory_report(wire.loads(wire.MemoryReport, body))
        use = MemoryUse(report.memory_bytes, report.peak_memory_bytes)
        return report.uid, report.attempt, lambda: self._take_use(report.uid, report.attempt, use)

    def _take_use(self, uid: str, attempt: int, use: MemoryUse) -> None:
        job, pod = self.cache.job(uid), self.cache.pod(uid, attempt)
        if job is not None and pod is not None and not finished(job):
            self.memory.take(uid, attempt, use, pod_facts(pod).memory_limit_bytes)

    async def _note(
        self, request: web.Request, read: Read, often: Frequent | None = None
    ) -> web.Response:
        """Answer a report; see :meth:`_take`."""
        stands_by = self.queue.paused
        response = await self._take(request, read, often)
        taken = FORWARDED if stands_by else ACCEPTED
        self.counted(taken if response.status == TAKEN else REFUSED)
        return response

    async def _take(self, request: web.Request, read: Read, often: Frequent | None) -> web.Response:
        """Authenticate the caller, and take the body if the job that it names owns the caller.

        ``often``: what such requests share, if they come all the time.
        """
        with about({}):
            return await self._note_known(request, read, often)

    async def _note_known(
        self, request: web.Request, read: Read, often: Frequent | None
    ) -> web.Response:
        """See :meth:`_note`."""
        try:
            sender = await self.senders.of(request, often)
            uid, attempt, take_in = await self._read(request, sender, read)
        except Refused as refused:
            return refused.response
        note({**self.cache.log_fields(uid), "attempt": attempt})
        if self.queue.paused:
            return await self.forwarder.forward(request, sender)
        pod = self.cache.pod(uid, attempt)
        gone = self.cache.gone(uid, attempt)
        known = self.cache.job(uid) is not None
        if not self.cache.primed or (known and pod is None and gone is None):
            # The watch has not brought the pod yet: the agent tries again soon.
            return web.json_response({"error": "the pod is not known yet"}, status=503)
        owner = pod or gone
        may = owner is not None and sender.may_report(uid, owner["metadata"]["uid"])
        if not known or not may:
            log.warning("%s reported for this job, which does not own it", sender)
            return web.json_response({"error": "that job does not own this pod"}, status=403)
        take_in()
        return web.json_response({"noted": True}, status=TAKEN)

    async def _read(
        self, request: web.Request, sender: Sender, read: Read
    ) -> tuple[str, int, Callable[[], None]]:
        """The body of a request; see :meth:`_note`."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()
            return read(body)
        except TimeoutError:
            note(self._fields_of(sender))
            log.warning("%s sends its report too slowly", sender)
            raise Refused(408, f"the body did not arrive within {BODY_SECONDS:g} s") from None
        except ValueError as e:
            note(self._fields_of(sender))
            log.warning("malformed report of %s: %s", sender, e)
            raise Refused(400, str(e)) from e

    def _fields_of(self, sender: Sender) -> dict[str, Any]:
        """What logs about a sender show, without a report that names its job."""
        if sender.job_uid:
            return self.cache.log_fields(sender.job_uid)
        return self.cache.log_fields_of_pod(sender.pod_uid)
