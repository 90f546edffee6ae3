"""Claims of pools' pods: the annotation that shows for which attempt the operator took a pod. Pure.

Whoever may create pods can give them any label and owner. The annotation has a code that only the
operator can make, so a pod without it is the pod of no job.
"""

import hmac
from dataclasses import dataclass

from nanogrid import names, pod_identity, result_auth
from nanogrid.types import Json

CLAIM_SUFFIX = ".claim"  # of the Event that decides how an attempt starts, after its pod's name
MAX_DIGITS = 15  # of milliseconds since the epoch


@dataclass(frozen=True, slots=True)
class ClaimProofs:
    """Makes and checks the annotations; ``master`` is the installation's secret key."""

    master: str

    def created(self, pool_uid: str, pod_name: str) -> str:
        """The value for a new pod of a pool."""
        return result_auth.pool_proof(self.master, pool_uid, pod_name)

    def created_by_operator(self, pod: Json) -> bool:
        """Whether the operator has created a pool's pod. It belongs to the pool that owns it."""
        meta = pod["metadata"]
        given = str((meta.get("annotations") or {}).get(names.ANNOTATION_POOL_PROOF) or "")
        owners = [o for o in meta.get("ownerReferences") or [] if o["kind"] == names.POOL_KIND]
        if len(owners) != 1 or owners[0]["name"] != meta["labels"].get(names.LABEL_POOL):
            return False
        proof = self.created(owners[0]["uid"], meta["name"])
        return hmac.compare_digest(proof.encode(), given.encode("utf-8", "replace"))

    def annotation(self, job_uid: str, attempt: int, pod_uid: str, now: float) -> str:
        """The value for a pod that is claimed now, in seconds since the epoch.

        Without a pod's uid: for an attempt that starts cold.
        """
        millis = int(1000 * now)
        proof = result_auth.claim_proof(self.master, job_uid, attempt, pod_uid, millis)
        return f"{millis}:{proof}"

    def holds(self, pod: Json, job_uid: str, attempt: int) -> bool:
        """Whether the operator has claimed a pod for this attempt."""
        return self.is_for(_value(pod), job_uid, attempt, pod["metadata"]["uid"])

    def is_for(self, value: str, job_uid: str, attempt: int, pod_uid: str) -> bool:
        """Whether a value is that of :meth:`annotation` for this attempt and pod."""
        millis = _millis(value)
        if millis is None:
            return False
        proof = result_auth.claim_proof(self.master, job_uid, attempt, pod_uid, millis)
        return hmac.compare_digest(f"{millis}:{proof}".encode(), value.encode("utf-8", "replace"))


def claimed_pod(
    body: Json, proofs: ClaimProofs, job_uid: str, attempt: int
) -> tuple[str, str] | None:
    """Name and uid of the pod that an Event names, both empty for a cold start.

    None if the Event is not the operator's.
    """
    annotations = body["metadata"].get("annotations") or {}
    value = str(annotations.get(names.ANNOTATION_CLAIM) or "")
    pod = body.get("related") or {}
    name, uid = str(pod.get("name") or ""), str(pod.get("uid") or "")
    return (name, uid) if proofs.is_for(value, job_uid, attempt, uid) else None


def is_of_pool(pod: Json) -> bool:
    """Whether a pod says that it is, or was, a pod of a pool."""
    return bool((pod["metadata"].get("labels") or {}).get(names.LABEL_POOL))


def is_claimed(pod: Json) -> bool:
    """Whether a pod of a pool says that it has a job."""
    return bool(pod_identity.job_uid(pod))


def claimed_at(pod: Json) -> float | None:
    """When a pod was claimed, in seconds since the epoch, not verified; None: it is not."""
    millis = _millis(_value(pod))
    return None if millis is None else millis / 1000


def _value(pod: Json) -> str:
    return str((pod["metadata"].get("annotations") or {}).get(names.ANNOTATION_CLAIM) or "")


def _millis(value: str) -> int | None:
    text = value.partition(":")[0]
    known = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    return int(text) if known else None
