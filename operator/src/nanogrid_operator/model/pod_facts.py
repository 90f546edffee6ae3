"""From a pod's JSON to the few facts that decisions need. Pure."""

from dataclasses import dataclass, field, fields
from operator import attrgetter

from nanogrid import names, pod_identity
from nanogrid.lifecycle import TERMINAL_POD_PHASES
from nanogrid.quantity import quantity
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.kube.objects import seconds
from nanogrid_operator.model.claim import claimed_at
from nanogrid_operator.model.remembered import remembered

# The reasons that scheduler, taint manager and eviction API give for the end of a pod:
# https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
DISRUPTIONS = {
    "PreemptionByScheduler": Reason.PREEMPTED,
    "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
    "EvictionByEvictionAPI": Reason.EVICTED,
    "TerminationByKubelet": Reason.EVICTED,
}

GATES_NOT_READY = "ReadinessGatesNotReady"  # reason of Ready=False, of the kubelet
GATED = "SchedulingGated"  # reason of PodScheduled=False while a pod has scheduling gates


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended, according to the kubelet."""

    exit_code: int
    reason: str
    message: str
    at: float | None = None  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Container:
    """One container's state: at most one of running, waiting and ended is set."""

    running: bool = False
    waiting_reason: str = ""
    waiting_message: str = ""
    ended: Ended | None = None
    last: Ended | None = None  # how it ended before the kubelet restarted it
    restarts: int = 0
    started_at: float | None = None  # by the clock of its node, in seconds since the epoch

    @property
    def failed(self) -> Ended | None:
        """How it failed, now or before the kubelet restarted it; None if it did not fail."""
        ended = self.ended or self.last
        return ended if ended is not None and ended.exit_code != 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """The facts of a sandbox pod.

    ``signs``: its agent has a key, so it signs results. Agents of older versions have none.
    ``created``: when it was created for its job; a pod of a pool, when the job claimed it.
    """

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
    waits_for_gates: bool = False  # its containers are ready, a readiness gate is not
    unhealthy_target: str = ""  # what a load balancer reports about the pod, while it is unhealthy
    gone_by: float | None = None  # when the grace of its deletion ends, in seconds since the epoch
    silent: bool = False  # its node has stopped answering
    scheduled: bool = False  # it has a node
    scheduled_at: float | None = None  # since when, in seconds since the epoch
    sandboxed: bool = False  # its volumes are mounted, and it has a network
    unschedulable: str = ""
    gated: str = ""  # its scheduling gates, which another system removes
    queued_by_kueue: bool = False
    disruption: Reason | None = None
    memory_limit_bytes: int | None = None
    signs: bool = False
    drain_seconds: int = 0  # that its containers run on after the session's end
    restarts: bool = False  # the kubelet restarts containers that failed: of a session
    pool: str = ""  # the pool that it was claimed from
    containers: dict[str, Container] = field(default_factory=dict)

    def container(self, name: str) -> Container:
        """The named container's state; an empty one if the kubelet has not reported it."""
        return self.containers.get(name, Container())

    @property
    def over(self) -> bool:
        """Whether the kubelet is finished with the pod."""
        return self.phase in TERMINAL_POD_PHASES

    @property
    def start(self) -> str:
        """How its attempt started, as in status.start."""
        return "Warm" if self.pool else "Cold"


def same_for_job(old: Pod, new: Pod) -> bool:
    """Whether nothing that is decided about the job differs: at most, the pod has a node now.

    When a pod of Kueue got its node tells when its gates were removed.
    """
    return _without_node(old) == _without_node(new) and not new.queued_by_kueue


_OF_NODE = ("scheduled", "scheduled_at")
_without_node = attrgetter(*(each.name for each in fields(Pod) if each.name not in _OF_NODE))


