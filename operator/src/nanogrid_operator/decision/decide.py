"""What to do next for one job: ordered tables of rules, the first rule that answers wins. Pure.

Nothing in here awaits, reads a clock or logs: ``snapshot.now`` is the time, and the same snapshot
always gives the same action, for any order of the events. Two invariants hold. After a job has
finished, only its delivery and its time to live lead to an action. An attempt that had a pod never
gets a second one.
"""

from collections.abc import Callable
from dataclasses import replace

from nanogrid import names, wire
from nanogrid.lifecycle import NOT_STARTED, Phase
from nanogrid.reasons import Reason, sentence
from nanogrid_operator.decision import outcome, retry
from nanogrid_operator.decision.actions import (
    Action,
    Create,
    Enqueue,
    Finish,
    Inspect,
    Nothing,
    ObserveExposure,
    Pin,
    Progress,
    Recover,
    Retry,
    ShowMemory,
    Stop,
    Wait,
)
from nanogrid_operator.decision.after_end import expired, finished, lingering
from nanogrid_operator.decision.outcome import Outcome
from nanogrid_operator.decision.snapshot import (
    BLOCKING,
    IDLE_CHECK_SECONDS,
    INSPECT_SECONDS,
    Snapshot,
    agent_ended,
    blocked,
    deadline_left,
    deletion_left,
    disrupted,
    has_run,
    is_session,
    last_blocked,
    next_check,
    pod_stopped,
    startup_left,
    stop_wanted,
    syncing,
    timeouts,
    why_stopped,
)
from nanogrid_operator.decision.start_errors import end_text, image_refused
from nanogrid_operator.model.pod_facts import Pod

PROGRESS_AFTER_SECONDS = 2.0  # 1 to 2 s by the kubelet's whole seconds; saves short jobs a write
PENDING_AFTER_SECONDS = 4.0  # a pod that starts in the usual time needs no status write
QUEUED_AFTER_SECONDS = 10.0  # nor does each job of a burst that gets its turn within seconds
KUBELET_GRACE_SECONDS = 10.0  # for the kubelet to report how a sandbox ended
# What the container runtime reports for a container that was gone when its node came back.
UNKNOWN_ENDS = frozenset({"Unknown", "ContainerStatusUnknown"})
NETWORK_CHECK_SECONDS = 3.0  # the first test of the network ends within a minute
RECREATE_SECONDS = 2.0  # between tries to create a pod that the API server rejects
NO_MORE_RETRIES = (
    f"There is no further retry: {retry.MAX_UNCOUNTED} retries did not count towards backoffLimit, "
    "which is the maximum."
)


def deleting(snapshot: Snapshot) -> Action | None:
    """The garbage collector deletes the pod of a deleted job, by ownerReference."""
    return Nothing() if snapshot.job.deleting else None


def restored(snapshot: Snapshot) -> Action | None:
    """A job of a backup may have run before: it waits for a user, also if its spec is invalid.

    Nothing is written at first, because a restore may still bring the status of the old job.
    """
    job = snapshot.job
    seen = snapshot.had_pod or snapshot.known_pod or snapshot.report or snapshot.written_report
    if not job.restored or seen or (job.spec is not None and job.spec.cancel):
        return None
    early = job.created + PENDING_AFTER_SECONDS - snapshot.now
    if early > 0:
        return Wait(early)
    return _progress(snapshot, Phase.SUSPENDED, Reason.RESTORED, job.restored, IDLE_CHECK_SECONDS)


def invalid(snapshot: Snapshot) -> Action | None:
    """An unreadable spec fails at once. Its pod, created by another version, is removed."""
    job = snapshot.job
    if job.model is not None:
        return None
    remove = snapshot.pod is not None
    return Finish(outcome.failure(job, Reason.INVALID_SPEC, job.error, remove_pod=remove))


def ended(snapshot: Snapshot, result: Outcome) -> Action:
    """An attempt has ended: the job ends with it, or another attempt follows."""
    if result.reason == Reason.SUSPENDED:
        return Retry(result, counted=False, suspended=True)
    if is_session(snapshot):
        # The kubelet restarts a session's containers, so its pod does not end by itself.
        return Finish(replace(result, remove_pod=result.remove_pod or not result.succeeded))
    again = retry.decide_retry(
        snapshot.job, result.result, snapshot.memory_limit, pod_stopped=pod_stopped(snapshot)
    )
    if again is None:
        return Finish(result)
    if not again.counted and retry.uncounted_used_up(snapshot.job):
        return Finish(outcome.with_note(result, NO_MORE_RETRIES))
    return Retry(result, again.counted)


def reported(snapshot: Snapshot) -> Action | None:
    """The agent has reported the result: by POST, or in its termination message."""
    report = snapshot.report or snapshot.written_report
    if report is None:
        return None
    if not report.final:
        return _incomplete(snapshot, report)
    result = _explained(snapshot, report)
    unexplained = result.reason is Reason.TERMINATED and snapshot.report is not None
    if unexplained and (seconds := _kubelet_grace_left(snapshot)) > 0:
        return Wait(seconds)
    # A termination message is a shortened copy. The agent stored the full result before it ended.
    return ended(snapshot, result) if snapshot.report else Recover(result)


def _kubelet_grace_left(snapshot: Snapshot) -> float:
    """Seconds to wait for the kubelet to explain a stop that no deletion explains.

    The kubelet gives its reason (disk full, pressure) only after the containers have ended.
    """
    pod = snapshot.pod
    if pod is None or pod.deleting or pod.over or snapshot.reported_at is None:
        return 0.0
    return snapshot.reported_at + KUBELET_GRACE_SECONDS - snapshot.now


def _explained(snapshot: Snapshot, report: wire.Report) -> Outcome:
    result = outcome.from_report(snapshot.job, snapshot.known_pod, report)
    if result.reason is Reason.TERMINATED:
        result = outcome.with_cause(result, why_stopped(snapshot), snapshot.known_pod)
    return result


def _incomplete(snapshot: Snapshot, report: wire.Report) -> Action:
    """The sandbox disappeared while the agent watched; give the kubelet time to say why."""
    pod = snapshot.known_pod
    if pod is None:
        return ended(snapshot, outcome.from_report(snapshot.job, None, report))
    has_end = pod.container(names.CONTAINER_SANDBOX).ended is not None
    known = has_end or pod.over or snapshot.pod is None
    since = snapshot.now if snapshot.reported_at is None else snapshot.reported_at
    waited = snapshot.now - since
    if known or waited >= KUBELET_GRACE_SECONDS:
        return ended(snapshot, outcome.sandbox_lost(snapshot.job, pod, report))
    return Wait(max(0.1, KUBELET_GRACE_SECONDS - waited))


def stopping(snapshot: Snapshot) -> Action | None:
    """The job must stop: it is cancelled, over its deadline, or suspended."""
    wanted = stop_wanted(snapshot)
    if wanted is None:
        return None
    pod = snapshot.pod
    if pod is not None and not pod.over and agent_ended(snapshot, pod) is None:
        if not pod.deleting:
            return Stop(wanted, pod)
        left = deletion_left(snapshot, pod) or IDLE_CHECK_SECONDS
        return _deletion_stuck(snapshot, pod, wanted) or Wait(min(left, IDLE_CHECK_SECONDS))
    if snapshot.had_pod or pod is not None:
        return Recover(outcome.failure(snapshot.job, wanted))
    if wanted is not Reason.SUSPENDED:
        return Finish(outcome.failure(snapshot.job, wanted))
    return _progress(snapshot, Phase.SUSPENDED, Reason.SUSPENDED, "", IDLE_CHECK_SECONDS)


