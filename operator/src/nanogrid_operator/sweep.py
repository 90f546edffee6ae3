"""Pods that no job owns any more. Pure.

Kubernetes deletes what a deleted job owned. What is left is what somebody orphaned on purpose
(``kubectl delete --cascade=orphan``) or what its garbage collector never saw; it costs money and
keeps names, so the operator removes it with each full LIST.
"""

from typing import Any

from nanogrid import names
from nanogrid_operator.facts import seconds

Json = dict[str, Any]

GRACE_SECONDS = 600.0  # far longer than the garbage collector and any stale LIST need


def orphans(pods: list[Json], jobs: list[Json], now: float) -> list[Json]:
    """The pods that were ours and whose job is gone.

    Args:
        pods: of a complete LIST.
        jobs: of another one; in ten minutes' grace it does not matter which came first.
        now: the API server's time, in seconds since the epoch.
    """
    alive = {job["metadata"]["uid"] for job in jobs}
    return [pod for pod in pods if _ours(pod) and _orphaned(pod, alive, now)]


def _ours(pod: Json) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return labels.get("app.kubernetes.io/managed-by") == names.MANAGED_BY


def _orphaned(pod: Json, alive: set[str], now: float) -> bool:
    metadata = pod["metadata"]
    born = seconds(metadata.get("creationTimestamp")) or now
    owners = metadata.get("ownerReferences") or []
    others = any(owner.get("kind") != names.KIND for owner in owners)
    gone = metadata["labels"].get(names.LABEL_JOB_UID) not in alive
    settled = not metadata.get("deletionTimestamp") and now - born > GRACE_SECONDS
    return gone and not others and settled
