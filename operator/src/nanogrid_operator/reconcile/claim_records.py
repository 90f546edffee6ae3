"""The Events that decide how an attempt starts: in which pod of a pool, or cold.

There is one for each attempt of a job that a pool may start. Its name is fixed, so only the first
create succeeds. It has the operator's code, because users may be able to create Events.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import CORE, KubeError, collection
from nanogrid.reasons import Reason, sentence
from nanogrid.types import Json
from nanogrid_operator.model.claim import CLAIM_SUFFIX, ClaimProofs, claimed_pod
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pool import PoolPod
from nanogrid_operator.status.events import event

log = logging.getLogger("nanogrid.claims")

CONFLICT: Final = 409
FORBIDDEN: Final = (403, 404)  # a quota, an admission policy, or a namespace that ends
FORGED: Final = "The Event that should say how the attempt starts is not the operator's"


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """What an Event decides; without a pod the attempt starts cold.

    ``own``: this call has decided it, so no earlier one can have acted on it.
    """

    name: str
    pod_name: str
    pod_uid: str
    annotation: str
    message: str
    version: str
    own: bool


@dataclass(slots=True, kw_only=True)
class ClaimRecords:
    """Makes, reads and changes these Events."""

    kube: KubeApi
    proofs: ClaimProofs
    clock: Callable[[], float] = time.time

    async def decide(self, job: Job, pod_name: str, pod: PoolPod | None, why: str) -> ClaimRecord:
        """Decide how the current attempt starts, unless it is decided already.

        Args:
            job: The job.
            pod_name: The name of a pod of the attempt's own.
            pod: The pod to claim; None: the attempt starts cold.
            why: It starts cold.

        Raises:
            KubeError: It is not known what is decided.
        """
        body = self._event(job, record_name(pod_name), pod, why)
        path = collection(CORE, "events", job.namespace)
        try:
            created = await self.kube.create(path, body)
        except KubeError as e:
            if e.code == CONFLICT:
                return await self._read(job, body["metadata"]["name"])
            if e.code in FORBIDDEN:
                # No operator can claim a pod without an Event, so the pod's own name decides.
                log.warning("the start cannot be recorded in an Event, starting cold: %s", e)
                why = f"No Event can be created: {e.message}"
                return _cold(body["metadata"]["name"], why, own=True)
            raise
        return self._record(job, created, own=True)

    async def change(
        self, job: Job, record: ClaimRecord, pod: PoolPod | None, why: str
    ) -> ClaimRecord:
        """Decide for another pod, because no job of ours has ever had the pod of this record.

        Raises:
            KubeError: It is not known what is decided.
        """
        body = self._event(job, record.name, pod, why)
        body["metadata"]["resourceVersion"] = record.version
        path = collection(CORE, "events", job.namespace)
        try:
            changed = await self.kube.replace(path, record.name, body)
        except KubeError as e:
            if e.code != CONFLICT:
                raise
            return await self._read(job, record.name)
        return self._record(job, changed, own=True)

    async def renew(self, job: Job, record: ClaimRecord, pod: PoolPod) -> None:
        """Write the record of another process again before this one acts on it.

        The other one may be about to act too. If the pod is gone then, its change of the record is
        a conflict, so it learns that the pod may have been the job's.

        Raises:
            KubeError: The record has changed, or it is not known whether it has.
        """
        renewed = await self.change(job, record, pod, "")
        if not renewed.own:
            raise KubeError(CONFLICT, "Conflict", "another process decides how the attempt starts")

    async def _read(self, job: Job, name: str) -> ClaimRecord:
        found = await self.kube.get(collection(CORE, "events", job.namespace), name)
        return self._record(job, found, own=False)

    def _record(self, job: Job, body: Json, *, own: bool) -> ClaimRecord:
        name = body["metadata"]["name"]
        pod = claimed_pod(body, self.proofs, job.uid, job.attempt)
        if pod is None:
            log.warning("%s: %s", FORGED, name)
            return _cold(name, FORGED, own=False)
        return ClaimRecord(
            name=name,
            pod_name=pod[0],
            pod_uid=pod[1],
            annotation=body["metadata"]["annotations"][names.ANNOTATION_CLAIM],
            message=str(body.get("message") or ""),
            version=body["metadata"]["resourceVersion"],
            own=own,
        )

    def _event(self, job: Job, name: str, pod: PoolPod | None, why: str) -> Json:
        now = self.clock()
        if pod is None:
            body = event(
                job, Reason.STARTED_COLD, sentence(Reason.STARTED_COLD, why), now, bad=False
            )
        else:
            text = f"Claimed pod {pod.name}"
            body = event(job, Reason.POD_CLAIMED, text, now, bad=False)
            body["related"] = {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": job.namespace,
                "name": pod.name,
                "uid": pod.uid,
            }
        uid = pod.uid if pod is not None else ""
        proof = self.proofs.annotation(job.uid, job.attempt, uid, now)
        body["metadata"] |= {"name": name, "annotations": {names.ANNOTATION_CLAIM: proof}}
        return body


def record_name(pod_name: str) -> str:
    """The name of an attempt's Event, from the name of a pod of its own."""
    return f"{pod_name}{CLAIM_SUFFIX}"


def _cold(name: str, why: str, *, own: bool) -> ClaimRecord:
    return ClaimRecord(name, "", "", "", why, "", own=own)