def never_started(snapshot: Snapshot) -> Action | None:
    """An attempt gets its pod after its back-off, and again after a rejection."""
    if snapshot.pod is not None or snapshot.had_pod:
        return None
    job, rejection = snapshot.job, snapshot.rejection
    pause = retry.not_before(job) - snapshot.now
    if pause > 0:
        return Wait(_by_deadline(snapshot, pause))
    if snapshot.wait_reason:
        return _queued(snapshot)
    # The status says what runs before there is a pod, so no later attempt runs anything else.
    function = job.unpinned_function
    start = Create(job.attempt) if function is None else Pin(function)
    if function is None and (held := _network(snapshot)):
        return held
    if rejection is None:
        return start
    if snapshot.now - rejection.since >= timeouts(snapshot).startup_seconds:
        return ended(snapshot, outcome.failure(job, Reason.POD_REJECTED, rejection.message))
    pause = rejection.last + RECREATE_SECONDS - snapshot.now
    if pause > 0:
        return _progress(snapshot, Phase.PENDING, Reason.POD_REJECTED, rejection.message, pause)
    return start


def _queued(snapshot: Snapshot) -> Enqueue:
    """There is no slot for the pod. Write it to the status, unless the job waits only briefly."""
    job = snapshot.job
    last_end = job.attempts[-1].ended if job.attempts else None
    early = max(job.created, last_end or 0.0) + QUEUED_AFTER_SECONDS - snapshot.now
    if early > 0:
        return Enqueue(Wait(early))
    check = _by_deadline(snapshot, snapshot.queue_check)
    return Enqueue(_progress(snapshot, Phase.PENDING, Reason.QUEUED, snapshot.wait_reason, check))


def _network(snapshot: Snapshot) -> Action | None:
    """The job needs a network boundary: wait for the first test, or fail without a pod."""
    job, network = snapshot.job, snapshot.network
    if network.refusal:
        return Finish(outcome.failure(job, Reason.NETWORK_NOT_ENFORCED, network.refusal))
    if not network.wait:
        return None
    wait = _by_deadline(snapshot, NETWORK_CHECK_SECONDS)
    return _progress(snapshot, Phase.PENDING, Reason.NETWORK_UNKNOWN, network.wait, wait)


def _by_deadline(snapshot: Snapshot, seconds: float) -> float:
    """This many seconds, or the time until the job's deadline if that is shorter."""
    left = deadline_left(snapshot)
    return seconds if left is None else min(seconds, left)


def lost(snapshot: Snapshot) -> Action:
    """The pod is gone. Its result may be in S3."""
    reason = (snapshot.gone.disruption if snapshot.gone else None) or Reason.POD_LOST
    return Recover(outcome.failure(snapshot.job, reason))


def deletion_stuck(snapshot: Snapshot, pod: Pod) -> Action | None:
    """A deletion that is overdue: the node is gone, and no kubelet will confirm it."""
    return _deletion_stuck(snapshot, pod, pod.disruption or Reason.POD_LOST)


def _deletion_stuck(snapshot: Snapshot, pod: Pod, reason: Reason) -> Action | None:
    left = deletion_left(snapshot, pod)
    if left is None:
        return None
    silent = pod.silent and pod.disruption is Reason.NODE_LOST  # no kubelet observes the grace
    return Recover(outcome.failure(snapshot.job, reason)) if silent or left <= 0 else None


