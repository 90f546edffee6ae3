"""Runs of functions: each is one ExecutionJob, named by its requestId.

The order is what makes a result impossible to miss: subscribe, create the job, read what is stored
already, wait. When the wait ends first, the job itself has the last word.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_gateway.api import jobs
from nanogrid_gateway.api.errors import ApiError, cluster_away
from nanogrid_gateway.api.feed import Feed, News, RedisAway, Waiter
from nanogrid_gateway.api.functions import Functions, listed
from nanogrid_gateway.api.jobs import Json
from nanogrid_gateway.api.kube import Kube
from nanogrid_gateway.api.objects import Objects
from nanogrid_gateway.api.requests import RunRequest, RunsQuery
from nanogrid_gateway.api.settings import Settings
from nanogrid_gateway.router.cluster import KubeError

log = logging.getLogger("nanogrid.gateway.runs")

JSON_TYPE: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request about a run gets: the result, or the state of one that has not ended."""

    done: bool
    body: Json


class Runs:
    """All runs of the gateway's namespace."""

    def __init__(
        self, kube: Kube, objects: Objects, feed: Feed, functions: Functions, settings: Settings
    ) -> None:
        self._kube = kube
        self._objects = objects
        self._feed = feed
        self._functions = functions
        self._settings = settings
        self._places = threading.BoundedSemaphore(settings.max_waiting)

    def run(self, request: RunRequest) -> Answer:
        """Start a run, or find the one that the same request started, and wait for its result.

        Raises:
            ApiError: 404 no such function or version, 409 the requestId belongs to another
                request, 422 the API server refuses the job, 503.
        """
        text = jobs.input_text(request.input_data)
        request_id = request.request_id or str(uuid.uuid4())
        wait = self._settings.wait_seconds if request.wait is None else request.wait
        wait = min(wait, self._settings.max_wait_seconds)
        deadline = time.monotonic() + wait
        with self._waiting(request_id, wait) as waiter:
            job = self._find(request, request_id, text) if request.request_id else None
            if job is None:
                job = self._create(request, request_id, text)
            if jobs.ended(job):
                return Answer(True, self.result(job))
            if waiter is None:
                return Answer(False, jobs.run_state(job))
            found = self._wait(waiter, job, deadline)
        return Answer(True, found) if found is not None else self._last_look(job)

    def look(self, request_id: str) -> Answer:
        """The result of a run, or its state.

        Raises:
            ApiError: 404, 503.
        """
        job = self._job(request_id)
        if job is not None:
            return self._seen(job)
        stored = self._kept(request_id)
        if stored is None:
            raise ApiError(404, Reason.RUN_NOT_FOUND)
        return Answer(True, stored)

    def job(self, request_id: str) -> Json:
        """The job of a run.

        Raises:
            ApiError: 404, 503.
        """
        job = self._job(request_id)
        if job is None:
            raise ApiError(404, Reason.RUN_NOT_FOUND)
        return job

    def cancel(self, request_id: str) -> Json:
        """Let a run be stopped; what it has written so far is kept.

        Raises:
            ApiError: 404, 409 it has ended, 503.
        """
        job = self.job(request_id)
        if jobs.ended(job):
            raise ApiError(409, Reason.RUN_ENDED)
        patch = {"metadata": {"uid": job["metadata"]["uid"]}, "spec": {"cancel": True}}
        try:
            job = self._kube.patch(self._kube.jobs, job["metadata"]["name"], patch)
        except KubeError as e:
            if e.code == 404:
                raise ApiError(404, Reason.RUN_NOT_FOUND) from None
            raise cluster_away(str(e)) from e
        return jobs.run_state(job)

    def page(self, query: RunsQuery) -> Json:
        """One page of runs, as the API server orders them."""
        selector = names.LABEL_FUNCTION
        if query.function_id is not None:
            selector = f"{selector}={query.function_id}"
        asked = {"labelSelector": selector, "limit": str(query.limit)}
        if query.phase is not None:
            asked["fieldSelector"] = f"status.phase={query.phase.value}"
        if query.continue_:
            asked["continue"] = query.continue_
        page = listed(self._kube, self._kube.jobs, asked)
        more = page["metadata"].get("continue")
        return {"runs": [jobs.run_line(job) for job in page["items"]]} | (
            {"continue": more} if more else {}
        )

    def result(self, job: Json) -> Json:
        """The result of an ended job, whole if it is still stored somewhere."""
        uid = job["metadata"]["uid"]
        request_id = jobs.request_id_of(job)
        if (found := self._from_redis(request_id)) is not None and jobs.is_of(found, uid):
            return found
        own: Json = jobs.status_of(job).get("result") or {}
        if not own or jobs.shortened(own):
            try:
                stored = self._objects.result(request_id)
            except ApiError as e:
                log.warning("the stored result of %s: %s", request_id, e)
                stored = None
            same = stored is not None and jobs.is_of(stored, uid)
            if stored is not None and same and stored.get("reason") == own.get("reason"):
                return stored
        return own

    def _seen(self, job: Json) -> Answer:
        if jobs.ended(job):
            return Answer(True, self.result(job))
        # Redis has a result a moment before the job's status says that it has ended.
        told = self._from_redis(jobs.request_id_of(job))
        if told is not None and jobs.is_of(told, job["metadata"]["uid"]):
            return Answer(True, told)
        return Answer(False, jobs.run_state(job))

    def _last_look(self, job: Json) -> Answer:
        """The wait is over: perhaps the job has ended and its delivery hangs."""
        try:
            fresh = self._kube.get(self._kube.jobs, job["metadata"]["name"])
        except KubeError as e:
            log.warning("no last look at %s: %s", job["metadata"]["name"], e)
            fresh = None
        return self._seen(fresh or job)

    @contextmanager
    def _waiting(self, request_id: str, wait: float) -> Iterator[Waiter | None]:
        """A waiter that is subscribed; None when there is no time or no room to wait."""
        if wait <= 0 or self._feed.draining or not self._places.acquire(blocking=False):
            yield None
            return
        waiter = Waiter(request_id)
        try:
            try:
                self._feed.subscribe(waiter)
            except TimeoutError:
                log.warning("subscribing for %s takes too long; its job is watched", request_id)
                self._feed.watch_job(waiter)
            yield waiter
        finally:
            self._feed.leave(waiter)
            self._places.release()

    def _wait(self, waiter: Waiter, job: Json, deadline: float) -> Json | None:
        """The result, or None when the wait is over."""
        uid = job["metadata"]["uid"]
        try:
            found = _parsed(self._feed.stored(waiter.request_id))
        except RedisAway as e:
            log.info("%s: its job is watched, Redis is away: %s", waiter.request_id, e)
            found = None
            self._feed.watch_job(waiter)
        if found is not None:
            if jobs.is_of(found, uid):
                return found
            self._feed.watch_job(waiter)  # Redis keeps another job's result under this id
        while (left := deadline - time.monotonic()) > 0:
            news = waiter.next(left)
            if news is None or (news.text is None and news.job is None):
                return None
            if (result := self._read(news, uid)) is not None:
                return result
        return None

    def _read(self, news: News, uid: str) -> Json | None:
        if news.job is not None:
            return self.result(news.job) if news.job["metadata"]["uid"] == uid else None
        found = _parsed(news.text)
        return found if found is not None and jobs.is_of(found, uid) else None

    def _from_redis(self, request_id: str) -> Json | None:
        try:
            return _parsed(self._feed.stored(request_id))
        except RedisAway as e:
            log.debug("result:%s: %s", request_id, e)
            return None

    def _kept(self, request_id: str) -> Json | None:
        """What is stored of a run whose job is gone."""
        name = {"namespace": self._kube.namespace, "name": jobs.job_name(request_id)}
        for found in (self._from_redis(request_id), self._objects.result(request_id)):
            job = (found or {}).get("job")
            if isinstance(job, dict) and {k: job.get(k) for k in name} == name:
                return found
        return None

    def _job(self, request_id: str) -> Json | None:
        try:
            job = self._kube.get(self._kube.jobs, jobs.job_name(request_id))
        except KubeError as e:
            raise cluster_away(str(e)) from e
        if job is None or jobs.request_id_of(job) != request_id:
            return None
        return job

    def _find(self, request: RunRequest, request_id: str, text: str) -> Json | None:
        """The job that the same request started before."""
        job = self._job(request_id)
        if job is None:
            return None
        annotations = job["metadata"].get("annotations") or {}
        digest = jobs.request_digest(request, text)
        if annotations.get(names.ANNOTATION_REQUEST_DIGEST) != digest:
            said = f"requestId {request_id} was used before, for another function, version or "
            said += "inputData. Use a new one."
            raise ApiError(409, Reason.IDEMPOTENCY_CONFLICT, said)
        return job

    def _create(self, request: RunRequest, request_id: str, text: str) -> Json:
        function = self._functions.get(request.function_id)
        spec = function.spec
        version = spec.newest if request.version is None else spec.numbered(request.version)
        if version is None:
            raise ApiError(404, Reason.VERSION_NOT_FOUND)
        ttl = self._settings.run_ttl_seconds
        body = jobs.job_body(function, version, request, request_id, text, ttl)
        if not jobs.fits_stdin(text):
            key = jobs.input_key(request.function_id, request_id, text)
            self._objects.put_new(key, text.encode(), JSON_TYPE)
        try:
            return self._kube.create(self._kube.jobs, body)
        except KubeError as e:
            if e.code == 409 and (job := self._find(request, request_id, text)) is not None:
                return job
            if e.code in (400, 403, 422):
                said = f"The API server refuses the run: {e}."
                raise ApiError(422, Reason.INVALID_SPEC, said) from e
            if e.code == 0 and (job := self._find(request, request_id, text)) is not None:
                return job  # it was created, only the answer was lost
            raise cluster_away(str(e)) from e


def _parsed(text: str | None) -> Json | None:
    """A result's JSON, if it is one."""
    try:
        found: Any = json.loads(text) if text is not None else None
    except ValueError as e:
        log.warning("what Redis has is no result: %s", e)
        return None
    return found if isinstance(found, dict) else None
