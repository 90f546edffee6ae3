"""Kubernetes Events on jobs, one per transition, so that `kubectl describe ej` tells the story.

Events are a courtesy: they are sent beside the work and never hold it up, and one that the API
server does not take is logged and left.
"""

import asyncio
import logging
import uuid

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_operator.facts import Job, Json, timestamp
from nanogrid_operator.kube import CORE, KubeApi, KubeError, collection

log = logging.getLogger("nanogrid.events")

MESSAGE_CAP = 1024  # the API server's own limit for core/v1 Events
MAX_PENDING = 200  # beyond it, events are dropped rather than piled up


class Events:
    """Sends events in the background."""

    def __init__(self, kube: KubeApi) -> None:
        self._kube = kube
        self._pending: set[asyncio.Task[None]] = set()

    def post(self, job: Job, reason: Reason, message: str, now: float, *, bad: bool) -> None:
        """Send one event; returns at once."""
        if len(self._pending) >= MAX_PENDING:
            log.warning("event dropped for job uid=%s: %s", job.uid, reason)
            return
        body = event(job, reason, message, now, bad=bad)
        task = asyncio.create_task(self._send(job.namespace, body))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _send(self, namespace: str, body: Json) -> None:
        try:
            await self._kube.create(collection(CORE, "events", namespace), body)
        except KubeError as e:
            log.warning("event %s was not taken: %s", body["reason"], e)


def event(job: Job, reason: Reason, message: str, now: float, *, bad: bool) -> Json:
    """The manifest of an event. Pure but for its random name."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{job.name}.{uuid.uuid4().hex[:16]}", "namespace": job.namespace},
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "namespace": job.namespace,
            "name": job.name,
            "uid": job.uid,
            "resourceVersion": job.resource_version,
        },
        "type": "Warning" if bad else "Normal",
        "reason": reason.value,
        "message": message[:MESSAGE_CAP],
        "source": {"component": names.MANAGED_BY},
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }
