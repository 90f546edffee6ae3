"""Pods that no job owns any more. Pure.

Kubernetes deletes the pods of a deleted job. Pods remain only if someone orphaned them on purpose
(``kubectl delete --cascade=orphan``), or if the garbage collector missed them. They cost money and
keep their names, so the operator deletes them with each full LIST.
"""

from nanogrid import names, pod_identity
from nanogrid.types import Json
from nanogrid_operator.kube.objects import seconds

GRACE_SECONDS = 600.0  # much longer than the garbage collector or a stale LIST takes


def orphans(pods: list[Json], jobs: list[Json], now: float) -> list[Json]:
    """The pods of the operator whose job is gone.

    Args:
        pods: The pods of a complete LIST.
        jobs: The jobs of another one. With ten minutes' grace, their order does not matter.
        now: The API server's time, in seconds since the epoch.
    """
    alive = {job["metadata"]["uid"] for job in jobs}
    return [pod for pod in pods if _ours(pod) and _orphaned(pod, alive, now)]


def owner_name(pod: Json) -> str:
    """The name of the job that a pod says it belongs to; empty if it names none."""
    owners = pod["metadata"].get("ownerReferences") or []
    named = [str(owner["name"]) for owner in owners if owner.get("kind") == names.KIND]
    return named[0] if named else pod_identity.job_name(pod)


def _ours(pod: Json) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return labels.get("app.kubernetes.io/managed-by") == names.MANAGED_BY


def _orphaned(pod: Json, alive: set[str], now: float) -> bool:
    metadata = pod["metadata"]
    created = seconds(metadata.get("creationTimestamp")) or now
    owners = metadata.get("ownerReferences") or []
    other_owner = any(owner.get("kind") != names.KIND for owner in owners)
    gone = pod_identity.job_uid(pod) not in alive
    old = not metadata.get("deletionTimestamp") and now - created > GRACE_SECONDS
    return gone and not other_owner and old
