"""The part of an object that the cache keeps. Pure.

Ten thousand finished jobs with their pods are common. The operator only deletes them, if it does
anything with them, so the cache keeps no code, no output and little of a pod's manifest.
"""

from nanogrid import controller_class, names, pod_identity
from nanogrid.types import Json
from nanogrid_operator.model.lifecycle import kept, settled

_METADATA = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp",
)  # fmt: skip
_ANNOTATIONS = (names.ANNOTATION_CLAIM, names.ANNOTATION_POOL_PROOF, *pod_identity.OF_JOB)
_CONTAINERS = ("initContainerStatuses", "containerStatuses")
_CONDITIONS = frozenset({
    "PodScheduled", "PodReadyToStartContainers", "DisruptionTarget", "TerminationTarget", "Ready",
    "ContainersReady",
})  # fmt: skip


def transform_job(job: Json) -> Json:
    """The whole job while it is not settled; else its identity, class, end and time to live.

    Its requestId and last attempt stay too: logs about it name them.
    """
    if not settled(job):
        job["metadata"].pop("managedFields", None)
        return job
    spec, status = job.get("spec") or {}, job["status"]
    some = _some(spec, "ttlSecondsAfterFinished", controller_class.FIELD, "requestId")
    keep = {"annotations": {names.ANNOTATION_KEEP: "true"}} if kept(job) else {}
    return {
        "metadata": _some(job["metadata"], *_METADATA) | keep,
        "spec": some,
        "status": _some(status, "phase", "completionTime") | _attempt(status),
    }


def _attempt(status: Json) -> Json:
    """The number of the last attempt, for logs."""
    result = status.get("result") or {}
    return {"result": {"attempt": result["attempt"]}} if result.get("attempt") else {}


def transform_pod(pod: Json) -> Json:
    """What the cache and :func:`nanogrid_operator.model.pod_facts.pod_facts` read of a pod."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    kept = _some(status, "phase", "reason", "message", "conditions")
    for name in _CONTAINERS:
        if name in status:
            kept[name] = [
                _some(c, "name", "state", "lastState", "restartCount") for c in status[name]
            ]
    if "conditions" in kept:
        kept["conditions"] = [c for c in kept["conditions"] if _is_read(c["type"])]
    containers = [_transform_container(c) for c in spec.get("containers", [])]
    metadata = _some(pod["metadata"], *_METADATA, "labels", "ownerReferences")
    if found := _some(pod["metadata"].get("annotations") or {}, *_ANNOTATIONS):
        metadata["annotations"] = found
    return {
        **_some(pod, "apiVersion", "kind"),
        "metadata": metadata,
        "spec": {"containers": containers},
        "status": kept,
    }


def same_pod(old: Json, new: Json) -> bool:
    """Whether two versions of what the cache keeps of a pod differ in nothing but the version."""
    version = new["metadata"]["resourceVersion"]
    return {**old, "metadata": {**old["metadata"], "resourceVersion": version}} == new


def _is_read(kind: str) -> bool:
    return kind in _CONDITIONS or kind.startswith(names.TARGET_HEALTH_PREFIX)


def _transform_container(container: Json) -> Json:
    """Name and limits, and whether it has the result key, without the key."""
    kept = _some(container, "name", "resources")
    if any(e["name"] == names.ENV_RESULT_KEY for e in container.get("env") or []):
        kept["env"] = [{"name": names.ENV_RESULT_KEY}]
    return kept


def _some(data: Json, *keys: str) -> Json:
    return {key: data[key] for key in keys if key in data}
