"""From an ExecutionPool's JSON, and its pods' JSON, to the few facts that decisions need. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pydantic import ValidationError

from nanogrid import names
from nanogrid.api.faults import faults
from nanogrid.api.pool import ExecutionPool, PoolSpec
from nanogrid.lifecycle import pod_finished
from nanogrid.types import Json
from nanogrid_operator.kube.objects import seconds

# The agent's environment that belongs to a job. A pool's pod gets it with its task.
ENV_OF_JOB: Final = frozenset({names.ENV_TASK, names.ENV_RESULT_KEY, names.ENV_S3_ROLE_SESSION})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The facts of an ExecutionPool; ``model`` is None if its spec is invalid, ``error`` is why."""

    uid: str
    namespace: str
    name: str
    generation: int
    resource_version: str
    deleting: bool
    model: ExecutionPool | None
    error: str = ""
    status: Json = field(default_factory=dict)

    @property
    def spec(self) -> PoolSpec | None:
        """The spec; None if it is invalid."""
        return self.model.spec if self.model else None

    @property
    def key(self) -> str:
        """Namespace and name, as one text."""
        return f"{self.namespace}/{self.name}"


def pool_facts(body: Json) -> Pool:
    """Read an ExecutionPool. An invalid spec is a fact too, not an error."""
    meta, model, error = body["metadata"], None, ""
    try:
        kept = {k: v for k, v in body.items() if k in ("apiVersion", "kind", "metadata", "spec")}
        model = ExecutionPool.model_validate(kept)
    except ValidationError as e:
        error = faults(e, ExecutionPool)
    return Pool(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        generation=meta.get("generation", 0),
        resource_version=meta["resourceVersion"],
        deleting=bool(meta.get("deletionTimestamp")),
        model=model,
        error=error,
        status=body.get("status") or {},
    )


class Miss(StrEnum):
    """Why an attempt that has a pool starts cold."""

    EMPTY = "empty"  # no pod was ready
    MISFIT = "misfit"  # the job needs another pod than the pool has
    CONFLICT = "conflict"  # pods were ready, but none could be claimed


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSize:
    """How many pods a pool should have waiting, and how many it has."""

    pool: Pool
    target: int
    ready: int
    starting: int
    claimed: int  # those in which a job runs


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPod:
    """The facts of a pod that waits in a pool, or is about to. Times in seconds since the epoch."""

    name: str
    uid: str
    version: str
    resource_version: str
    created: float
    deleting: bool = False
    ended: bool = False  # it has failed, or was evicted
    problem: str = ""  # why it does not start, or why it has ended


def pool_pod_facts(body: Json) -> PoolPod:
    """Read a pod that waits in a pool."""
    meta, status = body["metadata"], body.get("status") or {}
    return PoolPod(
        name=meta["name"],
        uid=meta["uid"],
        version=(meta.get("labels") or {}).get(names.LABEL_POOL_VERSION, ""),
        resource_version=meta["resourceVersion"],
        created=seconds(meta.get("creationTimestamp")) or 0.0,
        deleting=bool(meta.get("deletionTimestamp")),
        ended=pod_finished(body),
        problem=_problem(status),
    )


def _problem(status: Json) -> str:
    """What scheduler and kubelet say of a pod that does not run; empty if it is on its way."""
    if status.get("message"):
        return str(status["message"])
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or "")
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or []:
            state = container.get("state") or {}
            waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
            if waiting.get("message"):
                return f"{waiting.get('reason', '')}: {waiting['message']}"
            if ended.get("exitCode"):
                why = ended.get("message") or ended.get("reason", "")
                return f"{container['name']} ended with exit code {ended['exitCode']}: {why}"
    return ""
