"""What to do next for one job: an ordered table of rules, the first that answers wins. Pure.

No await, no clock, no logging in here: ``now`` is an argument, and the same view always gives the
same action, whatever order events came in. Invariants: a finished job is never acted upon again but
for its delivery and its time to live; an attempt that had a pod never gets a second one.
"""

from collections.abc import Callable
from dataclasses import replace

from nanogrid import names, wire
from nanogrid.reasons import Reason, sentence
from nanogrid.status import Phase
from nanogrid_operator import outcome, retry
from nanogrid_operator.actions import (
    Action,
    Create,
    DeleteJob,
    Deliver,
    Enqueue,
    Finish,
    Inspect,
    Nothing,
    Pin,
    Progress,
    Recover,
    Retry,
    Stop,
    Wait,
)
from nanogrid_operator.outcome import Outcome
from nanogrid_operator.view import (
    BLOCKING,
    IDLE_CHECK_SECONDS,
    INSPECT_SECONDS,
    View,
    agent_ended,
    blocked,
    deadline_left,
    disrupted,
    is_session,
    last_blocked,
    next_check,
    started,
    startup_left,
    stop_wanted,
    stranded_left,
    syncing,
    timeouts,
    why_stopped,
)

PROGRESS_AFTER_SECONDS = 2.0  # 1 to 2 s by the API server's whole seconds; short jobs save a write
PENDING_AFTER_SECONDS = 4.0  # a pod that starts as pods do needs no write to say so
QUEUE_CHECK_SECONDS = 300.0  # thousands may queue, and the next one is woken when it is its turn
KUBELET_GRACE_SECONDS = 10.0  # for the kubelet to say how a sandbox ended
# The container runtime's words for a container that was gone when its node came back.
UNKNOWN_ENDS = frozenset({"Unknown", "ContainerStatusUnknown"})
UNSTORED_SECONDS = 86_400.0  # for which a job outlives its time to live until S3 has its result
RECREATE_SECONDS = 2.0  # between tries at a pod that the API server refuses


def going(v: View) -> Action | None:
    """A job under deletion takes its pod along by ownerReference."""
    return Nothing() if v.job.deleting else None


def finished(v: View) -> Action | None:
    """Terminal is absorbing; delivery can be outstanding, and the time to live can end."""
    if not v.job.finished:
        return None
    if v.job.undelivered:
        return Deliver()
    if v.job.webhook_pending:
        return Nothing()  # webhooks have a queue of their own; the job is kept until they are told
    if v.job.ttl_seconds is None or v.job.completed is None:
        return Nothing()
    kept = max(v.job.ttl_seconds, UNSTORED_SECONDS if v.job.unstored else 0.0)
    left = v.job.completed + kept - v.now
    return Wait(left) if left > 0 else DeleteJob()


def invalid(v: View) -> Action | None:
    """A spec that cannot be read fails at once; a pod of it, from another version, is stopped."""
    if v.job.model is not None:
        return None
    remove = v.pod is not None
    return Finish(outcome.failure(v.job, Reason.INVALID_SPEC, v.job.error, remove_pod=remove))


def ended(v: View, result: Outcome) -> Action:
    """An attempt has ended: with the job, or followed by another attempt."""
    if result.reason == Reason.SUSPENDED:
        return Retry(result, counted=False, suspended=True)
    if is_session(v):
        # Its containers are restarted by the kubelet, so the pod does not end by itself.
        return Finish(replace(result, remove_pod=result.remove_pod or not result.succeeded))
    again = retry.verdict(v.job, result.result, v.memory_limit)
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
    if told.reason is Reason.TERMINATED and v.report and (seconds := _unexplained(v)) > 0:
        return Wait(seconds)
    # A termination message is a shortened copy; the agent stored the whole before it ended.
    return ended(v, told) if v.report else Recover(told)


def _unexplained(v: View) -> float:
    """Seconds to wait for the kubelet's word, when nobody has deleted the pod that was stopped.

    It tells its reason (disk full, pressure) only after the containers have ended.
    """
    if v.pod is None or v.pod.deleting or v.pod.over or v.reported_at is None:
        return 0.0
    return v.reported_at + KUBELET_GRACE_SECONDS - v.now


def _told(v: View, report: wire.Report) -> Outcome:
    told = outcome.from_report(v.job, v.known_pod, report)
    if told.reason is Reason.TERMINATED:
        told = outcome.because(told, why_stopped(v), v.known_pod)
    return told


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


def stopping(v: View) -> Action | None:
    """The job is to stop: cancelled, over its deadline, or suspended."""
    wanted = stop_wanted(v)
    if wanted is None:
        return None
    if v.pod is not None:
        over = v.pod.over or agent_ended(v) is not None
        if not over:
            if not v.pod.deleting:
                return Stop(wanted)
            left = stranded_left(v) or IDLE_CHECK_SECONDS
            return _stranded(v, wanted) or Wait(min(left, IDLE_CHECK_SECONDS))
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
        return Wait(_by_deadline(v, pause))
    if v.crowded:
        return _queued(v)
    # What runs is written down before there is a pod: no later attempt runs anything else.
    start = Pin() if v.job.unpinned else Create(v.job.attempt)
    if v.rejection is None:
        return start
    if v.now - v.rejection.since >= timeouts(v).startup_seconds:
        return ended(v, outcome.failure(v.job, Reason.POD_REJECTED, v.rejection.message))
    pause = v.rejection.last + RECREATE_SECONDS - v.now
    if pause > 0:
        return _progress(v, Phase.PENDING, Reason.POD_REJECTED, v.rejection.message, pause)
    return start


