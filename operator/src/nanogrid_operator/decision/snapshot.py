"""Everything that a decision may depend on, and questions about it. Pure."""

from dataclasses import dataclass

from nanogrid import names, wire
from nanogrid.api.runtime import Timeouts
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason
from nanogrid_operator.decision.enforcement import OPEN, NetworkAdmission
from nanogrid_operator.decision.start_errors import (
    CONFIG_REASONS,
    PULL_REASONS,
    Obstacle,
    is_lasting,
    obstacle,
    start_failed,
)
from nanogrid_operator.model.exposure import Exposure
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.observed import Inspection, Rejection, SessionObservation
from nanogrid_operator.model.pod_facts import Ended, Pod

QUEUE_CHECK_SECONDS = 300.0  # thousands of jobs may queue, and the next one is woken
IDLE_CHECK_SECONDS = 60.0  # every live job is checked this often even if no event comes
STUCK_DELETION_SECONDS = 60.0  # after a deletion's grace, for the kubelet to confirm it
INSPECT_SECONDS = 10.0  # between reads of the Events of a pod that does not start

BLOCKING = frozenset(
    {Reason.UNSCHEDULABLE, Reason.IMAGE_PULL_FAILED, Reason.CONFIG_ERROR, Reason.START_FAILED}
)
# Unlike every other eviction, a volume above its size limit sets no condition.
POD_REASONS = {"Evicted": Reason.EVICTED, "DeadlineExceeded": Reason.DEADLINE_EXCEEDED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that a decision may depend on.

    Pod, report and rejection belong to the current attempt. ``had_pod``: the attempt had a pod,
    whether or not the pod still exists. ``gone`` is the last observed state of a pod that is gone.
    ``written_report`` is the authentic report in the agent's termination message.
    ``memory_limit_bytes`` is the limit that spec and earlier attempts give the attempt's pod, for
    when no pod shows it; None for a spec that cannot run. ``other_pods`` are the pods of ended
    attempts; of a finished job these are all of its pods.
    """

    job: Job
    pod: Pod | None
    gone: Pod | None
    had_pod: bool
    report: wire.Report | None
    reported_at: float | None
    rejection: Rejection | None
    written_report: wire.Report | None = None
    inspection: Inspection | None = None
    memory_limit_bytes: int | None = None
    wait_reason: str = ""  # why there is no slot for the attempt's pod now, and its position
    queue_check: float = QUEUE_CHECK_SECONDS  # when a queued job looks again
    queue_due: bool = False  # whether the status should show a new position now
    ungated_at: float | None = None  # since when the pod has no scheduling gates, if it had some
    network: NetworkAdmission = OPEN  # whether the network is as the job needs it
    session: SessionObservation | None = None
    session_due: bool = False  # whether status.session should be written now
    session_check: float = IDLE_CHECK_SECONDS  # if not, check again after this many seconds
    memory_due: bool = False  # whether the memory of the running code should be written now
    exposure: Exposure | None = None  # of a session with a way in of its own
    exposure_check: float | None = None  # seconds until it is to be looked at; None: there is none
    other_pods: tuple[Pod, ...] = ()
    default_ttl: int | None = None  # seconds, of jobs whose spec names none; None: they stay
    now: float

    @property
    def known_pod(self) -> Pod | None:
        """The attempt's pod as it is, or as it was last observed."""
        return self.pod or self.gone

    @property
    def memory_limit(self) -> int | None:
        """The attempt's memory limit in bytes, if it is known."""
        pod = self.known_pod
        return (pod.memory_limit_bytes if pod else None) or self.memory_limit_bytes


def active_since(snapshot: Snapshot) -> float | None:
    """When the job's deadline began: at its first pod, or its first pod after a suspension."""
    since: float | None = None
    for attempt in snapshot.job.attempts:
        since = None if attempt.reason == Reason.SUSPENDED else (since or attempt.started)
    pod = snapshot.known_pod
    return since or (None if pod is None or pod.gated else released(snapshot, pod))


def released(snapshot: Snapshot, pod: Pod) -> float:
    """When the scheduler could take the pod: at its creation, or without its last gate."""
    return max(pod.created, snapshot.ungated_at or 0.0)


def deadline_left(snapshot: Snapshot) -> float | None:
    """Seconds until activeDeadlineSeconds are over; None without a deadline, or before a pod."""
    spec, since = snapshot.job.spec, active_since(snapshot)
    seconds = spec.active_deadline_seconds if spec else None
    return None if seconds is None or since is None else since + seconds - snapshot.now


def stop_wanted(snapshot: Snapshot) -> Reason | None:
    """Why the job must stop: it is cancelled, over its deadline, or suspended."""
    spec, left = snapshot.job.spec, deadline_left(snapshot)
    if spec is not None and spec.cancel:
        return Reason.CANCELLED
    if left is not None and left <= 0:
        return Reason.DEADLINE_EXCEEDED
    return Reason.SUSPENDED if spec is not None and spec.suspend else None


def why_stopped(snapshot: Snapshot) -> Reason:
    """What stopped the pod: the user, the deadline, the node, or something unknown."""
    wanted = stop_wanted(snapshot)
    if wanted is not None:
        return wanted
    if snapshot.job.status.get("reason") == Reason.STOPPING:
        # Only a suspension can be revoked before the pod has ended.
        return Reason.SUSPENDED
    pod = snapshot.known_pod
    return (disrupted(pod) if pod is not None else None) or Reason.TERMINATED


def disrupted(pod: Pod) -> Reason | None:
    """Why a pod was ended, according to kubelet or control plane; None if they do not say."""
    return POD_REASONS.get(pod.reason) or pod.disruption


def pod_stopped(snapshot: Snapshot) -> bool:
    """Whether the attempt's pod was deleted or evicted. Its own code can do neither."""
    pod = snapshot.pod
    return pod is None or pod.deleting or disrupted(pod) is not None


def blocked_pod(pod: Pod) -> Obstacle | None:
    """What keeps a pod from starting, according to its status."""
    if pod.unschedulable:
        return Obstacle(Reason.UNSCHEDULABLE, pod.unschedulable, lasting=False)
    return obstacle(pod)


def blocked(snapshot: Snapshot, pod: Pod) -> Obstacle | None:
    """What keeps the pod from starting, according to its status or its Events.

    Events stay after what they warn of is over: a pod with a sandbox has its volumes and network.
    """
    known = blocked_pod(pod)
    if known is not None or snapshot.inspection is None or snapshot.inspection.warning is None:
        return known
    reason, text = snapshot.inspection.warning
    if pod.sandboxed and reason is not Reason.IMAGE_PULL_FAILED:
        return None
    return Obstacle(reason, text, reason is Reason.START_FAILED and is_lasting(text))


def agent_blocked(pod: Pod) -> bool:
    """Whether the kubelet cannot start the agent, for example because a Secret is missing."""
    agent = pod.container(names.CONTAINER_AGENT)
    cannot_create = agent.waiting_reason in CONFIG_REASONS | PULL_REASONS
    return (agent.restarts == 0 and cannot_create) or start_failed(agent)


def started(pod: Pod) -> bool:
    """Whether the sandbox container runs, or has run.

    Without an agent it only waits: the kubelet also starts it if it cannot create the agent.
    """
    sandbox = pod.container(names.CONTAINER_SANDBOX)
    if agent_blocked(pod) or start_failed(sandbox):
        return False
    return sandbox.running or sandbox.ended is not None or sandbox.restarts > 0


def has_run(snapshot: Snapshot, pod: Pod) -> bool:
    """Whether the sandbox runs or has run, also if the kubelet cannot restart that of a session."""
    shown = snapshot.job.status.get("phase") == Phase.RUNNING.value
    return started(pod) or (is_session(snapshot) and shown)


def syncing(pod: Pod) -> bool:
    """Whether inputs are being copied, or are in place and the sandbox is about to start."""
    sync = pod.container(names.CONTAINER_SYNC)
    return sync.running or sync.ended is not None


def is_session(snapshot: Snapshot) -> bool:
    """Whether the job is a session, which runs many executions."""
    return snapshot.job.spec is not None and snapshot.job.spec.is_session


def agent_ended(snapshot: Snapshot, pod: Pod) -> Ended | None:
    """How the agent ended for good. The kubelet restarts a session's agent that failed."""
    ended = pod.container(names.CONTAINER_AGENT).ended
    restarts = is_session(snapshot) and not pod.over and not pod.deleting
    return None if ended is not None and ended.exit_code != 0 and restarts else ended


def timeouts(snapshot: Snapshot) -> Timeouts:
    """The timeouts in force."""
    return (snapshot.job.spec.timeouts if snapshot.job.spec else None) or Timeouts()


def startup_left(snapshot: Snapshot, pod: Pod) -> float | None:
    """Seconds until the start is overdue; None while inputs are copied, or after the start.

    It is None too while the pod has scheduling gates: another system has it in its queue.

    Copying inputs has a timeout of its own, so the clock starts over when they are in place.
    """
    sync = pod.container(names.CONTAINER_SYNC)
    if has_run(snapshot, pod) or sync.running or pod.gated:
        return None
    if agent_blocked(pod) and pod.container(names.CONTAINER_SANDBOX).ended is not None:
        return 0.0  # the launcher waited for the agent, and has given up
    since = max(released(snapshot, pod), (sync.ended.at or 0.0) if sync.ended else 0.0)
    return since + timeouts(snapshot).startup_seconds - snapshot.now


def last_blocked(job: Job) -> tuple[Reason, str]:
    """The cause that the status names; between two image pulls the kubelet shows no reason."""
    reason = job.status.get("reason", "")
    if reason in BLOCKING:
        return Reason(reason), "the pod did not start in time"
    return Reason.STARTUP_TIMEOUT, "the pod waited for its containers"


def deletion_left(snapshot: Snapshot, pod: Pod) -> float | None:
    """Seconds until the operator stops waiting for the kubelet to confirm the pod's deletion."""
    if pod.gone_by is None:
        return None
    return pod.gone_by + STUCK_DELETION_SECONDS - snapshot.now


def next_check(snapshot: Snapshot, pod: Pod) -> float:
    """Seconds until something may be due that no event announces."""
    waiting = snapshot.inspection is not None and not has_run(snapshot, pod)
    due = [
        INSPECT_SECONDS if waiting else IDLE_CHECK_SECONDS,
        startup_left(snapshot, pod),
        deadline_left(snapshot),
        deletion_left(snapshot, pod),
        snapshot.exposure_check,
    ]
    return max(0.1, min(seconds for seconds in due if seconds is not None))
