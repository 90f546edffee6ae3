"""What to do next for one job: an ordered table of rules, the first that answers wins. Pure.

No await, no clock, no logging in here: ``now`` is an argument, and the same view always gives the
same action, whatever order events came in. Invariant: a finished job is never acted upon again but
for its delivery.
"""

from collections.abc import Callable
from dataclasses import dataclass

from nanogrid import names, wire
from nanogrid.reasons import Reason, sentence
from nanogrid.spec_run import Timeouts
from nanogrid.status import Phase
from nanogrid_operator import outcome
from nanogrid_operator.facts import Job, Pod
from nanogrid_operator.outcome import Outcome

IDLE_CHECK_SECONDS = 60.0  # every live job is looked at this often even if no event comes
PROGRESS_AFTER_SECONDS = (
    2.0  # by the API server's whole seconds: 1 to 2 s; sooner ends cost no write
)
KUBELET_GRACE_SECONDS = 10.0  # for the kubelet to say how a sandbox ended

PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
CONFIG_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a decision may depend on. ``had_pod``: one existed, whether or not it still does."""

    job: Job
    pod: Pod | None
    had_pod: bool
    report: wire.Report | None
    reported_at: float | None
    now: float


@dataclass(frozen=True, slots=True)
class Nothing:
    """The job has ended, or is going."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after so many seconds, or at the next event."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Create:
    """Create the pod of this attempt."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Write what the job is doing, then look again after so many seconds."""

    phase: Phase
    reason: Reason
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Finish:
    """Publish the result and write the terminal status."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Recover:
    """Look for a stored result in S3; without one, finish with the fallback."""

    fallback: Outcome


@dataclass(frozen=True, slots=True)
class Deliver:
    """Publish the result of a finished job that Redis does not have yet."""


Action = Nothing | Wait | Create | Progress | Finish | Recover | Deliver


def going(v: View) -> Action | None:
    """A job under deletion takes its pod along by ownerReference."""
    return Nothing() if v.job.deleting else None


def finished(v: View) -> Action | None:
    """Terminal is absorbing; only delivery can be outstanding."""
    if not v.job.finished:
        return None
    return Deliver() if v.job.undelivered else Nothing()


def invalid(v: View) -> Action | None:
    """A spec that cannot be read fails at once; nothing ran."""
    if v.job.model is not None:
        return None
    return Finish(outcome.failure(v.job, Reason.INVALID_SPEC, v.job.error))


def reported(v: View) -> Action | None:
    """The agent has told the result: pushed, or in its termination message."""
    report = v.report or (outcome.read_report(v.pod) if v.pod else None)
    if report is None:
        return None
    if report.final:
        return Finish(outcome.from_report(v.job, v.pod, report))
    return _incomplete(v, report)


def _incomplete(v: View, report: wire.Report) -> Action:
    """The agent saw the sandbox vanish; wait a moment for the kubelet to say why."""
    if v.pod is None:
        return Finish(outcome.from_report(v.job, None, report))
    known = v.pod.container(names.CONTAINER_SANDBOX).ended is not None or v.pod.over
    waited = v.now - (v.reported_at if v.reported_at is not None else v.now)
    if known or waited >= KUBELET_GRACE_SECONDS:
        return Finish(outcome.sandbox_lost(v.pod, report))
    return Wait(max(0.1, KUBELET_GRACE_SECONDS - waited))


def never_started(v: View) -> Action | None:
    """A new job gets its pod."""
    if v.pod is None and not v.had_pod:
        return Create(attempt=0)
    return None


def lost(v: View) -> Action | None:
    """The pod is gone: its result may be in S3."""
    if v.pod is None:
        return Recover(outcome.failure(v.job, Reason.POD_LOST))
    return None


def sync_failed(v: View) -> Action | None:
    """The init container names its reason; the user's code never ran."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    ended = v.pod.container(names.CONTAINER_SYNC).ended
    if ended is None or ended.exit_code == 0:
        return None
    return Finish(outcome.sync_failure(v.job, ended))


def pod_failed(v: View) -> Action | None:
    """The pod, or its agent, ended without telling a result."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    ended = v.pod.container(names.CONTAINER_AGENT).ended
    if ended is None and not v.pod.over:
        return None
    known = {"Evicted": Reason.EVICTED, "DeadlineExceeded": Reason.DEADLINE_EXCEEDED}
    reason = known.get(v.pod.reason, Reason.AGENT_FAILED if ended else Reason.POD_LOST)
    said = [v.pod.reason, v.pod.message]
    if ended:
        said.append(f"agent: exit code {ended.exit_code}, {ended.reason}")
    return Recover(outcome.failure(v.job, reason, " ".join(s for s in said if s)))


def blocked(pod: Pod) -> tuple[Reason, str] | None:
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


def _started(pod: Pod) -> bool:
    sandbox = pod.container(names.CONTAINER_SANDBOX)
    return sandbox.running or sandbox.ended is not None


def _startup_left(v: View) -> float:
    assert v.job.model is not None  # noqa: S101 `invalid` answered otherwise
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    timeouts = v.job.model.spec.timeouts or Timeouts()
    return v.pod.created + timeouts.startup_seconds - v.now


def overdue(v: View) -> Action | None:
    """The code did not start in time; time in which inputs are being copied does not count."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    if _started(v.pod) or v.pod.container(names.CONTAINER_SYNC).running or _startup_left(v) > 0:
        return None
    reason, said = blocked(v.pod) or (Reason.STARTUP_TIMEOUT, f"the pod is {v.pod.phase}")
    return Finish(outcome.failure(v.job, reason, said, remove_pod=True))


def in_progress(v: View) -> Action | None:
    """Say what the job is doing, but spare short jobs the write."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    pod = v.pod
    next_check = IDLE_CHECK_SECONDS
    if not _started(pod):
        next_check = min(next_check, max(0.1, _startup_left(v)))
    age = v.now - pod.created
    if age < PROGRESS_AFTER_SECONDS:
        return Wait(min(next_check, PROGRESS_AFTER_SECONDS - age))
    phase, reason, said = Phase.PENDING, Reason.POD_CREATED, ""
    if _started(pod):
        phase, reason = Phase.RUNNING, Reason.EXECUTING
    elif pod.container(names.CONTAINER_SYNC).running:
        phase, reason = Phase.SYNCING, Reason.SYNCING
    elif stuck := blocked(pod):
        reason, said = stuck
    status = v.job.status
    if (status.get("phase"), status.get("reason")) == (phase.value, reason.value):
        return Wait(next_check)
    return Progress(phase, reason, sentence(reason, said)[: outcome.MESSAGE_CAP], next_check)


Rule = Callable[[View], Action | None]
RULES: tuple[Rule, ...] = (
    going,
    finished,
    invalid,
    reported,
    never_started,
    lost,
    sync_failed,
    pod_failed,
    overdue,
    in_progress,
)


def decide(view: View) -> Action:
    """The one next action for a job."""
    for rule in RULES:
        action = rule(view)
        if action is not None:
            return action
    raise AssertionError("in_progress always answers")
