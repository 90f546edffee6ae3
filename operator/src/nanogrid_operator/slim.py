"""The part of an object that is kept in memory. Pure.

Ten thousand finished jobs with their pods are an ordinary day. Nothing is done about them any more
but, perhaps, deleting them, so code, output and most of a pod's manifest need not be remembered.
"""

from typing import Any

from nanogrid.reasons import Reason
from nanogrid.status import RESULT_STORED, Phase

Json = dict[str, Any]

_METADATA = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp",
)  # fmt: skip
_CONTAINERS = ("initContainerStatuses", "containerStatuses")
_CONDITIONS = frozenset({"PodScheduled", "DisruptionTarget", "Ready", "ContainersReady"})
_ENDED = frozenset({Phase.SUCCEEDED.value, Phase.FAILED.value})


def unstored(status: Json) -> bool:
    """Whether the result still has to reach S3."""
    mark = (RESULT_STORED, "False", Reason.STORAGE_UNAVAILABLE)
    conditions = status.get("conditions") or []
    return any((c.get("type"), c.get("status"), c.get("reason")) == mark for c in conditions)


def ended(job: Json) -> bool:
    """Whether a job has its terminal status."""
    return (job.get("status") or {}).get("phase") in _ENDED


def settled(job: Json) -> bool:
    """Whether a job has ended and everybody who is to be told has been."""
    status = job.get("status") or {}
    delivery = status.get("delivery") or {}
    waiting = (delivery, delivery.get("webhook") or {})
    told = all(d.get("state") != "Pending" for d in waiting)
    return ended(job) and told and not unstored(status)


def inert(job: Json) -> bool:
    """Whether there is nothing to do for a job, now or later."""
    return settled(job) and job.get("spec", {}).get("ttlSecondsAfterFinished") is None


def slim_job(job: Json) -> Json:
    """All of a job that is not settled; of one that is, its identity, end and time to live."""
    if not settled(job):
        job["metadata"].pop("managedFields", None)
        return job
    spec, status = job.get("spec") or {}, job["status"]
    ttl = {k: v for k, v in spec.items() if k == "ttlSecondsAfterFinished"}
    return {
        "metadata": _some(job["metadata"], *_METADATA),
        "spec": ttl,
        "status": _some(status, "phase", "completionTime"),
    }


def slim_pod(pod: Json) -> Json:
    """What :func:`nanogrid_operator.facts.pod_facts` and the store read of a pod."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    kept = _some(status, "phase", "reason", "message", "conditions")
    for name in _CONTAINERS:
        if name in status:
            kept[name] = [
                _some(c, "name", "state", "lastState", "restartCount") for c in status[name]
            ]
    if "conditions" in kept:
        kept["conditions"] = [c for c in kept["conditions"] if c["type"] in _CONDITIONS]
    containers = [_some(c, "name", "resources") for c in spec.get("containers", [])]
    return {
        **_some(pod, "apiVersion", "kind"),
        "metadata": _some(pod["metadata"], *_METADATA, "labels", "ownerReferences"),
        "spec": {"containers": containers},
        "status": kept,
    }


def _some(data: Json, *keys: str) -> Json:
    return {key: data[key] for key in keys if key in data}
