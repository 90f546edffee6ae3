"""Whether a job comes from a backup, so that it may have run before. Pure.

A restore creates a new object, usually without its status. To the operator it looks like a new job,
but for what the tool, or the old object, left in it. If in doubt a job is held back: a user can
start it, and code that ran twice cannot be taken back.
"""

import json

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.kube.objects import is_pod_of, pod_name

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def restored(job: Json) -> str:
    """What shows that a job comes from a backup, as a sentence; empty if it may start.

    It may start if it has had a pod as this object, or if a user has named its uid.
    """
    uid: str = job["metadata"]["uid"]
    if _annotation(job, names.ANNOTATION_START_RESTORED) == uid:
        return ""
    pods = _pods(job.get("status") or {})
    if any(is_pod_of(pod, uid) for pod in pods):
        return ""
    evidence = _of_status(job, pods) or _of_metadata(job)
    return evidence and f"{evidence}. Its uid is {uid}"


def _pods(status: Json) -> list[str]:
    """The pods that a status names, without those of pools: their names show no uid."""
    found = [status, *(status.get("attempts") or [])]
    return [name for one in found if (name := one.get("podName")) and not names.is_pool_pod(name)]


def _of_status(job: Json, pods: list[str]) -> str:
    """A status that was written about another object."""
    status = job.get("status") or {}
    if pods:
        return f"Its status names the pod {pods[0]} of a job with another uid"
    known = status.get("requestId")
    named = (job.get("spec") or {}).get("requestId")  # without one, the uid is the requestId
    if known and not named and known != job["metadata"]["uid"]:
        return f"Its status has the uid {known}"
    # What showed it may be gone: a label that someone removed, or a status that is written over.
    held = status.get("reason") == Reason.RESTORED
    return "Its status says so" if held else ""


def _of_metadata(job: Json) -> str:
    labels = job["metadata"].get("labels") or {}
    for label in names.RESTORE_LABELS:
        if label in labels:
            return f"It has the label {label}={labels[label]}"
    if _annotation(job, names.ANNOTATION_RESTORED) not in ("", "false"):
        return f"It has the annotation {names.ANNOTATION_RESTORED}"
    if old := _annotation(job, names.ANNOTATION_START_RESTORED):
        return f"Its annotation {names.ANNOTATION_START_RESTORED} names the uid {old}"
    if old := _applied_uid(job):
        return f"It was applied from a copy of the job with the uid {old}"
    return ""


def _applied_uid(job: Json) -> str:
    """The uid in the manifest that kubectl applied, if it is another one than the job's.

    Manifests that people write have none. ``kubectl get -o yaml`` writes one. A copy with a new
    name is a new job: its status still names the pods of the old name.
    """
    text = _annotation(job, LAST_APPLIED)
    if '"uid"' not in text:  # reading it costs more than the rest of a job
        return ""
    try:
        applied = json.loads(text)
    except ValueError:
        return ""
    metadata = applied.get("metadata") if isinstance(applied, dict) else None
    old = metadata.get("uid") if isinstance(metadata, dict) else None
    if not isinstance(old, str) or old == job["metadata"]["uid"]:
        return ""
    status = applied.get("status")
    pod = status.get("podName") if isinstance(status, dict) else None
    return "" if isinstance(pod, str) and _renamed(job["metadata"]["name"], pod, old) else old


def _renamed(name: str, pod: str, uid: str) -> bool:
    """Whether a pod of the job with this uid shows that the job had another name."""
    attempt = pod.rpartition("-")[2]
    return is_pod_of(pod, uid) and not (
        attempt.isdecimal() and pod_name(name, uid, int(attempt)) == pod
    )


def _annotation(job: Json, name: str) -> str:
    return str((job["metadata"].get("annotations") or {}).get(name) or "")
