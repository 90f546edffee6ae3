"""What to do next for one job: an ordered table of rules, the first that answers wins. Pure.

No await, no clock, no logging in here: ``now`` is an argument, and the same view always gives the
same action, whatever order events came in. Invariants: a finished job is never acted upon again but
for its delivery and its time to live; an attempt that had a pod never gets a second one.
"""

from collections.abc import Callable
from dataclasses import dataclass

from nanogrid import names, wire
from nanogrid.reasons import Reason, sentence
from nanogrid.spec_run import Timeouts
from nanogrid.status import Phase
from nanogrid_operator import outcome, retry
from nanogrid_operator.actions import (
    Action,
    Create,
    DeleteJob,
    Deliver,
    Finish,
    Inspect,
    Nothing,
    Progress,
    Recover,
    Retry,
    Stop,
    Wait,
)
from nanogrid_operator.facts import Job, Pod
from nanogrid_operator.outcome import Outcome
from nanogrid_operator.store import Inspection, Rejection

IDLE_CHECK_SECONDS = 60.0  # every live job is looked at this often even if no event comes
PROGRESS_AFTER_SECONDS = 2.0  # 1 to 2 s by the API server's whole seconds; short jobs save a write
PENDING_AFTER_SECONDS = 4.0  # a pod that starts as pods do needs no write to say so
INSPECT_SECONDS = 10.0  # between looks at the events of a pod that does not start
KUBELET_GRACE_SECONDS = 10.0  # for the kubelet to say how a sandbox ended
STRANDED_SECONDS = 60.0  # after a deletion's grace, for the kubelet to confirm it
RECREATE_SECONDS = 2.0  # between tries at a pod that the API server refuses

BLOCKING = frozenset({Reason.UNSCHEDULABLE, Reason.IMAGE_PULL_FAILED, Reason.CONFIG_ERROR})
PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
CONFIG_REASONS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a decision may depend on. Pod, report and rejection are the present attempt's.

    ``had_pod``: the attempt had a pod, whether or not it still does; ``gone`` is the last that was
    seen of one that vanished.
    """

    job: Job
    pod: Pod | None
    gone: Pod | None
    had_pod: bool
    report: wire.Report | None
    reported_at: float | None
    rejection: Rejection | None
    inspection: Inspection | None = None
    now: float

    @property
    def known_pod(self) -> Pod | None:
        """The attempt's pod as it is, or as it was last seen."""
        return self.pod or self.gone


def going(v: View) -> Action | None:
    """A job under deletion takes its pod along by ownerReference."""
    return Nothing() if v.job.deleting else None


def finished(v: View) -> Action | None:
    """Terminal is absorbing; delivery can be outstanding, and the time to live can end."""
    if not v.job.finished:
        return None
    if v.job.undelivered:
        return Deliver()
    spec = v.job.model.spec if v.job.model else None
    if spec is None or spec.ttl_seconds_after_finished is None or v.job.completed is None:
        return Nothing()
    left = v.job.completed + spec.ttl_seconds_after_finished - v.now
    return Wait(left) if left > 0 else DeleteJob()


def invalid(v: View) -> Action | None:
    """A spec that cannot be read fails at once; nothing ran."""
    if v.job.model is not None:
        return None
    return Finish(outcome.failure(v.job, Reason.INVALID_SPEC, v.job.error))


def ended(v: View, result: Outcome) -> Action:
    """An attempt has ended: with the job, or followed by another attempt."""
    if result.reason == Reason.SUSPENDED:
        return Retry(result, counted=False, suspended=True)
    pod = v.known_pod
    again = retry.verdict(v.job, result.result, pod.memory_limit_bytes if pod else None)
    return Retry(result, again.counted) if again else Finish(result)


def reported(v: View) -> Action | None:
    """The agent has told the result: pushed, or in its termination message."""
    pod = v.known_pod
    report = v.report or (outcome.read_report(pod) if pod else None)
    if report is None:
        return None
    if not report.final:
        return _incomplete(v, report)
    told = _told(v, report)
    # A termination message is a shortened copy; the agent stored the whole before it ended.
    return ended(v, told) if v.report else Recover(told)


def _told(v: View, report: wire.Report) -> Outcome:
    told = outcome.from_report(v.job, v.known_pod, report)
    if told.reason is Reason.TERMINATED:
        told = outcome.because(told, _why_stopped(v), v.known_pod)
    return told


def _why_stopped(v: View) -> Reason:
    """Who stopped the pod: the user, the deadline, the node, or somebody else."""
    wanted = _stop_wanted(v)
    if wanted is not None:
        return wanted
    if v.job.status.get("reason") == Reason.STOPPING:
        # Of all that stops a job only a suspension can be taken back before the pod has ended.
        return Reason.SUSPENDED
    pod = v.known_pod
    if pod is not None and pod.disruption is not None:
        return pod.disruption
    if pod is not None and pod.reason == "DeadlineExceeded":
        return Reason.DEADLINE_EXCEEDED
    return Reason.TERMINATED


