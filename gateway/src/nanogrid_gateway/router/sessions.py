"""The fields of an ExecutionJob and of a pod that the router keeps. Pure."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from nanogrid import names
from nanogrid.log_line import job_line_fields
from nanogrid.logs import attempt_of
from nanogrid.types import Json


class Address(NamedTuple):
    """Namespace and name of an object."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A session's ExecutionJob; fields that the operator has not written yet are empty."""

    address: Address
    uid: str
    request_id: str
    phase: str
    reason: str
    message: str
    pod_name: str
    unprotected: bool  # spec.session.auth is Unprotected: the agent requires no token
    deleting: bool
    attempt: int = 0

    def log_fields(self) -> dict[str, Any]:
        """What logs about the session show."""
        namespace, name = self.address
        return job_line_fields(namespace, name, self.uid, self.request_id, self.attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A sandbox pod; ``ip`` is empty until the kubelet assigns one."""

    address: Address
    uid: str
    owners: frozenset[str]  # uids
    ip: str
    phase: str
    ready: bool
    message: str  # of the Ready condition: why the pod is not ready
    deleting: bool


def job_from(body: Json) -> Job | None:
    """The session of an ExecutionJob; None for a job of another mode."""
    spec, status, meta = body.get("spec") or {}, body.get("status") or {}, body["metadata"]
    if spec.get("mode") != names.MODE_SESSION:
        return None
    return Job(
        address=address_of(body),
        uid=meta["uid"],
        request_id=status.get("requestId") or spec.get("requestId") or meta["uid"],
        phase=status.get("phase") or "",
        reason=status.get("reason") or "",
        message=status.get("message") or "",
        pod_name=status.get("podName") or "",
        unprotected=(spec.get("session") or {}).get("auth") == "Unprotected",
        deleting="deletionTimestamp" in meta,
        attempt=attempt_of(status),
    )


def pod_from(body: Json) -> Pod:
    """The pod of a manifest."""
    status, meta = body.get("status") or {}, body["metadata"]
    conditions = {c.get("type"): c for c in status.get("conditions") or []}
    ready = conditions.get("Ready") or {}
    owners = meta.get("ownerReferences") or []
    return Pod(
        address=address_of(body),
        uid=meta["uid"],
        owners=frozenset(o["uid"] for o in owners if o.get("kind") == names.KIND),
        ip=status.get("podIP") or "",
        phase=status.get("phase") or "",
        ready=ready.get("status") == "True",
        message=ready.get("message") or "",
        deleting="deletionTimestamp" in meta,
    )


def address_of(body: Json) -> Address:
    """The namespace and name of a manifest."""
    return Address(body["metadata"]["namespace"], body["metadata"]["name"])