def init_failed(snapshot: Snapshot, pod: Pod) -> Action | None:
    """An init container failed and gives the reason; the user's code never ran."""
    job = snapshot.job
    for name in names.RUNTIME_CONTAINERS:
        checked = pod.container(name).failed
        if checked is not None:
            if checked.reason in UNKNOWN_ENDS:
                return ended(snapshot, outcome.failure(job, Reason.NODE_LOST, checked.message))
            if name == names.CONTAINER_INSTALL and outcome.is_own_report(checked):
                return ended(snapshot, outcome.sync_failure(job, checked))
            if checked.reason in NOT_STARTED and not (
                name == names.CONTAINER_CHECK and image_refused(checked)
            ):
                detail = end_text(name, checked)
                return ended(snapshot, outcome.failure(job, Reason.START_FAILED, detail))
            detail = f"{checked.reason} (exit code {checked.exit_code}): {checked.message}"
            return ended(snapshot, outcome.failure(job, Reason.RUNTIME_INVALID, detail))
    synced = pod.container(names.CONTAINER_SYNC).failed
    if synced is None:
        return None
    if synced.reason in UNKNOWN_ENDS:
        return ended(snapshot, outcome.failure(job, Reason.NODE_LOST))
    if synced.reason in NOT_STARTED:
        detail = end_text(names.CONTAINER_SYNC, synced)
        return ended(snapshot, outcome.failure(job, Reason.START_FAILED, detail))
    return ended(snapshot, outcome.sync_failure(job, synced))


def pod_failed(snapshot: Snapshot, pod: Pod) -> Action | None:
    """The pod, or its agent, ended without a report."""
    agent = agent_ended(snapshot, pod)
    if agent is None and not pod.over:
        return None
    reason = disrupted(pod)
    if reason is None and agent and agent.reason in UNKNOWN_ENDS:
        reason = Reason.NODE_LOST
    if reason is None and pod.pool and pod.deleting:
        reason = Reason.POD_LOST  # an agent without its task has nothing to report
    reason = reason or (Reason.AGENT_FAILED if agent else Reason.POD_LOST)
    details = [pod.reason, pod.message]
    if agent:
        details.append(f"agent: {outcome.own_end(agent)}")
    return Recover(outcome.failure(snapshot.job, reason, " ".join(d for d in details if d)))


def cannot_start(snapshot: Snapshot, pod: Pod) -> Action | None:
    """A container cannot start, and trying again does not help."""
    found = None if has_run(snapshot, pod) or pod.gated else blocked(snapshot, pod)
    if found is None or not found.lasting:
        return None
    end = outcome.failure(snapshot.job, found.reason, found.detail, remove_pod=True)
    if found.reason is Reason.IMAGE_PULL_FAILED:  # an invalid name is invalid on every node
        return Finish(end)
    return ended(snapshot, end)


def overdue(snapshot: Snapshot, pod: Pod) -> Action | None:
    """The code did not start in time. Time for copying inputs does not count."""
    left = startup_left(snapshot, pod)
    if left is None or left > 0:
        return None
    found = blocked(snapshot, pod)
    reason, detail = (found.reason, found.detail) if found else last_blocked(snapshot.job)
    return ended(snapshot, outcome.failure(snapshot.job, reason, detail, remove_pod=True))


def exposed(snapshot: Snapshot, _: Pod) -> Action | None:
    """It is time to look at the Ingress or TargetGroupBinding of a session."""
    return ObserveExposure() if snapshot.exposure_check == 0.0 else None


def in_progress(snapshot: Snapshot, pod: Pod) -> Action:
    """Write what the job is doing, but save short jobs the write."""
    since = pod.created
    phase, reason, detail, after = Phase.PENDING, Reason.POD_CREATED, "", PENDING_AFTER_SECONDS
    if has_run(snapshot, pod):
        phase, reason, after = Phase.RUNNING, Reason.EXECUTING, PROGRESS_AFTER_SECONDS
        since = _start(snapshot, pod, names.CONTAINER_SANDBOX)
    elif pod.gated:
        reason, detail = Reason.QUEUED, f"pod {pod.name}: {pod.gated}"
    elif stuck := blocked(snapshot, pod):
        reason, detail, after = stuck.reason, stuck.detail, PROGRESS_AFTER_SECONDS
    elif syncing(pod):
        phase, reason, after = Phase.SYNCING, Reason.SYNCING, PROGRESS_AFTER_SECONDS
        since = _start(snapshot, pod, names.CONTAINER_SYNC)
    check = next_check(snapshot, pod)
    if is_session(snapshot) and has_run(snapshot, pod):
        return _session_progress(snapshot, check)
    early = since + after - snapshot.now
    if early > 0:
        return Wait(min(check, early))
    if reason is Reason.POD_CREATED:
        inspection = snapshot.inspection
        if inspection is None or snapshot.now >= inspection.at + INSPECT_SECONDS:
            return Inspect(pod)
        if snapshot.job.status.get("reason") in BLOCKING:
            return Wait(check)
    action = _progress(snapshot, phase, reason, detail, check)
    running = phase is Phase.RUNNING and isinstance(action, Wait)
    return ShowMemory(check) if running and snapshot.memory_due else action


