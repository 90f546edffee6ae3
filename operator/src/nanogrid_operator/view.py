"""All that a decision may depend on, and what can be asked of it. Pure."""

from dataclasses import dataclass

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid.spec_run import Timeouts
from nanogrid_operator.facts import Ended, Job, Pod
from nanogrid_operator.session import Seen
from nanogrid_operator.store import Inspection, Rejection

IDLE_CHECK_SECONDS = 60.0  # every live job is looked at this often even if no event comes
STRANDED_SECONDS = 60.0  # after a deletion's grace, for the kubelet to confirm it
INSPECT_SECONDS = 10.0  # between looks at the events of a pod that does not start

BLOCKING = frozenset({Reason.UNSCHEDULABLE, Reason.IMAGE_PULL_FAILED, Reason.CONFIG_ERROR})
PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
# A volume beyond its size has no condition beside it, unlike every other eviction.
POD_REASONS = {"Evicted": Reason.EVICTED, "DeadlineExceeded": Reason.DEADLINE_EXCEEDED}
CONFIG_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a decision may depend on. Pod, report and rejection are the present attempt's.

    ``had_pod``: the attempt had a pod, whether or not it still does; ``gone`` is the last that was
    seen of one that vanished. ``memory_limit_bytes`` is what spec and earlier attempts give the
    attempt's pod, for when no pod can be asked any more; None for a spec that cannot be run.
    """

    job: Job
    pod: Pod | None
    gone: Pod | None
    had_pod: bool
    report: wire.Report | None
    reported_at: float | None
    rejection: Rejection | None
    inspection: Inspection | None = None
    memory_limit_bytes: int | None = None
    crowded: str = ""  # why there is no place for the attempt's pod now
    session: Seen | None = None
    session_due: bool = False  # whether status.session should follow now
    session_check: float = IDLE_CHECK_SECONDS  # and otherwise, after so many seconds
    now: float

    @property
    def known_pod(self) -> Pod | None:
        """The attempt's pod as it is, or as it was last seen."""
        return self.pod or self.gone

    @property
    def memory_limit(self) -> int | None:
        """The attempt's memory limit in bytes, if it is known."""
        pod = self.known_pod
        return (pod.memory_limit_bytes if pod else None) or self.memory_limit_bytes


def active_since(v: View) -> float | None:
    """When the job's deadline began: its first pod, or its first one after a suspension."""
    since: float | None = None
    for attempt in v.job.attempts:
        since = None if attempt.reason == Reason.SUSPENDED else (since or attempt.started)
    return since or (v.known_pod.created if v.known_pod else None)


def deadline_left(v: View) -> float | None:
    """Seconds until activeDeadlineSeconds are over; None when there is none, or no pod yet."""
    assert v.job.model is not None  # noqa: S101 `invalid` answered otherwise
    seconds, since = v.job.model.spec.active_deadline_seconds, active_since(v)
    return None if seconds is None or since is None else since + seconds - v.now


def stop_wanted(v: View) -> Reason | None:
    """Why the job is to stop: cancelled, over its deadline, or suspended."""
    assert v.job.model is not None  # noqa: S101 `invalid` answered otherwise
    left = deadline_left(v)
    if v.job.model.spec.cancel:
        return Reason.CANCELLED
    if left is not None and left <= 0:
        return Reason.DEADLINE_EXCEEDED
    return Reason.SUSPENDED if v.job.model.spec.suspend else None


def why_stopped(v: View) -> Reason:
    """Who stopped the pod: the user, the deadline, the node, or somebody else."""
    wanted = stop_wanted(v)
    if wanted is not None:
        return wanted
    if v.job.status.get("reason") == Reason.STOPPING:
        # Of all that stops a job only a suspension can be taken back before the pod has ended.
        return Reason.SUSPENDED
    pod = v.known_pod
    return (disrupted(pod) if pod is not None else None) or Reason.TERMINATED


def disrupted(pod: Pod) -> Reason | None:
    """Why a pod had to go, by the kubelet's word or the control plane's; None if nobody says."""
    return POD_REASONS.get(pod.reason) or pod.disruption


def blocked_pod(pod: Pod) -> tuple[Reason, str] | None:
    """What keeps a pod from starting, if anything does."""
    if pod.unschedulable:
        return Reason.UNSCHEDULABLE, pod.unschedulable
    for name, container in pod.containers.items():
        said = f"container {name}: {container.waiting_reason} {container.waiting_message}"
        if container.waiting_reason in PULL_REASONS:
            return Reason.IMAGE_PULL_FAILED, said
        if container.waiting_reason in CONFIG_REASONS:
            return Reason.CONFIG_ERROR, said
    return None


def blocked(v: View) -> tuple[Reason, str] | None:
    """What keeps the pod from starting, as its status or its events say."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    return blocked_pod(v.pod) or (v.inspection.warning if v.inspection else None)


def started(pod: Pod) -> bool:
    """Whether the sandbox container runs, or has run."""
    sandbox = pod.container(names.CONTAINER_SANDBOX)
    return sandbox.running or sandbox.ended is not None or sandbox.restarts > 0


def syncing(pod: Pod) -> bool:
    """Inputs are being copied, or are in place; the sandbox follows within a second."""
    sync = pod.container(names.CONTAINER_SYNC)
    return sync.running or sync.ended is not None


def is_session(v: View) -> bool:
    """Whether the job stays and runs many executions."""
    return v.job.model is not None and v.job.model.spec.is_session


def agent_ended(v: View) -> Ended | None:
    """How the agent ended for good; a session's that failed is started anew by the kubelet."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    ended = v.pod.container(names.CONTAINER_AGENT).ended
    again = is_session(v) and not v.pod.over and not v.pod.deleting
    return None if ended is not None and ended.exit_code != 0 and again else ended


def timeouts(v: View) -> Timeouts:
    """The timeouts in force."""
    assert v.job.model is not None  # noqa: S101 `invalid` answered otherwise
    return v.job.model.spec.timeouts or Timeouts()


def startup_left(v: View) -> float | None:
    """Seconds until the start is overdue; None while it is not the start that takes time.

    Copying inputs has its own timeout, so the clock starts anew when they are in place.
    """
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    sync = v.pod.container(names.CONTAINER_SYNC)
    if started(v.pod) or sync.running:
        return None
    since = max(v.pod.created, (sync.ended.at or 0.0) if sync.ended else 0.0)
    return since + timeouts(v).startup_seconds - v.now


def last_blocked(job: Job) -> tuple[Reason, str]:
    """What the status last said; between two pulls of an image the kubelet shows no reason."""
    said = job.status.get("reason", "")
    if said in BLOCKING:
        return Reason(said), "the pod did not start in time"
    return Reason.STARTUP_TIMEOUT, "the pod waited for its containers"


def stranded_left(v: View) -> float | None:
    """Seconds until nobody waits any more for a kubelet to confirm the pod's deletion."""
    if v.pod is None or v.pod.gone_by is None:
        return None
    return v.pod.gone_by + STRANDED_SECONDS - v.now


def next_check(v: View) -> float:
    """When something may be due that no event announces."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    waiting = v.inspection is not None and not started(v.pod)
    due = [
        INSPECT_SECONDS if waiting else IDLE_CHECK_SECONDS,
        startup_left(v),
        deadline_left(v),
        stranded_left(v),
    ]
    return max(0.1, min(seconds for seconds in due if seconds is not None))
