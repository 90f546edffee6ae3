"""What the router keeps of an ExecutionJob and of a pod: a few fields, read once. Pure."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from nanogrid import names

Json = dict[str, Any]


class Address(NamedTuple):
    """Namespace and name of an object."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A session as its ExecutionJob shows it; what the operator has not written yet is empty."""

    address: Address
    uid: str
    request_id: str
    phase: str
    reason: str
    message: str
    pod_name: str
    open: bool  # spec.session.auth is None: the agent asks for no token
    deleting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A sandbox pod; ``ip`` is empty before the kubelet has given it one."""

    address: Address
    uid: str
    owners: frozenset[str]  # uids
    ip: str
    phase: str
    ready: bool
    message: str  # why it is not ready, in the kubelet's words
    deleting: bool


def job_from(body: Json) -> Job | None:
    """The session of an ExecutionJob, or None when the job is no session."""
    spec, status, meta = body.get("spec") or {}, body.get("status") or {}, body["metadata"]
    if spec.get("mode") != names.MODE_SESSION:
        return None
    return Job(
        address=Address(meta["namespace"], meta["name"]),
        uid=meta["uid"],
        request_id=status.get("requestId") or spec.get("requestId") or meta["uid"],
        phase=status.get("phase") or "",
        reason=status.get("reason") or "",
        message=status.get("message") or "",
        pod_name=status.get("podName") or "",
        open=(spec.get("session") or {}).get("auth") == "Unprotected",
        deleting="deletionTimestamp" in meta,
    )


def pod_from(body: Json) -> Pod:
    """The pod of a manifest."""
    status, meta = body.get("status") or {}, body["metadata"]
    conditions = {c.get("type"): c for c in status.get("conditions") or []}
    ready = conditions.get("Ready") or {}
    owners = meta.get("ownerReferences") or []
    return Pod(
        address=Address(meta["namespace"], meta["name"]),
        uid=meta["uid"],
        owners=frozenset(o["uid"] for o in owners if o.get("kind") == names.KIND),
        ip=status.get("podIP") or "",
        phase=status.get("phase") or "",
        ready=ready.get("status") == "True",
        message=ready.get("message") or "",
        deleting="deletionTimestamp" in meta,
    )