def _start(snapshot: Snapshot, pod: Pod, container: str) -> float:
    """When a container started for the job, so that a pod that starts late is no long job.

    The kubelet says it. Of a node whose clock is ahead, the pod's creation counts.
    """
    at = pod.container(container).started_at
    return pod.created if at is None or at > snapshot.now else max(pod.created, at)


def _progress(
    snapshot: Snapshot, phase: Phase, reason: Reason, detail: str, seconds: float
) -> Progress | Wait:
    """A write, unless the status shows the same already."""
    status = snapshot.job.status
    shown = (status.get("phase"), status.get("reason")) == (phase.value, reason.value)
    pod = snapshot.pod
    if pod is not None and pod.gated:  # it was Queued without a pod before, for another reason
        shown = shown and status.get("podName") == pod.name
    if shown and not (snapshot.queue_due or snapshot.session_due):
        return Wait(seconds)
    return Progress(phase, reason, sentence(reason, detail)[: outcome.MESSAGE_CAP], seconds)


def _session_progress(snapshot: Snapshot, check: float) -> Action:
    """Follow a session: write its readiness at once, its counts at a bounded rate."""
    check = min(check, snapshot.session_check)
    if snapshot.session_due:
        return Progress(Phase.RUNNING, Reason.EXECUTING, sentence(Reason.EXECUTING), check)
    return ShowMemory(check) if snapshot.memory_due else Wait(check)


def recovered(snapshot: Snapshot, stored: wire.Result | None, fallback: Outcome) -> Action:
    """The end of an attempt whose pod could not report: its result in S3, or the fallback."""
    if stored is None:
        return ended(snapshot, replace(fallback, unstored=fallback.unstored or not fallback.ours))
    report = wire.Report(attempt=stored.attempt, result=stored, inputs=fallback.inputs)
    result = outcome.from_report(snapshot.job, snapshot.known_pod, report)
    # A missing pod is not a cause: that the agent was stopped says more.
    if result.reason is Reason.TERMINATED and fallback.reason is not Reason.POD_LOST:
        result = outcome.with_cause(result, fallback.reason, snapshot.known_pod)
    return ended(snapshot, result)


JobRule = Callable[[Snapshot], Action | None]
JOB_RULES: tuple[JobRule, ...] = (
    deleting,
    expired,
    lingering,
    finished,
    restored,
    invalid,
    reported,
    stopping,
    never_started,
)

PodRule = Callable[[Snapshot, Pod], Action | None]
POD_RULES: tuple[PodRule, ...] = (
    deletion_stuck,
    init_failed,
    cannot_start,
    pod_failed,
    overdue,
    exposed,
)


def decide(snapshot: Snapshot) -> Action:
    """The one next action for a job."""
    for job_rule in JOB_RULES:
        action = job_rule(snapshot)
        if action is not None:
            return action
    pod = snapshot.pod
    if pod is None:
        return lost(snapshot)
    for pod_rule in POD_RULES:
        action = pod_rule(snapshot, pod)
        if action is not None:
            return action
    return in_progress(snapshot, pod)