def _incomplete(v: View, report: wire.Report) -> Action:
    """The agent saw the sandbox vanish; wait a moment for the kubelet to say why."""
    pod = v.known_pod
    if pod is None:
        return ended(v, outcome.from_report(v.job, None, report))
    known = pod.container(names.CONTAINER_SANDBOX).ended is not None or pod.over or v.pod is None
    waited = v.now - (v.reported_at if v.reported_at is not None else v.now)
    if known or waited >= KUBELET_GRACE_SECONDS:
        return ended(v, outcome.sandbox_lost(v.job, pod, report))
    return Wait(max(0.1, KUBELET_GRACE_SECONDS - waited))


def _active_since(v: View) -> float | None:
    """When the job's deadline began: its first pod, or its first one after a suspension."""
    since: float | None = None
    for attempt in v.job.attempts:
        since = None if attempt.reason == Reason.SUSPENDED else (since or attempt.started)
    return since or (v.known_pod.created if v.known_pod else None)


def _deadline_left(v: View) -> float | None:
    assert v.job.model is not None  # noqa: S101 `invalid` answered otherwise
    seconds, since = v.job.model.spec.active_deadline_seconds, _active_since(v)
    return None if seconds is None or since is None else since + seconds - v.now


def _stop_wanted(v: View) -> Reason | None:
    assert v.job.model is not None  # noqa: S101 `invalid` answered otherwise
    left = _deadline_left(v)
    if v.job.model.spec.cancel:
        return Reason.CANCELLED
    if left is not None and left <= 0:
        return Reason.DEADLINE_EXCEEDED
    return Reason.SUSPENDED if v.job.model.spec.suspend else None


def stopping(v: View) -> Action | None:
    """The job is to stop: cancelled, over its deadline, or suspended."""
    wanted = _stop_wanted(v)
    if wanted is None:
        return None
    if v.pod is not None:
        over = v.pod.over or v.pod.container(names.CONTAINER_AGENT).ended is not None
        if not over:
            if not v.pod.deleting:
                return Stop(wanted)
            return _stranded(v, wanted) or Wait(IDLE_CHECK_SECONDS)
    if v.had_pod or v.pod is not None:
        return Recover(outcome.failure(v.job, wanted))
    if wanted is not Reason.SUSPENDED:
        return Finish(outcome.failure(v.job, wanted))
    return _progress(v, Phase.SUSPENDED, Reason.SUSPENDED, "", IDLE_CHECK_SECONDS)


def never_started(v: View) -> Action | None:
    """An attempt gets its pod, after its back-off, and again when the API server refused it."""
    if v.pod is not None or v.had_pod:
        return None
    pause = retry.not_before(v.job) - v.now
    if pause > 0:
        left = _deadline_left(v)
        return Wait(pause if left is None else min(pause, left))
    if v.rejection is None:
        return Create(v.job.attempt)
    if v.now - v.rejection.since >= _timeouts(v).startup_seconds:
        return ended(v, outcome.failure(v.job, Reason.POD_REJECTED, v.rejection.message))
    pause = v.rejection.last + RECREATE_SECONDS - v.now
    if pause > 0:
        return _progress(v, Phase.PENDING, Reason.POD_REJECTED, v.rejection.message, pause)
    return Create(v.job.attempt)


def lost(v: View) -> Action | None:
    """The pod is gone: its result may be in S3."""
    if v.pod is not None:
        return None
    reason = (v.gone.disruption if v.gone else None) or Reason.POD_LOST
    return Recover(outcome.failure(v.job, reason))


def stranded(v: View) -> Action | None:
    """A deletion that is long over and has no end: the node is gone, and nobody will confirm it."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    return _stranded(v, v.pod.disruption or Reason.POD_LOST)


def _stranded(v: View, reason: Reason) -> Action | None:
    if v.pod is None or v.pod.gone_by is None or v.now < v.pod.gone_by + STRANDED_SECONDS:
        return None
    return Recover(outcome.failure(v.job, reason))


def init_failed(v: View) -> Action | None:
    """An init container names its reason; the user's code never ran."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    for name in names.RUNTIME_CONTAINERS:
        checked = v.pod.container(name).ended
        if checked is not None and checked.exit_code != 0:
            said = f"{checked.reason} (exit code {checked.exit_code}): {checked.message}"
            return ended(v, outcome.failure(v.job, Reason.RUNTIME_INVALID, said))
    synced = v.pod.container(names.CONTAINER_SYNC).ended
    if synced is None or synced.exit_code == 0:
        return None
    return ended(v, outcome.sync_failure(v.job, synced))