@remembered(most=2048)
def pod_facts(body: Json) -> Pod:
    """Read a sandbox pod, which must not change afterwards."""
    meta, status = body["metadata"], body.get("status") or {}
    labels = meta.get("labels") or {}
    reported = (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or [])
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    has_node = scheduled.get("status") == "True"
    gated = scheduled.get("status") == "False" and scheduled.get("reason") == GATED
    claimed = claimed_at(body)
    return Pod(
        name=meta["name"],
        uid=meta["uid"],
        job_uid=pod_identity.job_uid(body),
        attempt=pod_identity.attempt(body),
        created=claimed or seconds(meta.get("creationTimestamp")) or 0.0,
        phase=status.get("phase", "Pending"),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        deleting=bool(meta.get("deletionTimestamp")),
        ready=conditions.get("Ready", {}).get("status") == "True",
        waits_for_gates=_waits_for_gates(conditions),
        unhealthy_target=_unhealthy_target(conditions),
        gone_by=seconds(meta.get("deletionTimestamp")),
        silent=_silent(conditions),
        scheduled=has_node,
        scheduled_at=seconds(scheduled.get("lastTransitionTime")) if has_node else None,
        sandboxed=conditions.get("PodReadyToStartContainers", {}).get("status") == "True",
        unschedulable=""
        if gated or scheduled.get("status") != "False"
        else scheduled.get("message", ""),
        gated=(scheduled.get("message") or GATED) if gated else "",
        queued_by_kueue=labels.get(names.LABEL_KUEUE_MANAGED) == "true",
        disruption=_disruption(conditions),
        memory_limit_bytes=_memory_limit(body),
        signs=claimed is not None or _signs(body),
        drain_seconds=pod_identity.small_number(labels.get(names.LABEL_DRAIN, ""), digits=4),
        restarts=labels.get(names.LABEL_MODE) == names.MODE_SESSION,
        pool="" if claimed is None else labels.get(names.LABEL_POOL, ""),
        containers={c["name"]: _container(c) for c in reported},
    )


def _disruption(conditions: dict[str, Json]) -> Reason | None:
    """Why the pod was disrupted, if control plane, kubelet or Kueue say so."""
    found = conditions.get("DisruptionTarget", {})
    if found.get("status") == "True":
        return DISRUPTIONS.get(found.get("reason", ""), Reason.EVICTED)
    # Kueue sets it before it deletes the pod of a workload that it evicts.
    stopped = conditions.get("TerminationTarget", {}).get("status") == "True"
    return Reason.PREEMPTED if stopped else None


def warning_of(events: list[Json]) -> tuple[Reason, str] | None:
    """Why a pod does not start, from its Warning Events; None if they do not say.

    The kubelet writes an Event at once. The pod's status follows with the kubelet's next sync,
    up to ten seconds later.
    """
    for event in reversed(events):
        text = event.get("message", "")
        if event.get("reason") == "Failed" and "pull" in text:
            return Reason.IMAGE_PULL_FAILED, text
        if event.get("reason") in ("FailedMount", "FailedMapVolume", "FailedAttachVolume"):
            return Reason.CONFIG_ERROR, text
        if event.get("reason") in ("FailedCreatePodSandBox", "FailedPodSandBoxStatus"):
            return Reason.START_FAILED, text
    return None


def _silent(conditions: dict[str, Json]) -> bool:
    """Whether the node controller made the pod unready while its containers are ready.

    The kubelet itself always writes both or neither, except for readiness gates.
    """
    return _only_containers_ready(conditions) and not _waits_for_gates(conditions)


def _only_containers_ready(conditions: dict[str, Json]) -> bool:
    states = {kind: found.get("status") for kind, found in conditions.items()}
    return states.get("Ready") == "False" and states.get("ContainersReady") == "True"


def _waits_for_gates(conditions: dict[str, Json]) -> bool:
    reason = conditions.get("Ready", {}).get("reason")
    return _only_containers_ready(conditions) and reason == GATES_NOT_READY


def _unhealthy_target(conditions: dict[str, Json]) -> str:
    """Reason and text of the load balancer for a target that is not healthy; empty if it is."""
    for kind, found in conditions.items():
        if kind.startswith(names.TARGET_HEALTH_PREFIX) and found.get("status") == "False":
            return f"{found.get('reason', '')}: {found.get('message', '')}".strip(": ")
    return ""


def _memory_limit(body: Json) -> int | None:
    for container in body.get("spec", {}).get("containers", []):
        limit = container.get("resources", {}).get("limits", {}).get("memory")
        if container["name"] == names.CONTAINER_SANDBOX and limit:
            return int(quantity(limit))
    return None


def _signs(body: Json) -> bool:
    """Whether the agent has the key of the job's results; a pod's environment cannot change."""
    agents = [c for c in body["spec"]["containers"] if c["name"] == names.CONTAINER_AGENT]
    variables = [e["name"] for agent in agents for e in agent.get("env") or []]
    return names.ENV_RESULT_KEY in variables


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
        started_at=seconds((state.get("running") or ended or {}).get("startedAt")),
    )


def _ended(terminated: Json) -> Ended:
    return Ended(
        terminated.get("exitCode", -1),
        terminated.get("reason", ""),
        terminated.get("message", ""),
        seconds(terminated.get("finishedAt")),
    )
