"""From Kubernetes JSON to the few facts that decisions need. Pure."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from nanogrid import names
from nanogrid.job import ExecutionJob
from nanogrid.pinned import PinnedFunction
from nanogrid.quantity import quantity
from nanogrid.reasons import Reason
from nanogrid.status import Phase
from nanogrid_operator.functionref import effective
from nanogrid_operator.slim import settled, unstored

Json = dict[str, Any]


def timestamp(now: float) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes it."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def owner_reference(job_name: str, uid: str) -> Json:
    """What makes an object a job's own: it goes when the job goes."""
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


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended, as the kubelet saw it."""

    exit_code: int
    reason: str
    message: str
    at: float | None = None  # seconds since the epoch


# The scheduler's, the taint manager's and the eviction API's words for why a pod had to go:
# https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
DISRUPTIONS = {
    "PreemptionByScheduler": Reason.PREEMPTED,
    "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
    "EvictionByEvictionAPI": Reason.EVICTED,
    "TerminationByKubelet": Reason.EVICTED,
}


@dataclass(frozen=True, slots=True)
class Container:
    """One container's state: at most one of running, waiting and ended is set."""

    running: bool = False
    waiting_reason: str = ""
    waiting_message: str = ""
    ended: Ended | None = None
    last: Ended | None = None  # how it ended before the kubelet started it anew
    restarts: int = 0

    @property
    def failed(self) -> Ended | None:
        """How it failed, now or before the kubelet started it anew; None when it did not."""
        ended = self.ended or self.last
        return ended if ended is not None and ended.exit_code != 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What a sandbox pod says about itself."""

    name: str
    uid: str
    job_uid: str
    attempt: int
    created: float
    phase: str
    reason: str = ""
    message: str = ""
    deleting: bool = False
    ready: bool = False
    gone_by: float | None = None  # when a deletion's grace is over, in seconds since the epoch
    silent: bool = False  # its node has stopped answering
    unschedulable: str = ""
    disruption: Reason | None = None
    memory_limit_bytes: int | None = None
    containers: dict[str, Container] = field(default_factory=dict)

    def container(self, name: str) -> Container:
        """The named container's state; an empty one when the kubelet has not reported it."""
        return self.containers.get(name, Container())

    @property
    def over(self) -> bool:
        """Whether the kubelet has finished with the pod."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt that has ended, as status.attempts keeps it. Times in seconds since the epoch."""

    number: int
    reason: str
    exit_code: int | None
    counted: bool
    started: float | None
    ended: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an ExecutionJob says about itself.

    ``model`` has the spec in force, with what is pinned of a function; None when it is invalid.
    """

    uid: str
    namespace: str
    name: str
    generation: int
    resource_version: str
    deleting: bool
    created: float
    model: ExecutionJob | None
    error: str = ""
    ttl_seconds: int | None = None
    status: Json = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether the terminal status is written; nothing changes it any more."""
        phase = self.status.get("phase")
        return phase in (Phase.SUCCEEDED.value, Phase.FAILED.value)

    @property
    def attempt(self) -> int:
        """The number of the present attempt: all those before it have ended."""
        return self.attempts[-1].number + 1 if self.attempts else 0

    @property
    def completed(self) -> float | None:
        """When the job ended, in seconds since the epoch."""
        return seconds(self.status.get("completionTime"))

    @property
    def unpinned(self) -> bool:
        """Whether its function is still to be read: nothing says yet what would run."""
        spec = self.model.spec if self.model else None
        return spec is not None and spec.function_ref is not None and spec.code is None

    @property
    def undelivered(self) -> bool:
        """Whether the result still has to reach Redis."""
        return self.finished and (self.status.get("delivery") or {}).get("state") == "Pending"

    @property
    def unstored(self) -> bool:
        """Whether the result still has to reach S3."""
        return self.finished and unstored(self.status)

    @property
    def webhook_pending(self) -> bool:
        """Whether the result still has to reach the webhook."""
        webhook = (self.status.get("delivery") or {}).get("webhook") or {}
        return self.finished and webhook.get("state") == "Pending"

    @property
    def request_id(self) -> str:
        """The requestId in force."""
        return (self.model.spec.request_id if self.model else None) or self.uid


