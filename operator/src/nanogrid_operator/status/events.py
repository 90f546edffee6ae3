"""Kubernetes Events on jobs, which `kubectl describe ej` shows: starts, retries and problems.

Events are best effort. They are sent in the background and delay nothing. If the API server does
not take an Event, the operator logs that and does not try again.
"""

import asyncio
import logging
import uuid

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, KubeError, collection
from nanogrid.logs import FIELDS
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.model.facts import Job

log = logging.getLogger("nanogrid.events")

MESSAGE_CAP = 1024  # the API server's own limit for core/v1 Events
MAX_PENDING = 200  # further Events are dropped


class Events:
    """Sends Events in the background."""

    def __init__(self, kube: KubeApi, max_pending: int = MAX_PENDING) -> None:
        self._kube = kube
        self._max_pending = max_pending
        self._pending: set[asyncio.Task[None]] = set()

    def post(self, job: Job, reason: Reason, message: str, now: float, *, bad: bool) -> None:
        """Send one Event in the background; returns at once."""
        self._post(event(job, reason, message, now, bad=bad))

    def post_tenant(self, tenant: Json, message: str, now: float) -> None:
        """Send an Event on a NanoGridTenant that is not valid; returns at once."""
        meta = tenant["metadata"]
        subject = {
            "kind": names.TENANT_KIND,
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        }
        self._post(_event(subject, Reason.INVALID_SPEC, message, now, bad=True))

    def _post(self, body: Json) -> None:
        subject = body["involvedObject"]
        if len(self._pending) >= self._max_pending:
            log.warning("Event dropped: %s", body["reason"], extra={FIELDS: _fields(subject)})
            return
        # The task has the context of the caller: its logs are about the same job.
        task = asyncio.create_task(self._send(subject["namespace"], body))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _send(self, namespace: str, body: Json) -> None:
        try:
            await self._kube.create(collection(CORE, "events", namespace), body)
        except KubeError as e:
            fields = _fields(body["involvedObject"])
            log.warning("no Event %s: %s", body["reason"], e, extra={FIELDS: fields})


def _fields(subject: Json) -> dict[str, str]:
    """What logs about an Event show of an object that is no job."""
    if subject["kind"] == names.KIND:
        return {}  # those of the job are around the call
    return {"namespace": subject["namespace"], "kind": subject["kind"], "name": subject["name"]}


def event(job: Job, reason: Reason, message: str, now: float, *, bad: bool) -> Json:
    """The manifest of an Event on a job. Pure except for its random name."""
    subject = {
        "kind": names.KIND,
        "namespace": job.namespace,
        "name": job.name,
        "uid": job.uid,
        "resourceVersion": job.resource_version,
    }
    return _event(subject, reason, message, now, bad=bad)


def _event(subject: Json, reason: Reason, message: str, now: float, *, bad: bool) -> Json:
    name, namespace = subject["name"], subject["namespace"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "involvedObject": {"apiVersion": names.API_VERSION, **subject},
        "type": "Warning" if bad else "Normal",
        "reason": reason.value,
        "message": message[:MESSAGE_CAP],
        "source": {"component": names.MANAGED_BY},
        "firstTimestamp": timestamp(now),
        "lastTimestamp": timestamp(now),
        "count": 1,
    }
