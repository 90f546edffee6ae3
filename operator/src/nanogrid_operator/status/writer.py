"""Writes a job's status, and records its transitions.

Each one is a line in the log. What a job is expected to do is no Event: its status shows it, and an
Event costs the API server as much as the write of a status.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import JOBS, KubeError, collection
from nanogrid.logs import FIELDS
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.model.facts import Job
from nanogrid_operator.status.events import Events
from nanogrid_operator.watch.cache import JobCache

log = logging.getLogger("nanogrid.reconcile")

# The API server refuses the content itself: malformed, too large, or against the schema.
REFUSED_CODES = frozenset({400, 413, 422})


@dataclass(slots=True, kw_only=True)
class Writer:
    """The only writer of the status. The cache has each written version at once."""

    cache: JobCache
    kube: KubeApi
    events: Events
    clock: Callable[[], float] = time.time

    async def write(
        self, job: Job, status: Json, *, fallback: Callable[[str], Json] | None = None
    ) -> Json | None:
        """Write the status. A concurrent change is a conflict: the job is reconciled again.

        Args:
            job: The job as it was read.
            status: A merge patch for its status.
            fallback: Makes a smaller patch when the API server refuses this one for its content,
                from its message. No job stays unfinished because its result is odd.

        Returns:
            The current job; None if it is gone.

        Raises:
            KubeError: The status is not written. After code 409 the cache has the newer job.
        """
        try:
            return await self._write(job, status)
        except KubeError as e:
            if fallback is None or e.code not in REFUSED_CODES:
                raise
            log.error("the API server refused its status: %s", e)
            return await self._write(job, fallback(e.message))

    async def _write(self, job: Job, status: Json) -> Json | None:
        body = {"metadata": {"resourceVersion": job.resource_version}, "status": status}
        path = collection(JOBS, names.PLURAL, job.namespace)
        try:
            written = await self.kube.patch_status(path, job.name, body)
        except KubeError as e:
            if e.code == 404:
                self.cache.drop_job(job.uid)
                return None
            if e.code == 409:
                self.cache.put_job(await self.kube.get(path, job.name))
            raise
        self.cache.put_job(written)
        return written

    def record(self, reason: Reason, message: str) -> None:
        """Record an expected transition of the job that the context is about: no Event."""
        log.info("%s", reason, extra={FIELDS: {"reason": reason, "why": message}})

    def record_event(self, job: Job, reason: Reason, message: str, *, bad: bool = False) -> None:
        """Record any other transition, with an Event; ``bad`` makes it a Warning."""
        self.record(reason, message)
        self.events.post(job, reason, message, self.clock(), bad=bad)
