"""Runs of functions: each is one ExecutionJob, named by its requestId.

The order makes a result impossible to miss: subscribe, create the job, read what is stored already,
wait. When the wait ends first, the job itself is read once more.
"""

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nanogrid import names
from nanogrid.connection_limits import Slots
from nanogrid.controller_class import serves
from nanogrid.kube.conventions import KubeError
from nanogrid.lifecycle import finished
from nanogrid.logs import about, fields_of_job, note
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_gateway.api.async_objects import AsyncObjects
from nanogrid_gateway.api.errors import ApiError, cluster_unavailable
from nanogrid_gateway.api.functions.functions import Functions
from nanogrid_gateway.api.job_fields import belongs_to, request_id_of
from nanogrid_gateway.api.listing import list_page
from nanogrid_gateway.api.requests import RunRequest, RunsQuery
from nanogrid_gateway.api.runs import jobs
from nanogrid_gateway.api.runs.jobs import RunAnswer, RunInput
from nanogrid_gateway.api.runs.result_feed import RedisUnavailable, ResultFeed
from nanogrid_gateway.api.runs.stored_results import Results, StoredResults, parsed
from nanogrid_gateway.api.runs.waiter import Notification, Waiter
from nanogrid_gateway.api.settings import Settings
from nanogrid_gateway.kube.client import Kube
from nanogrid_gateway.metrics import GatewayMetrics
from nanogrid_gateway.tracing import current_trace

log = logging.getLogger("nanogrid.gateway.runs")

JSON_TYPE: Final = "application/json"