def _queued(v: View) -> Enqueue:
    """There is no place for the pod: say so, but spare jobs the write that find one at once."""
    last_end = v.job.attempts[-1].ended if v.job.attempts else None
    early = max(v.job.created, last_end or 0.0) + PENDING_AFTER_SECONDS - v.now
    if early > 0:
        return Enqueue(Wait(early))
    check = _by_deadline(v, QUEUE_CHECK_SECONDS)
    return Enqueue(_progress(v, Phase.PENDING, Reason.QUEUED, v.crowded, check))


def _by_deadline(v: View, seconds: float) -> float:
    """So many seconds, or those that are left of the job's deadline if they are fewer."""
    left = deadline_left(v)
    return seconds if left is None else min(seconds, left)


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
    left = stranded_left(v)
    if v.pod is None or left is None:
        return None
    silent = v.pod.silent and v.pod.disruption is Reason.NODE_LOST  # nobody keeps the grace
    return Recover(outcome.failure(v.job, reason)) if silent or left <= 0 else None


def init_failed(v: View) -> Action | None:
    """An init container names its reason; the user's code never ran."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    for name in names.RUNTIME_CONTAINERS:
        checked = v.pod.container(name).failed
        if checked is not None:
            if checked.reason in UNKNOWN_ENDS:
                return ended(v, outcome.failure(v.job, Reason.NODE_LOST, checked.message))
            said = f"{checked.reason} (exit code {checked.exit_code}): {checked.message}"
            return ended(v, outcome.failure(v.job, Reason.RUNTIME_INVALID, said))
    synced = v.pod.container(names.CONTAINER_SYNC).failed
    if synced is None:
        return None
    if synced.reason in UNKNOWN_ENDS:
        return ended(v, outcome.failure(v.job, Reason.NODE_LOST))
    return ended(v, outcome.sync_failure(v.job, synced))


def pod_failed(v: View) -> Action | None:
    """The pod, or its agent, ended without telling a result."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    agent = agent_ended(v)
    if agent is None and not v.pod.over:
        return None
    reason = disrupted(v.pod)
    if reason is None and agent and agent.reason in UNKNOWN_ENDS:
        reason = Reason.NODE_LOST
    reason = reason or (Reason.AGENT_FAILED if agent else Reason.POD_LOST)
    said = [v.pod.reason, v.pod.message]
    if agent:
        said.append(f"agent: {outcome.own_end(agent)}")
    return Recover(outcome.failure(v.job, reason, " ".join(s for s in said if s)))


def overdue(v: View) -> Action | None:
    """The code did not start in time; time in which inputs are being copied does not count."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    left = startup_left(v)
    if left is None or left > 0:
        return None
    reason, said = blocked(v) or last_blocked(v.job)
    return ended(v, outcome.failure(v.job, reason, said, remove_pod=True))


def in_progress(v: View) -> Action | None:
    """Say what the job is doing, but spare short jobs the write."""
    assert v.pod is not None  # noqa: S101 `lost` answered otherwise
    pod, age = v.pod, v.now - v.pod.created
    phase, reason, said, after = Phase.PENDING, Reason.POD_CREATED, "", PENDING_AFTER_SECONDS
    if started(pod):
        phase, reason, after = Phase.RUNNING, Reason.EXECUTING, PROGRESS_AFTER_SECONDS
    elif stuck := blocked(v):
        (reason, said), after = stuck, PROGRESS_AFTER_SECONDS
    elif syncing(pod):
        phase, reason, after = Phase.SYNCING, Reason.SYNCING, PROGRESS_AFTER_SECONDS
    check = next_check(v)
    if is_session(v) and started(pod):
        return _session_progress(v, check)
    if age < after:
        return Wait(min(check, after - age))
    if reason is Reason.POD_CREATED:
        if v.inspection is None or v.now >= v.inspection.at + INSPECT_SECONDS:
            return Inspect()
        if v.job.status.get("reason") in BLOCKING:
            return Wait(check)
    return _progress(v, phase, reason, said, check)


def _progress(v: View, phase: Phase, reason: Reason, said: str, seconds: float) -> Progress | Wait:
    """A write, unless the status says the same already."""
    status = v.job.status
    if (status.get("phase"), status.get("reason")) == (phase.value, reason.value):
        return Wait(seconds)
    return Progress(phase, reason, sentence(reason, said)[: outcome.MESSAGE_CAP], seconds)


def _session_progress(v: View, check: float) -> Action:
    """Follow a session: its readiness at once, its counts at a bounded rate."""
    check = min(check, v.session_check)
    if v.session_due:
        return Progress(Phase.RUNNING, Reason.EXECUTING, sentence(Reason.EXECUTING), check)
    return Wait(check)


def recovered(v: View, stored: wire.Result | None, fallback: Outcome) -> Action:
    """The attempt's end when its pod could not tell: what S3 has of it, or the fallback."""
    ours = (v.job.uid, v.job.attempt)
    if stored is None or (stored.job.uid, stored.attempt) != ours:
        return ended(v, replace(fallback, unstored=fallback.unstored or not fallback.ours))
    report = wire.Report(attempt=stored.attempt, result=stored, inputs=fallback.inputs)
    told = outcome.from_report(v.job, v.known_pod, report)
    # That a pod is gone is no cause: the agent's word, that it was told to stop, says more.
    if told.reason is Reason.TERMINATED and fallback.reason is not Reason.POD_LOST:
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