def job_facts(body: Json) -> Job:
    """Read an ExecutionJob; an invalid spec is a fact too, not an error."""
    meta = body["metadata"]
    model: ExecutionJob | None = None
    error = ""
    try:
        # Of a settled job the store keeps no spec, and nothing asks for it.
        model = None if settled(body) else _model(body)
    except ValidationError as e:
        error = "; ".join(
            f"{'.'.join(str(p) for p in err['loc'])}: {err['msg']}" for err in e.errors()[:5]
        )
    return Job(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        generation=meta.get("generation", 0),
        resource_version=meta["resourceVersion"],
        deleting=bool(meta.get("deletionTimestamp")),
        created=seconds(meta.get("creationTimestamp")) or 0.0,
        model=model,
        error=error,
        ttl_seconds=(body.get("spec") or {}).get("ttlSecondsAfterFinished"),
        status=body.get("status") or {},
        attempts=tuple(_attempt(a) for a in (body.get("status") or {}).get("attempts") or []),
    )


def _model(body: Json) -> ExecutionJob:
    kept = {k: v for k, v in body.items() if k in ("apiVersion", "kind", "metadata", "spec")}
    model = ExecutionJob.model_validate(kept)
    if model.spec.function_ref is None:
        return model
    told = (body.get("status") or {}).get("function")
    pinned = None if told is None else PinnedFunction.model_validate(told)
    return model.model_copy(update={"spec": effective(model.spec, pinned)})


def warning_of(events: list[Json]) -> tuple[Reason, str] | None:
    """Why a pod does not start, from its Warning events, or None.

    The kubelet writes an event at once; the pod's status follows with its next sync, which may be
    ten seconds later.
    """
    for event in reversed(events):
        text = event.get("message", "")
        if event.get("reason") == "Failed" and "pull" in text:
            return Reason.IMAGE_PULL_FAILED, text
        if event.get("reason") in ("FailedMount", "FailedCreatePodSandBox"):
            return Reason.CONFIG_ERROR, text
    return None


def _attempt(data: Json) -> Attempt:
    return Attempt(
        number=data["number"],
        reason=data["reason"],
        exit_code=data.get("exitCode"),
        counted=data.get("counted", False),
        started=seconds(data.get("startTime")),
        ended=seconds(data.get("completionTime")),
    )


def attempt_number(labels: Json) -> int:
    """The attempt that a pod's labels name; a label that somebody spoiled counts as the first."""
    text = labels.get(names.LABEL_ATTEMPT, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0


def pod_facts(body: Json) -> Pod:
    """Read a sandbox pod."""
    meta, status = body["metadata"], body.get("status") or {}
    labels = meta.get("labels") or {}
    reported = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    disrupted = conditions.get("DisruptionTarget", {})
    return Pod(
        name=meta["name"],
        uid=meta["uid"],
        job_uid=labels.get(names.LABEL_JOB_UID, ""),
        attempt=attempt_number(labels),
        created=seconds(meta.get("creationTimestamp")) or 0.0,
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        deleting=bool(meta.get("deletionTimestamp")),
        ready=conditions.get("Ready", {}).get("status") == "True",
        gone_by=seconds(meta.get("deletionTimestamp")),
        silent=_silent(conditions),
        unschedulable=scheduled.get("message", "") if scheduled.get("status") == "False" else "",
        disruption=DISRUPTIONS.get(disrupted.get("reason", ""), Reason.EVICTED)
        if disrupted.get("status") == "True"
        else None,
        memory_limit_bytes=_memory_limit(body),
        containers={c["name"]: _container(c) for c in reported},
    )


def _silent(conditions: dict[str, Json]) -> bool:
    """Whether the node controller has marked the pod, whose containers the kubelet called ready.

    The kubelet itself says both or neither: sandbox pods have no readiness gates.
    """
    states = {kind: found.get("status") for kind, found in conditions.items()}
    return states.get("Ready") == "False" and states.get("ContainersReady") == "True"


def _memory_limit(body: Json) -> int | None:
    for container in body.get("spec", {}).get("containers", []):
        limit = container.get("resources", {}).get("limits", {}).get("memory")
        if container["name"] == names.CONTAINER_SANDBOX and limit:
            return int(quantity(limit))
    return None


def _container(status: Json) -> Container:
    state = status.get("state") or {}
    last = (status.get("lastState") or {}).get("terminated")
    waiting = state.get("waiting") or {}
    ended = state.get("terminated")
    return Container(
        running="running" in state,
        waiting_reason=waiting.get("reason", ""),
        waiting_message=waiting.get("message", ""),
        ended=_ended(ended) if ended else None,
        last=_ended(last) if last else None,
        restarts=status.get("restartCount", 0),
    )


def _ended(terminated: Json) -> Ended:
    return Ended(
        terminated.get("exitCode", -1),
        terminated.get("reason", ""),
        terminated.get("message", ""),
        seconds(terminated.get("finishedAt")),
    )
