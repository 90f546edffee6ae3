"""Writes a job's status, and tells of each transition in one log line and one Event."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_operator.events import Events
from nanogrid_operator.facts import Job, Json
from nanogrid_operator.kube import JOBS, KubeApi, KubeError, collection
from nanogrid_operator.store import Store

log = logging.getLogger("nanogrid.reconcile")


@dataclass(slots=True, kw_only=True)
class Writer:
    """The only writer of status; what it has written the store knows at once."""

    store: Store
    kube: KubeApi
    events: Events
    clock: Callable[[], float] = time.time

    async def write(self, job: Job, status: Json) -> Json | None:
        """Write the status; a concurrent change is a conflict, and decided anew.

        Returns:
            The job as it is now; None when it is gone.

        Raises:
            KubeError: it is not written; with code 409 the store has the newer job.
        """
        body = {"metadata": {"resourceVersion": job.resource_version}, "status": status}
        path = collection(JOBS, names.PLURAL, job.namespace)
        try:
            written = await self.kube.patch_status(path, job.name, body)
        except KubeError as e:
            if e.code == 404:
                self.store.drop_job(job.uid)
                return None
            if e.code == 409:
                self.store.put_job(await self.kube.get(path, job.name))
            raise
        self.store.put_job(written)
        return written

    def tell(self, job: Job, reason: Reason, message: str, *, bad: bool = False) -> None:
        """Tell of a transition; ``bad`` makes the Event a Warning."""
        log.info("job %s/%s uid=%s: %s", job.namespace, job.name, job.uid, reason)
        self.events.post(job, reason, message, self.clock(), bad=bad)
