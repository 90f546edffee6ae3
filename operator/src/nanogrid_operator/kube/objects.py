"""Names, times and owners of Kubernetes objects. Pure."""

from datetime import UTC, datetime

from nanogrid import names
from nanogrid.types import Json

POD_NAME_MAX = 63


def pod_name(job_name: str, uid: str, attempt: int) -> str:
    """The pod's name: fixed for a job and attempt, so that a second create is a conflict.

    It is also the pod's host name, which has at most 63 characters. Only the longest job names are
    cut, from attempt 10 on. The digest keeps the names of their pods distinct.
    """
    suffix = f"-{names.short_digest(uid)}-{attempt}"
    return job_name[: POD_NAME_MAX - len(suffix)].rstrip("-.") + suffix


def is_pod_of(pod: str, uid: str) -> bool:
    """Whether a name is that of a pod of this job, of any attempt."""
    return f"-{names.short_digest(uid)}-" in pod


def names_pod(status: Json, job_name: str, uid: str, attempt: int) -> bool:
    """Whether a job's status names the pod of this attempt, its current one."""
    pod = status.get("podName") or ""
    return pod == pod_name(job_name, uid, attempt) or names.is_pool_pod(pod)


def timestamp(now: float) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes it."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pool_reference(pool_name: str, uid: str) -> Json:
    """The owner reference to a pool: its pods are deleted with it."""
    return {**owner_reference(pool_name, uid), "kind": names.POOL_KIND}


def owner_reference(job_name: str, uid: str) -> Json:
    """The owner reference to a job: the garbage collector deletes the object with the job."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": job_name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def seconds(timestamp: str | None) -> float | None:
    """A Kubernetes timestamp as seconds since the epoch."""
    if not timestamp:
        return None
    return datetime.fromisoformat(timestamp).timestamp()