def pod_failed(v: View) -> Action | None:
    """The pod, or its agent, ended without telling a result."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    agent = v.pod.container(names.CONTAINER_AGENT).ended
    if agent is None and not v.pod.over:
        return None
    known = {"Evicted": Reason.EVICTED, "DeadlineExceeded": Reason.DEADLINE_EXCEEDED}
    reason = known.get(v.pod.reason) or v.pod.disruption
    reason = reason or (Reason.AGENT_FAILED if agent else Reason.POD_LOST)
    said = [v.pod.reason, v.pod.message]
    if agent:
        said.append(f"agent: exit code {agent.exit_code}, {agent.reason}")
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


def _blocked(v: View) -> tuple[Reason, str] | None:
    """What keeps the pod from starting, as its status or its events say."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    return blocked(v.pod) or (v.inspection.warning if v.inspection else None)


def _started(pod: Pod) -> bool:
    sandbox = pod.container(names.CONTAINER_SANDBOX)
    return sandbox.running or sandbox.ended is not None


def _syncing(pod: Pod) -> bool:
    """Inputs are being copied, or are in place; the sandbox follows within a second."""
    sync = pod.container(names.CONTAINER_SYNC)
    return sync.running or sync.ended is not None


def _timeouts(v: View) -> Timeouts:
    assert v.job.model is not None  # noqa: S101 `invalid` answered otherwise
    return v.job.model.spec.timeouts or Timeouts()


def _startup_left(v: View) -> float | None:
    """Seconds until the start is overdue; None while it is not the start that takes time.

    Copying inputs has its own timeout, so the clock starts anew when they are in place.
    """
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    sync = v.pod.container(names.CONTAINER_SYNC)
    if _started(v.pod) or sync.running:
        return None
    since = max(v.pod.created, (sync.ended.at or 0.0) if sync.ended else 0.0)
    return since + _timeouts(v).startup_seconds - v.now


def overdue(v: View) -> Action | None:
    """The code did not start in time; time in which inputs are being copied does not count."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    left = _startup_left(v)
    if left is None or left > 0:
        return None
    reason, said = _blocked(v) or _last_blocked(v.job)
    return ended(v, outcome.failure(v.job, reason, said, remove_pod=True))


def _last_blocked(job: Job) -> tuple[Reason, str]:
    """What the status last said; between two pulls of an image the kubelet shows no reason."""
    said = job.status.get("reason", "")
    if said in BLOCKING:
        return Reason(said), "the pod did not start in time"
    return Reason.STARTUP_TIMEOUT, "the pod waited for its containers"


def in_progress(v: View) -> Action | None:
    """Say what the job is doing, but spare short jobs the write."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    pod, age = v.pod, v.now - v.pod.created
    phase, reason, said, after = Phase.PENDING, Reason.POD_CREATED, "", PENDING_AFTER_SECONDS
    if _started(pod):
        phase, reason, after = Phase.RUNNING, Reason.EXECUTING, PROGRESS_AFTER_SECONDS
    elif stuck := _blocked(v):
        (reason, said), after = stuck, PROGRESS_AFTER_SECONDS
    elif _syncing(pod):
        phase, reason, after = Phase.SYNCING, Reason.SYNCING, PROGRESS_AFTER_SECONDS
    next_check = _next_check(v)
    if age < after:
        return Wait(min(next_check, after - age))
    if reason is Reason.POD_CREATED:
        if v.inspection is None or v.now >= v.inspection.at + INSPECT_SECONDS:
            return Inspect()
        if v.job.status.get("reason") in BLOCKING:
            return Wait(next_check)
    return _progress(v, phase, reason, said, next_check)


def _next_check(v: View) -> float:
    """When something may be due that no event announces."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    waiting = v.inspection is not None and not _started(v.pod)
    due = [
        INSPECT_SECONDS if waiting else IDLE_CHECK_SECONDS,
        _startup_left(v),
        _deadline_left(v),
    ]
    return max(0.1, min(seconds for seconds in due if seconds is not None))


def _progress(v: View, phase: Phase, reason: Reason, said: str, seconds: float) -> Action:
    """A write, unless the status says the same already."""
    status = v.job.status
    if (status.get("phase"), status.get("reason")) == (phase.value, reason.value):
        return Wait(seconds)
    return Progress(phase, reason, sentence(reason, said)[: outcome.MESSAGE_CAP], seconds)


def recovered(v: View, stored: wire.Result | None, fallback: Outcome) -> Action:
    """The attempt's end when its pod could not tell: what S3 has of it, or the fallback."""
    ours = (v.job.uid, v.job.attempt)
    if stored is None or (stored.job.uid, stored.attempt) != ours:
        return ended(v, fallback)
    report = wire.Report(attempt=stored.attempt, result=stored, inputs=fallback.inputs)
    told = outcome.from_report(v.job, v.known_pod, report)
    if told.reason is Reason.TERMINATED:
        told = outcome.because(told, fallback.reason, v.known_pod)
    return ended(v, told)


Rule = Callable[[View], Action | None]
RULES: tuple[Rule, ...] = (
    going,
    finished,
    invalid,
    reported,
    stopping,
    never_started,
    lost,
    stranded,
    init_failed,
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