class Runs:
    """All runs of one namespace, the gateway's unless ``results`` are given."""

    def __init__(
        self,
        kube: Kube,
        objects: AsyncObjects,
        feed: ResultFeed,
        functions: Functions,
        settings: Settings,
        metrics: GatewayMetrics,
        results: Results | None = None,
    ) -> None:
        self.kube = kube
        self._objects = objects
        self._feed = feed
        self._results = results or StoredResults(
            feed, objects, kube.namespace, settings.controller_class
        )
        self._functions = functions
        self._settings = settings
        self._slots = Slots(settings.max_waiting)
        self._metrics = metrics

    async def run(self, request: RunRequest, given: RunInput) -> RunAnswer:
        """Start a run, or find the one that the same request started, and wait for its result.

        Raises:
            ApiError: 404 no such function or version, 409 the requestId belongs to another
                request, 422 the API server refuses the job, 503.
        """
        request_id = request.request_id or str(uuid.uuid4())
        with about({"namespace": self.kube.namespace, "requestId": request_id}):
            return await self._run(request, request_id, given)

    async def _run(self, request: RunRequest, request_id: str, given: RunInput) -> RunAnswer:
        """See :meth:`run`."""
        wait = self._settings.wait_seconds if request.wait is None else request.wait
        wait = min(wait, self._settings.max_wait_seconds)
        deadline = time.monotonic() + wait
        with self._waiter(request_id, wait) as waiter:
            if waiter is not None:
                await self._subscribe(waiter)
            job = await self._find(request_id, given) if request.request_id else None
            if job is None:
                job = await self._create(request, request_id, given)
            if finished(job):
                return RunAnswer(True, await self._results.of_job(job))
            if waiter is None:
                return RunAnswer(False, jobs.run_state(job))
            with self._metrics.run_wait_seconds.time():
                found = await self._wait(waiter, job, deadline)
        return RunAnswer(True, found) if found is not None else await self._last_look(job)

    async def look(self, request_id: str) -> RunAnswer:
        """The result of a run, or its state.

        Raises:
            ApiError: 404, 503.
        """
        job = await self._job(request_id)
        if job is not None:
            return await self._answer(job)
        stored = await self._results.without_job(request_id)
        if stored is None:
            raise ApiError(404, Reason.RUN_NOT_FOUND)
        return RunAnswer(True, stored)

    async def job(self, request_id: str) -> Json:
        """The job of a run.

        Raises:
            ApiError: 404, 503.
        """
        job = await self._job(request_id)
        if job is None:
            raise ApiError(404, Reason.RUN_NOT_FOUND)
        return job

    async def cancel(self, request_id: str) -> Json:
        """Stop a run; what it has written so far is kept.

        Raises:
            ApiError: 404, 409 it has ended, 503.
        """
        job = await self.job(request_id)
        if finished(job):
            raise ApiError(409, Reason.RUN_ENDED)
        patch = {"metadata": {"uid": job["metadata"]["uid"]}, "spec": {"cancel": True}}
        try:
            job = await self.kube.patch(self.kube.jobs, job["metadata"]["name"], patch)
        except KubeError as e:
            if e.code == 404:
                raise ApiError(404, Reason.RUN_NOT_FOUND) from None
            raise cluster_unavailable(str(e)) from e
        return jobs.run_state(job)

    async def page(self, query: RunsQuery) -> Json:
        """One page of runs, in the order of the API server.

        It has fewer than the limit where installations of other controller classes have jobs.
        """
        selector = names.LABEL_FUNCTION
        if query.function_id is not None:
            selector = f"{selector}={query.function_id}"
        parameters = {"labelSelector": selector, "limit": str(query.limit)}
        if query.phase is not None:
            parameters["fieldSelector"] = f"status.phase={query.phase.value}"
        if query.continue_:
            parameters["continue"] = query.continue_
        page = await list_page(self.kube, self.kube.jobs, parameters)
        more = page["metadata"].get("continue")
        own = [job for job in page["items"] if serves(self._settings.controller_class, job)]
        return {"runs": [jobs.run_line(job) for job in own]} | ({"continue": more} if more else {})

    async def result(self, job: Json) -> Json:
        """The result of a finished job, complete if it is still stored somewhere."""
        return await self._results.of_job(job)

    async def _answer(self, job: Json) -> RunAnswer:
        if finished(job):
            return RunAnswer(True, await self._results.of_job(job))
        # Redis has a result a moment before the job's status says that it has ended.
        found = await self._results.from_redis(request_id_of(job))
        if found is not None and belongs_to(found, job["metadata"]["uid"]):
            return RunAnswer(True, found)
        return RunAnswer(False, jobs.run_state(job))

    async def _last_look(self, job: Json) -> RunAnswer:
        """The wait is over; the job may have ended although its delivery hangs."""
        try:
            fresh = await self.kube.get(self.kube.jobs, job["metadata"]["name"])
        except KubeError as e:
            log.warning("cannot read the job after the wait: %s", e)
            fresh = None
        return await self._answer(fresh or job)

    @contextmanager
    def _waiter(self, request_id: str, wait: float) -> Iterator[Waiter | None]:
        """A waiter; None when there is no time or no slot to wait."""
        if wait <= 0 or self._feed.draining or not self._slots.take():
            yield None
            return
        waiter = Waiter(request_id)
        self._metrics.runs_waiting.inc()
        try:
            yield waiter
        finally:
            self._metrics.runs_waiting.dec()
            self._feed.leave(waiter)
            self._slots.give_back()

    async def _subscribe(self, waiter: Waiter) -> None:
        try:
            await self._feed.subscribe(waiter)
        except TimeoutError:
            log.warning("subscribing takes too long; watching the job")
            self._feed.watch_job(waiter)

    async def _wait(self, waiter: Waiter, job: Json, deadline: float) -> Json | None:
        """The result, or None when the wait is over."""
        uid = job["metadata"]["uid"]
        try:
            found = parsed(await self._feed.stored(waiter.request_id))
        except RedisUnavailable as e:
            log.info("watching the job, Redis is unavailable: %s", e)
            found = None
            self._feed.watch_job(waiter)
        if found is not None:
            if belongs_to(found, uid):
                return found
            self._feed.watch_job(waiter)  # Redis keeps another job's result under this id
        while (left := deadline - time.monotonic()) > 0:
            notification = await waiter.next(left)
            if notification is None or notification.stopping:
                return None
            if (result := await self._read(notification, uid)) is not None:
                return result
        return None

    async def _read(self, notification: Notification, uid: str) -> Json | None:
        if (job := notification.job) is not None:
            return await self._results.of_job(job) if job["metadata"]["uid"] == uid else None
        found = parsed(notification.text)
        return found if found is not None and belongs_to(found, uid) else None

    async def _job(self, request_id: str) -> Json | None:
        name = jobs.job_name(request_id, self._settings.controller_class)
        job = await self._named(name)
        if job is None or request_id_of(job) != request_id:
            return None
        note(fields_of_job(job))
        return job

    async def _named(self, name: str) -> Json | None:
        """The job of a name, if it is this installation's."""
        try:
            job = await self.kube.get(self.kube.jobs, name)
        except KubeError as e:
            raise cluster_unavailable(str(e)) from e
        return job if job is not None and serves(self._settings.controller_class, job) else None

    async def _find(self, request_id: str, given: RunInput) -> Json | None:
        """The job that the same request started before."""
        job = await self._job(request_id)
        if job is None:
            return None
        annotations = job["metadata"].get("annotations") or {}
        if annotations.get(names.ANNOTATION_REQUEST_DIGEST) != given.digest:
            message = f"requestId {request_id} was used before, for another function, version or "
            message += "inputData. Use a new one."
            raise ApiError(409, Reason.IDEMPOTENCY_CONFLICT, message)
        return job

    async def _create(self, request: RunRequest, request_id: str, given: RunInput) -> Json:
        spec = (await self._functions.get(request.function_id)).spec
        version = spec.newest if request.version is None else spec.numbered(request.version)
        if version is None:
            raise ApiError(404, Reason.VERSION_NOT_FOUND)
        ttl = self._settings.run_ttl_seconds
        root = self._objects.root
        own = self._settings.controller_class
        trace = current_trace()
        body = jobs.job_body(request, version.version, request_id, given, ttl, root, own, trace)
        if not given.by_stdin:
            key = self._objects.key(jobs.input_key(request.function_id, request_id, given))
            await self._objects.put_new(key, given.text.encode(), JSON_TYPE)
        try:
            job = await self.kube.create(self.kube.jobs, body)
            note(fields_of_job(job))
            return job
        except KubeError as e:
            # 0: perhaps it was created, and only the answer was lost.
            if e.code in (409, 0):
                found = await self._find(request_id, given)
                if found is not None:
                    return found
            raise refused(e) from e


def refused(error: KubeError) -> ApiError:
    """The answer when the API server does not create a job: 422 or 503."""
    if error.code in (400, 403, 422):
        return ApiError(422, Reason.INVALID_SPEC, f"The API server refuses the run: {error}.")
    return cluster_unavailable(str(error))
