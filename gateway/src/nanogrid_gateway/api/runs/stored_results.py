"""Results that are stored: in Redis for a while, in S3, and shortened in the job's status."""

import logging
from dataclasses import dataclass
from typing import Any, Protocol

from nanogrid import json_text
from nanogrid.controller_class import NO_CLASS
from nanogrid.result_copy import shortened
from nanogrid.types import Json
from nanogrid_gateway.api.async_objects import AsyncObjects
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.job_fields import belongs_to, request_id_of, status_of
from nanogrid_gateway.api.runs import jobs
from nanogrid_gateway.api.runs.result_feed import RedisUnavailable, ResultFeed

log = logging.getLogger("nanogrid.gateway.runs")


class Results(Protocol):
    """Where the results of one namespace are read."""

    async def of_job(self, job: Json) -> Json:
        """The result of a finished job, as complete as it can be read."""

    async def from_redis(self, request_id: str) -> Json | None:
        """The result in Redis; None if there is none, or Redis does not answer."""

    async def without_job(self, request_id: str) -> Json | None:
        """The stored result of a run whose job is gone."""


@dataclass(frozen=True, slots=True)
class StoredResults:
    """Reads results of the gateway's namespace."""

    feed: ResultFeed
    objects: AsyncObjects
    namespace: str
    controller_class: str = NO_CLASS

    async def of_job(self, job: Json) -> Json:
        """The result of a finished job, complete if it is still stored somewhere."""
        uid = job["metadata"]["uid"]
        request_id = request_id_of(job)
        found = await self.from_redis(request_id)
        if found is not None and belongs_to(found, uid):
            return found
        own: Json = status_of(job).get("result") or {}
        if not own or shortened(own):
            try:
                stored = await self.objects.result(request_id)
            except ApiError as e:
                log.warning("the stored result cannot be read: %s", e)
                stored = None
            same = stored is not None and belongs_to(stored, uid)
            if stored is not None and same and stored.get("reason") == own.get("reason"):
                return stored
        return own

    async def from_redis(self, request_id: str) -> Json | None:
        """The result in Redis; None if there is none, or Redis does not answer."""
        try:
            return parsed(await self.feed.stored(request_id))
        except RedisUnavailable as e:
            log.debug("Redis does not answer: %s", e)
            return None

    async def without_job(self, request_id: str) -> Json | None:
        """The stored result of a run whose job is gone."""
        own = jobs.job_name(request_id, self.controller_class)
        name = {"namespace": self.namespace, "name": own}
        for source in (self.from_redis, self.objects.result):
            found = await source(request_id)
            job = (found or {}).get("job")
            if isinstance(job, dict) and {k: job.get(k) for k in name} == name:
                return found
        return None


def parsed(text: str | None) -> Json | None:
    """A result's JSON; None if the text is none."""
    try:
        found: Any = json_text.parse(text) if text is not None else None
    except ValueError as e:
        log.warning("the value in Redis is not a result: %s", e)
        return None
    return found if isinstance(found, dict) else None
