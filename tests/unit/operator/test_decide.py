"""The state table row by row, then properties of every snapshot and every order of events."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.decision import actions
from nanogrid_operator.decision.decide import decide, recovered
from nanogrid_operator.decision.outcome import Delivery, Outcome, failure
from nanogrid_operator.decision.retry import MAX_ATTEMPTS
from nanogrid_operator.decision.snapshot import Snapshot
from nanogrid_operator.model.facts import Job, job_facts
from nanogrid_operator.model.lifecycle import time_to_live
from nanogrid_operator.model.observed import Rejection
from nanogrid_operator.model.pod_facts import Pod, pod_facts
from nanogrid_operator.status.job import final_status, retry_status
from nanogrid_operator.watch.cache import JobCache
from support import strategies
from support.builders import (
    CREATED,
    CREATED_TEXT,
    POD_NAME,
    a_failed_result,
    a_job,
    a_job_body,
    a_lost_result,
    a_pod,
    a_pod_body,
    a_report,
    a_result,
    a_running_pod,
    a_stopped_result,
    an_attempt,
    ended,
    retrying,
    running,
    time_text,
    waiting,
)
from support.snapshots import a_snapshot

MORE_MEMORY = {
    "rules": [
        {
            "onReasons": ["OOMKilled"],
            "action": "RetryWithMoreMemory",
            "memory": {"factor": "2", "max": "1Gi"},
        }
    ]
}
DELIVERED = {"phase": "Succeeded", "delivery": {"state": "Delivered"}}
PENDING = {"phase": "Failed", "delivery": {"state": "Pending"}}
CONFLICT = {"phase": "Succeeded", "delivery": {"state": "Conflict"}}


def a_claimed_pod(**changes: Any) -> Pod:
    """A running pod of a pool that the job has claimed."""
    return replace(a_running_pod(**changes), pool="ready")


def as_text(action: actions.Action) -> str:
    """An action as text, for the table."""
    match action:
        case actions.Create(attempt):
            return f"create pod of attempt {attempt}"
        case actions.Wait(seconds):
            return f"wait {seconds:g} s"
        case actions.Progress():
            return f"write {action.phase} {action.reason}, then wait {action.seconds:g} s"
        case actions.Enqueue(shown):
            return f"queue, {as_text(shown)}"
        case actions.Stop(reason):
            return f"stop the pod: {reason}"
        case actions.Finish() | actions.Recover() | actions.Retry():
            return _end_as_text(action)
    return {
        actions.Inspect: "read the pod's Events",
        actions.Deliver: "deliver",
        actions.DeleteJob: "delete the job",
        actions.Nothing: "nothing",
    }[type(action)]


def _end_as_text(action: actions.Finish | actions.Recover | actions.Retry) -> str:
    match action:
        case actions.Finish(end):
            return f"finish {_end(end)}"
        case actions.Recover(end):
            return f"read S3, else {_end(end)}"
        case actions.Retry(end, counted, suspended):
            how = "suspend" if suspended else "retry"
            return f"{how} after {_end(end)}, {'counted' if counted else 'not counted'}"


def _end(end: Outcome) -> str:
    code = "" if end.result.exit_code is None else f" exit {end.result.exit_code}"
    return f"{end.result.status} {end.reason}{code}{' and remove the pod' * end.remove_pod}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the state table; ``bug`` says why the line does not hold yet."""

    reason: str
    snapshot: Snapshot
    want: str
    bug: str = ""


ROWS = [
    Row(
        reason="The garbage collector deletes the pod of a job under deletion.",
        snapshot=a_snapshot(a_job(deleting=True), None),
        want="nothing",
    ),
    Row(
        reason="A job under deletion is not finished, even with a report.",
        snapshot=a_snapshot(a_job(deleting=True), a_running_pod(), a_report()),
        want="nothing",
    ),
    Row(
        reason="A delivered job needs no action, even if its pod contradicts it.",
        snapshot=a_snapshot(
            a_job(status=DELIVERED), a_pod(phase="Failed", agent=ended(1)), a_report()
        ),
        want="nothing",
    ),
    Row(
        reason="A finished job whose pod is gone needs no action.",
        snapshot=a_snapshot(a_job(status=DELIVERED), had_pod=True),
        want="nothing",
    ),
    Row(
        reason="A result that Redis did not take is delivered later.",
        snapshot=a_snapshot(a_job(status=PENDING)),
        want="deliver",
    ),
    Row(
        reason="A requestId that belongs to another job stays a conflict.",
        snapshot=a_snapshot(a_job(status=CONFLICT)),
        want="nothing",
    ),
    Row(
        reason="A finished job under deletion is not delivered.",
        snapshot=a_snapshot(a_job(status=PENDING, deleting=True)),
        want="nothing",
    ),
    Row(
        reason="An unreadable spec fails before anything is created.",
        snapshot=a_snapshot(a_job(mode="Dance")),
        want="finish FAILED InvalidSpec",
    ),
    Row(
        reason="A new job gets its pod.",
        snapshot=a_snapshot(),
        want="create pod of attempt 0",
    ),
    Row(
        reason="Without a slot for its pod a job queues; the first seconds cost no write.",
        snapshot=a_snapshot(age=1, wait_reason="full"),
        want="queue, wait 9 s",
    ),
    Row(
        reason="A job that queues for longer shows it.",
        snapshot=a_snapshot(age=10, wait_reason="full"),
        want="queue, write Pending Queued, then wait 300 s",
    ),
    Row(
        reason="Queueing is written once, however long it takes.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Pending", "reason": "Queued"}), age=64, wait_reason="full"
        ),
        want="queue, wait 300 s",
    ),
    Row(
        reason="The next attempt queues too, and its first seconds cost no write either.",
        snapshot=a_snapshot(
            a_job(
                backoffLimit=3,
                failurePolicy={"backoff": {"initialSeconds": 0}},
                status=retrying(an_attempt(0, "NonZeroExit", age=100)),
            ),
            age=101,
            wait_reason="full",
        ),
        want="queue, wait 9 s",
    ),
    Row(
        reason="A job with a pod does not queue.",
        snapshot=a_snapshot(pod=a_pod(), age=0.5, wait_reason="full"),
        want="wait 3.5 s",
    ),
    Row(
        reason="A queued job can be cancelled.",
        snapshot=a_snapshot(a_job(cancel=True), age=64, wait_reason="full"),
        want="finish FAILED Cancelled",
    ),
    Row(
        reason="A job that is suspended in the queue leaves it.",
        snapshot=a_snapshot(a_job(suspend=True), age=64, wait_reason="full"),
        want="write Suspended Suspended, then wait 60 s",
    ),
    Row(
        reason="The startup timeout does not run in the queue, even after a rejection.",
        snapshot=a_snapshot(age=400, refused=(1, 3), wait_reason="full"),
        want="queue, write Pending Queued, then wait 300 s",
    ),
    Row(
        reason="A young pod costs no status write.",
        snapshot=a_snapshot(pod=a_pod(), age=0.5),
        want="wait 3.5 s",
    ),
    Row(
        reason="A pod that starts in the usual time costs no status write.",
        snapshot=a_snapshot(pod=a_pod(), age=3),
        want="wait 1 s",
    ),
    Row(
        reason="After 4 s without a start, the pod's Events are read: they are the newest source.",
        snapshot=a_snapshot(pod=a_pod(), age=4),
        want="read the pod's Events",
    ),
    Row(
        reason="The Events give no cause.",
        snapshot=a_snapshot(pod=a_pod(), age=4, inspected_age=4),
        want="write Pending PodCreated, then wait 10 s",
    ),
    Row(
        reason="The Events give the cause.",
        snapshot=a_snapshot(
            pod=a_pod(),
            age=4,
            inspected_age=4,
            warning=(Reason.IMAGE_PULL_FAILED, "no such host"),
        ),
        want="write Pending ImagePullFailed, then wait 10 s",
    ),
    Row(
        reason="The Events are read again after 10 s.",
        snapshot=a_snapshot(pod=a_pod(), age=14, inspected_age=4),
        want="read the pod's Events",
    ),
    Row(
        reason="The cause from the Events counts at the startup timeout.",
        snapshot=a_snapshot(
            pod=a_pod(),
            age=301,
            inspected_age=295,
            warning=(Reason.IMAGE_PULL_FAILED, "no such host"),
        ),
        want="finish FAILED ImagePullFailed and remove the pod",
    ),
    Row(
        reason="The same progress is not written twice.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Pending", "reason": "PodCreated"}),
            a_pod(),
            age=6,
            inspected_age=4,
        ),
        want="wait 10 s",
    ),
    Row(
        reason="Copying inputs is shown.",
        snapshot=a_snapshot(pod=a_pod(sync=running()), age=3),
        want="write Syncing Syncing, then wait 60 s",
    ),
    Row(
        reason="A short copy is not shown, also if its pod waited long for a node.",
        snapshot=a_snapshot(pod=a_pod(sync=running(20)), age=21),
        want="wait 1 s",
    ),
    Row(
        reason="With the inputs in place, the sandbox is about to start.",
        snapshot=a_snapshot(pod=a_pod(sync=ended(0), agent=waiting()), age=3),
        want="write Syncing Syncing, then wait 60 s",
    ),
    Row(
        reason="Between two tries of the kubelet the status keeps the cause.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Pending", "reason": "ImagePullFailed"}),
            a_pod(),
            age=9,
            inspected_age=4,
        ),
        want="wait 10 s",
    ),
    Row(
        reason="The cause in the status counts at the startup timeout.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Pending", "reason": "ImagePullFailed"}), a_pod(), age=301
        ),
        want="finish FAILED ImagePullFailed and remove the pod",
    ),
    Row(
        reason="Running code is shown.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Syncing", "reason": "Syncing"}), a_running_pod(), age=9
        ),
        want="write Running Executing, then wait 60 s",
    ),
    Row(
        reason="Running code has no startup timeout.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Running", "reason": "Executing"}), a_running_pod(), age=4000
        ),
        want="wait 60 s",
    ),
    Row(
        reason="The startup timeout is checked on time.",
        snapshot=a_snapshot(
            a_job(
                status={"phase": "Pending", "reason": "PodCreated"}, timeouts={"startupSeconds": 30}
            ),
            a_pod(),
            age=22,
            inspected_age=20,
        ),
        want="wait 8 s",
    ),
    Row(
        reason="A pod without a node is shown before the startup timeout.",
        snapshot=a_snapshot(pod=a_pod(unschedulable="0/3 nodes are available"), age=250),
        want="write Pending Unschedulable, then wait 50 s",
    ),
    Row(
        reason="An image that cannot be pulled is shown before the startup timeout.",
        snapshot=a_snapshot(pod=a_pod(agent=running(), sandbox=waiting("ImagePullBackOff")), age=5),
        want="write Pending ImagePullFailed, then wait 60 s",
    ),
    Row(
        reason="A pod without a node fails at the startup timeout.",
        snapshot=a_snapshot(pod=a_pod(unschedulable="0/3 nodes are available"), age=301),
        want="finish FAILED Unschedulable and remove the pod",
    ),
    Row(
        reason="A pod whose image cannot be pulled fails at the startup timeout.",
        snapshot=a_snapshot(pod=a_pod(agent=waiting("ErrImagePull")), age=301),
        want="finish FAILED ImagePullFailed and remove the pod",
    ),
    Row(
        reason="Short code costs no write, also if its pod started late.",
        snapshot=a_snapshot(pod=a_pod(agent=running(20), sandbox=running(20)), age=21),
        want="wait 1 s",
    ),
    Row(
        reason="Running code is shown soon after its start.",
        snapshot=a_snapshot(pod=a_pod(agent=running(20), sandbox=running(20)), age=22),
        want="write Running Executing, then wait 60 s",
    ),
    Row(
        reason="The clock of a node may be ahead.",
        snapshot=a_snapshot(pod=a_pod(agent=running(900), sandbox=running(900)), age=9),
        want="write Running Executing, then wait 60 s",
    ),
    Row(
        reason="A container of a pool's pod started long before the job claimed the pod.",
        snapshot=a_snapshot(pod=a_pod(age=20, agent=running(), sandbox=running()), age=21),
        want="wait 1 s",
    ),
    Row(
        reason="A pod that lacks its Secret fails at the startup timeout.",
        snapshot=a_snapshot(pod=a_pod(agent=waiting("CreateContainerConfigError")), age=301),
        want="finish FAILED ConfigError and remove the pod",
    ),
    Row(
        reason="The kubelet starts the sandbox even if it cannot create the agent.",
        snapshot=a_snapshot(
            pod=a_pod(agent=waiting("CreateContainerConfigError", "no Secret"), sandbox=running()),
            age=2,
        ),
        want="write Pending ConfigError, then wait 60 s",
    ),
    Row(
        reason="A sandbox that runs without an agent does not stop the startup timeout.",
        snapshot=a_snapshot(
            pod=a_pod(agent=waiting("CreateContainerConfigError"), sandbox=running()), age=301
        ),
        want="finish FAILED ConfigError and remove the pod",
    ),
    Row(
        reason="The launcher has given up, so an agent that starts later has no sandbox.",
        snapshot=a_snapshot(
            pod=a_pod(agent=waiting("CreateContainerConfigError"), sandbox=ended(1)), age=125
        ),
        want="finish FAILED ConfigError and remove the pod",
    ),
    Row(
        reason="A pod without a known cause fails at the startup timeout.",
        snapshot=a_snapshot(pod=a_pod(), age=301),
        want="finish FAILED StartupTimeout and remove the pod",
    ),
    Row(
        reason="Copying inputs can take longer than the startup timeout.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Syncing", "reason": "Syncing"}), a_pod(sync=running()), age=900
        ),
        want="wait 60 s",
    ),
    Row(
        reason="After a long copy of inputs the startup timeout starts over.",
        snapshot=a_snapshot(
            pod=a_pod(sync=ended(0, age=480), agent=waiting(), sandbox=waiting()), age=500
        ),
        want="write Syncing Syncing, then wait 60 s",
    ),
    Row(
        reason="Code that does not start in time after the copy of inputs is overdue.",
        snapshot=a_snapshot(pod=a_pod(sync=ended(0, age=480), agent=waiting()), age=780),
        want="finish FAILED StartupTimeout and remove the pod",
    ),
    Row(
        reason="A pushed result ends the job.",
        snapshot=a_snapshot(pod=a_running_pod(), report=a_report()),
        want="finish SUCCESS Completed exit 0",
    ),
    Row(
        reason="A result in the termination message is read in full from S3.",
        snapshot=a_snapshot(
            pod=a_pod(phase="Succeeded", agent=ended(0, "", wire.dumps(a_report())))
        ),
        want="read S3, else SUCCESS Completed exit 0",
    ),
    Row(
        reason="A pushed result wins over the shortened termination message.",
        snapshot=a_snapshot(
            pod=a_pod(agent=ended(0, "", wire.dumps(a_report()))),
            report=a_report(a_failed_result(3)),
        ),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="A result counts even if the pod is gone.",
        snapshot=a_snapshot(report=a_report(), had_pod=True),
        want="finish SUCCESS Completed exit 0",
    ),
    Row(
        reason="Only the execution timeout gives TIMEOUT.",
        snapshot=a_snapshot(
            pod=a_running_pod(),
            report=a_report(a_result(status="TIMEOUT", exit_code=143, reason="ExecutionTimeout")),
        ),
        want="finish TIMEOUT ExecutionTimeout exit 143",
    ),
    Row(
        reason="The kubelet confirms the exit code.",
        snapshot=a_snapshot(
            pod=a_running_pod(sandbox=ended(3)), report=a_report(a_failed_result(3)), age=9
        ),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="The kubelet contradicts a success.",
        snapshot=a_snapshot(pod=a_running_pod(sandbox=ended(1)), report=a_report()),
        want="finish FAILED ResultMismatch exit 0",
    ),
    Row(
        reason="The kubelet knows why the code was killed.",
        snapshot=a_snapshot(
            pod=a_running_pod(sandbox=ended(137, "OOMKilled")),
            report=a_report(a_failed_result(137, reason="Signaled", signal="SIGKILL")),
        ),
        want="finish FAILED OOMKilled exit 137",
    ),
    Row(
        reason="Any exit code except 0 contradicts a success without an exit code.",
        snapshot=a_snapshot(
            pod=a_running_pod(sandbox=ended(137)), report=a_report(a_result(exit_code=None))
        ),
        want="finish FAILED ResultMismatch",
    ),
    Row(
        reason="A success with another exit code than 0 contradicts itself.",
        snapshot=a_snapshot(pod=a_running_pod(), report=a_report(a_result(exit_code=3))),
        want="finish FAILED ResultMismatch exit 3",
    ),
    Row(
        reason="A report that names another job is rejected.",
        snapshot=a_snapshot(
            pod=a_running_pod(),
            report=a_report(a_result(job=wire.JobRef(namespace="b", name="b", uid="other"))),
        ),
        want="finish FAILED ResultMismatch",
    ),
    Row(
        reason="A report that names another request is rejected.",
        snapshot=a_snapshot(pod=a_running_pod(), report=a_report(a_result(request_id="other"))),
        want="finish FAILED ResultMismatch",
    ),
    Row(
        reason="A preliminary report that names another request is rejected.",
        snapshot=a_snapshot(
            pod=a_running_pod(sandbox=ended(1)),
            report=a_report(a_lost_result(request_id="other"), final=False),
        ),
        want="finish FAILED ResultMismatch",
    ),
    Row(
        reason="An unknown reason of a newer agent is accepted.",
        snapshot=a_snapshot(
            pod=a_running_pod(), report=a_report(a_failed_result(3, reason="QuotaOfTomorrow"))
        ),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="The sandbox disappeared; the kubelet has 10 s to report why.",
        snapshot=a_snapshot(
            pod=a_running_pod(), report=a_report(a_lost_result(), final=False), age=5
        ),
        want="wait 10 s",
    ),
    Row(
        reason="The kubelet has the rest of the 10 s.",
        snapshot=a_snapshot(
            pod=a_running_pod(),
            report=a_report(a_lost_result(), final=False),
            age=9,
            reported_age=5,
        ),
        want="wait 6 s",
    ),
    Row(
        reason="The kubelet reports the memory limit as the cause.",
        snapshot=a_snapshot(
            pod=a_running_pod(sandbox=ended(137, "OOMKilled")),
            report=a_report(a_lost_result(), final=False),
        ),
        want="finish FAILED OOMKilled exit 137",
    ),
    Row(
        reason="The kubelet reports another cause.",
        snapshot=a_snapshot(
            pod=a_running_pod(sandbox=ended(1)), report=a_report(a_lost_result(), final=False)
        ),
        want="finish FAILED SandboxLost exit 1",
    ),
    Row(
        reason="The kubelet did not report a cause in time.",
        snapshot=a_snapshot(
            pod=a_running_pod(),
            report=a_report(a_lost_result(), final=False),
            age=15,
            reported_age=5,
        ),
        want="finish FAILED SandboxLost",
    ),
    Row(
        reason="The pod is gone before the kubelet reports a cause.",
        snapshot=a_snapshot(report=a_report(a_lost_result(), final=False), had_pod=True),
        want="finish FAILED SandboxLost",
    ),
    Row(
        reason="A deleted pod is not created again; its result may be in S3.",
        snapshot=a_snapshot(had_pod=True),
        want="read S3, else FAILED PodLost",
    ),
    Row(
        reason="A pod under deletion can still report.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Running", "reason": "Executing"}),
            a_running_pod(deleting=True),
            age=20,
        ),
        want="wait 40 s",
    ),
    Row(
        reason="A pod on a dead node stays under deletion; the operator stops waiting for it.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Running", "reason": "Executing"}),
            a_running_pod(deleting=True),
            age=86_400,
        ),
        want="read S3, else FAILED PodLost",
    ),
    Row(
        reason="The sync container gives the reason.",
        snapshot=a_snapshot(
            pod=a_pod(
                phase="Failed",
                sync=ended(1, "", '{"reason":"InputNotFound","message":"s3://user-data/in/x"}'),
            )
        ),
        want="finish FAILED InputNotFound",
    ),
    Row(
        reason="A sync container that gives no reason has failed.",
        snapshot=a_snapshot(pod=a_pod(phase="Failed", sync=ended(1, "", "Traceback"))),
        want="finish FAILED SyncFailed",
    ),
    Row(
        reason="An unknown reason of a newer sync container is accepted.",
        snapshot=a_snapshot(pod=a_pod(sync=ended(1, "", '{"reason":"New","message":"m"}'))),
        want="finish FAILED SyncFailed",
    ),
    Row(
        reason="After a successful sync the pod continues.",
        snapshot=a_snapshot(pod=a_pod(sync=ended(0), agent=waiting()), age=1),
        want="wait 1 s",
    ),
    Row(
        reason="If the agent ends without a result, S3 is read.",
        snapshot=a_snapshot(pod=a_running_pod(agent=ended(1), sandbox=running())),
        want="read S3, else FAILED AgentFailed",
    ),
    Row(
        reason="A pod of a pool whose agent is deleted before it has its task is lost.",
        snapshot=a_snapshot(pod=a_claimed_pod(deleting=True, agent=ended(0), sandbox=running())),
        want="read S3, else FAILED PodLost",
    ),
    Row(
        reason="A pod of a pool whose agent ends by itself has a failed agent.",
        snapshot=a_snapshot(pod=a_claimed_pod(agent=ended(1), sandbox=running())),
        want="read S3, else FAILED AgentFailed",
    ),
    Row(
        reason="A malformed termination message is not a result.",
        snapshot=a_snapshot(pod=a_pod(phase="Failed", agent=ended(1, "", '{"attempt":'))),
        want="read S3, else FAILED AgentFailed",
    ),
    Row(
        reason="An evicted pod has the reason Evicted.",
        snapshot=a_snapshot(pod=a_pod(phase="Failed", reason="Evicted", message="low on disk")),
        want="read S3, else FAILED Evicted",
    ),
    Row(
        reason="A pod over its deadline has that reason, even if its agent ended.",
        snapshot=a_snapshot(pod=a_pod(phase="Failed", reason="DeadlineExceeded", agent=ended(137))),
        want="read S3, else FAILED DeadlineExceeded",
    ),
    Row(
        reason="A failed pod without a cause is lost.",
        snapshot=a_snapshot(pod=a_pod(phase="Failed")),
        want="read S3, else FAILED PodLost",
    ),
    Row(
        reason="A succeeded pod without a report is lost.",
        snapshot=a_snapshot(pod=a_pod(phase="Succeeded")),
        want="read S3, else FAILED PodLost",
    ),
]


ROWS += [
    # Stops: cancel, suspend, deadline.
    Row(
        reason="A job that is cancelled before it has a pod ends at once.",
        snapshot=a_snapshot(a_job(cancel=True)),
        want="finish FAILED Cancelled",
    ),
    Row(
        reason="The pod of a cancelled job is stopped.",
        snapshot=a_snapshot(a_job(cancel=True), a_running_pod()),
        want="stop the pod: Cancelled",
    ),
    Row(
        reason="The pod is stopped once; then the agent has time to store outputs.",
        snapshot=a_snapshot(a_job(cancel=True), a_running_pod(deleting=True)),
        want="wait 59 s",
    ),
    Row(
        reason="The agent reports the stop, and the operator adds the cause.",
        snapshot=a_snapshot(
            a_job(cancel=True), a_running_pod(deleting=True), a_report(a_stopped_result())
        ),
        want="finish FAILED Cancelled exit 143",
    ),
    Row(
        reason="Code that ended by itself before the stop keeps its own end.",
        snapshot=a_snapshot(a_job(cancel=True), a_running_pod(deleting=True), a_report()),
        want="finish SUCCESS Completed exit 0",
    ),
    Row(
        reason="A stopped pod that is gone may have stored its result.",
        snapshot=a_snapshot(a_job(cancel=True), gone=a_running_pod(deleting=True)),
        want="read S3, else FAILED Cancelled",
    ),
    Row(
        reason="A stopped pod whose agent ended without a report may have stored its result.",
        snapshot=a_snapshot(a_job(cancel=True), a_running_pod(agent=ended(1), deleting=True)),
        want="read S3, else FAILED Cancelled",
    ),
    Row(
        reason="A cancelled job whose pod is on a dead node ends.",
        snapshot=a_snapshot(a_job(cancel=True), a_running_pod(deleting=True), age=86_400),
        want="read S3, else FAILED Cancelled",
    ),
    Row(
        reason="A suspended job whose pod was on a dead node stays suspended.",
        snapshot=a_snapshot(a_job(suspend=True), a_running_pod(deleting=True), age=86_400),
        want="read S3, else FAILED Suspended",
    ),
    Row(
        reason="A cancelled job is not retried, even with a backoffLimit.",
        snapshot=a_snapshot(
            a_job(cancel=True, backoffLimit=5),
            a_running_pod(deleting=True),
            a_report(a_stopped_result()),
        ),
        want="finish FAILED Cancelled exit 143",
    ),
    Row(
        reason="A job that is cancelled between two attempts ends at once.",
        snapshot=a_snapshot(
            a_job(cancel=True, backoffLimit=5, status=retrying(an_attempt())), age=0.5
        ),
        want="finish FAILED Cancelled",
    ),
    Row(
        reason="Cancel wins over suspend.",
        snapshot=a_snapshot(a_job(cancel=True, suspend=True), a_running_pod()),
        want="stop the pod: Cancelled",
    ),
    Row(
        reason="A job that is created suspended gets no pod.",
        snapshot=a_snapshot(a_job(suspend=True)),
        want="write Suspended Suspended, then wait 60 s",
    ),
    Row(
        reason="The suspension is written once.",
        snapshot=a_snapshot(
            a_job(suspend=True, status={"phase": "Suspended", "reason": "Suspended"})
        ),
        want="wait 60 s",
    ),
    Row(
        reason="A resumed job gets its pod.",
        snapshot=a_snapshot(a_job(status={"phase": "Suspended", "reason": "Suspended"})),
        want="create pod of attempt 0",
    ),
    Row(
        reason="The pod of a suspended job is stopped.",
        snapshot=a_snapshot(a_job(suspend=True), a_running_pod()),
        want="stop the pod: Suspended",
    ),
    Row(
        reason="A suspension ends the attempt, not the job.",
        snapshot=a_snapshot(
            a_job(suspend=True), a_running_pod(deleting=True), a_report(a_stopped_result())
        ),
        want="suspend after FAILED Suspended exit 143, not counted",
    ),
    Row(
        reason="Code that ended by itself during the suspension has ended.",
        snapshot=a_snapshot(a_job(suspend=True), a_running_pod(deleting=True), a_report()),
        want="finish SUCCESS Completed exit 0",
    ),
    Row(
        reason="A stopped attempt of a resumed job is not a failure of the job.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Running", "reason": "Stopping"}),
            a_running_pod(deleting=True),
            a_report(a_stopped_result()),
        ),
        want="suspend after FAILED Suspended exit 143, not counted",
    ),
    Row(
        reason="The attempt after a suspension starts at once.",
        snapshot=a_snapshot(
            a_job(status=retrying(an_attempt(0, "Suspended", age=100, counted=False))), age=100
        ),
        want="create pod of attempt 1",
    ),
    Row(
        reason="A running pod is checked when the job's deadline is due.",
        snapshot=a_snapshot(
            a_job(activeDeadlineSeconds=30, status={"phase": "Running", "reason": "Executing"}),
            a_running_pod(),
            age=20,
        ),
        want="wait 10 s",
    ),
    Row(
        reason="A pod over the job's deadline is stopped.",
        snapshot=a_snapshot(a_job(activeDeadlineSeconds=30), a_running_pod(), age=30),
        want="stop the pod: DeadlineExceeded",
    ),
    Row(
        reason="The job's deadline gives FAILED, not TIMEOUT.",
        snapshot=a_snapshot(
            a_job(activeDeadlineSeconds=30, backoffLimit=5),
            a_running_pod(deleting=True),
            a_report(a_stopped_result()),
            age=31,
        ),
        want="finish FAILED DeadlineExceeded exit 143",
    ),
    Row(
        reason="The deadline starts at the first attempt.",
        snapshot=a_snapshot(
            a_job(activeDeadlineSeconds=30, backoffLimit=5, status=retrying(an_attempt(age=20))),
            a_running_pod(attempt=1, age=25),
            age=30,
        ),
        want="stop the pod: DeadlineExceeded",
    ),
    Row(
        reason="The deadline can end between two attempts.",
        snapshot=a_snapshot(
            a_job(activeDeadlineSeconds=30, backoffLimit=5, status=retrying(an_attempt(age=29))),
            age=30,
        ),
        want="finish FAILED DeadlineExceeded",
    ),
    Row(
        reason="A back-off between two attempts ends with the deadline.",
        snapshot=a_snapshot(
            a_job(
                activeDeadlineSeconds=30,
                backoffLimit=5,
                failurePolicy={"backoff": {"initialSeconds": 600, "maxSeconds": 600}},
                status=retrying(an_attempt(age=10)),
            ),
            age=20,
        ),
        want="wait 10 s",
    ),
    Row(
        reason="A suspended job has no deadline; it starts over after a resume.",
        snapshot=a_snapshot(
            a_job(
                activeDeadlineSeconds=30,
                status=retrying(an_attempt(0, "Suspended", age=10, counted=False)),
            ),
            age=500,
        ),
        want="create pod of attempt 1",
    ),
    # Retries.
    Row(
        reason="Without a backoffLimit, a failure ends the job.",
        snapshot=a_snapshot(pod=a_running_pod(), report=a_report(a_failed_result(3))),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="With a backoffLimit, a failure is counted and retried.",
        snapshot=a_snapshot(
            a_job(backoffLimit=1),
            a_running_pod(),
            a_report(a_failed_result(3)),
        ),
        want="retry after FAILED NonZeroExit exit 3, counted",
    ),
    Row(
        reason="A used-up backoffLimit ends the job.",
        snapshot=a_snapshot(
            a_job(backoffLimit=1, status=retrying(an_attempt())),
            a_running_pod(attempt=1),
            a_report(a_failed_result(3, attempt=1)),
        ),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="Attempts that do not count leave the backoffLimit unchanged.",
        snapshot=a_snapshot(
            a_job(backoffLimit=1, status=retrying(an_attempt(0, "Evicted", counted=False))),
            a_running_pod(attempt=1),
            a_report(a_failed_result(3, attempt=1)),
        ),
        want="retry after FAILED NonZeroExit exit 3, counted",
    ),
    Row(
        reason="A timeout is retried like any failure.",
        snapshot=a_snapshot(
            a_job(backoffLimit=1),
            a_running_pod(),
            a_report(a_result(status="TIMEOUT", exit_code=143, reason="ExecutionTimeout")),
        ),
        want="retry after TIMEOUT ExecutionTimeout exit 143, counted",
    ),
    Row(
        reason="A missing input is not retried.",
        snapshot=a_snapshot(
            a_job(backoffLimit=1),
            a_pod(sync=ended(1, "", '{"reason":"InputNotFound","message":"x"}')),
        ),
        want="finish FAILED InputNotFound",
    ),
    Row(
        reason="An outage of S3 is retried.",
        snapshot=a_snapshot(
            a_job(backoffLimit=1),
            a_pod(sync=ended(1, "", '{"reason":"StorageUnavailable","message":"x"}')),
        ),
        want="retry after FAILED StorageUnavailable, counted",
    ),
    Row(
        reason="A pod that found no node is retried.",
        snapshot=a_snapshot(
            a_job(backoffLimit=1), a_pod(unschedulable="0/3 nodes are available"), age=301
        ),
        want="retry after FAILED Unschedulable and remove the pod, counted",
    ),
    Row(
        reason="A retry with more memory does not count.",
        snapshot=a_snapshot(
            a_job(failurePolicy=MORE_MEMORY),
            a_running_pod(sandbox=ended(137, "OOMKilled")),
            a_report(a_failed_result(137, reason="Signaled")),
        ),
        want="retry after FAILED OOMKilled exit 137, not counted",
    ),
    Row(
        reason="Memory does not grow beyond its maximum.",
        snapshot=a_snapshot(
            a_job(failurePolicy=MORE_MEMORY),
            a_running_pod(sandbox=ended(137, "OOMKilled"), memory="1Gi"),
            a_report(a_failed_result(137, reason="Signaled")),
        ),
        want="finish FAILED OOMKilled exit 137",
    ),
    Row(
        reason="The back-off before the second attempt is waited for.",
        snapshot=a_snapshot(
            a_job(
                backoffLimit=1,
                failurePolicy={"backoff": {"initialSeconds": 10}},
                status=retrying(an_attempt(age=20)),
            ),
            age=22,
        ),
        want="wait 8 s",
    ),
    Row(
        reason="After the back-off, the second attempt gets its pod.",
        snapshot=a_snapshot(a_job(backoffLimit=1, status=retrying(an_attempt(age=20))), age=21),
        want="create pod of attempt 1",
    ),
    Row(
        reason="A preempted pod is retried without counting.",
        snapshot=a_snapshot(
            a_job(backoffLimit=1),
            a_running_pod(deleting=True, disrupted="PreemptionByScheduler"),
            a_report(a_stopped_result()),
        ),
        want="retry after FAILED Preempted exit 143, not counted",
    ),
    Row(
        reason="Without a backoffLimit a disruption is named.",
        snapshot=a_snapshot(
            pod=a_running_pod(deleting=True, disrupted="EvictionByEvictionAPI"),
            report=a_report(a_stopped_result()),
        ),
        want="finish FAILED Evicted exit 143",
    ),
    Row(
        reason="A pod that was deleted has the reason Terminated.",
        snapshot=a_snapshot(pod=a_running_pod(deleting=True), report=a_report(a_stopped_result())),
        want="finish FAILED Terminated exit 143",
    ),
    Row(
        reason="A pod that was deleted with its node has the reason NodeLost.",
        snapshot=a_snapshot(gone=a_running_pod(disrupted="DeletionByTaintManager")),
        want="read S3, else FAILED NodeLost",
    ),
    Row(
        reason="The kubelet stops a pod over its own deadline.",
        snapshot=a_snapshot(
            pod=a_pod(phase="Failed", reason="DeadlineExceeded", agent=running()),
            report=a_report(a_stopped_result()),
        ),
        want="finish FAILED DeadlineExceeded exit 143",
    ),
    # Rejections.
    Row(
        reason="A rejected pod is created again later, and the rejection is shown.",
        snapshot=a_snapshot(refused=(0, 1), age=1),
        want="write Pending PodRejected, then wait 2 s",
    ),
    Row(
        reason="The rejection is written once.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Pending", "reason": "PodRejected"}), refused=(0, 1), age=2
        ),
        want="wait 1 s",
    ),
    Row(
        reason="Two seconds after the last rejection, the next try is due.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Pending", "reason": "PodRejected"}), refused=(0, 1), age=3
        ),
        want="create pod of attempt 0",
    ),
    Row(
        reason="A rejection that lasts longer than the startup timeout ends the job.",
        snapshot=a_snapshot(
            a_job(status={"phase": "Pending", "reason": "PodRejected"}), refused=(0, 299), age=300
        ),
        want="finish FAILED PodRejected",
    ),
    Row(
        reason="A job with a rejected pod that is cancelled ends at once.",
        snapshot=a_snapshot(a_job(cancel=True), refused=(0, 1), age=1),
        want="finish FAILED Cancelled",
    ),
    # The runtime.
    Row(
        reason="An image without python3 is named before any code runs.",
        snapshot=a_snapshot(
            pod=a_pod(phase="Failed", check=ended(127, "StartError", "no python3"))
        ),
        want="finish FAILED RuntimeInvalid",
    ),
    # Time to live.
    Row(
        reason="A finished job without a time to live stays.",
        snapshot=a_snapshot(a_job(status={**DELIVERED, "completionTime": CREATED_TEXT}), age=1e9),
        want="nothing",
    ),
    Row(
        reason="A finished job with a time to live is checked when that ends.",
        snapshot=a_snapshot(
            a_job(
                ttlSecondsAfterFinished=100,
                status={**DELIVERED, "completionTime": CREATED_TEXT},
            ),
            age=30,
        ),
        want="wait 70 s",
    ),
    Row(
        reason="A finished job is deleted after its time to live.",
        snapshot=a_snapshot(
            a_job(
                ttlSecondsAfterFinished=100,
                status={**DELIVERED, "completionTime": CREATED_TEXT},
            ),
            age=100,
        ),
        want="delete the job",
    ),
    Row(
        reason="Without a time to live of its own, a finished job has the default.",
        snapshot=a_snapshot(
            a_job(status={**DELIVERED, "completionTime": CREATED_TEXT}), age=30, default_ttl=50
        ),
        want="wait 20 s",
    ),
    Row(
        reason="A finished job is deleted after the default time to live.",
        snapshot=a_snapshot(
            a_job(status={**DELIVERED, "completionTime": CREATED_TEXT}), age=50, default_ttl=50
        ),
        want="delete the job",
    ),
    Row(
        reason="The time to live of the spec wins over the default.",
        snapshot=a_snapshot(
            a_job(
                ttlSecondsAfterFinished=100,
                status={**DELIVERED, "completionTime": CREATED_TEXT},
            ),
            age=60,
            default_ttl=50,
        ),
        want="wait 40 s",
    ),
    Row(
        reason="A job that is to be kept has no default.",
        snapshot=a_snapshot(
            replace(a_job(status={**DELIVERED, "completionTime": CREATED_TEXT}), kept=True),
            age=1e9,
            default_ttl=50,
        ),
        want="nothing",
    ),
    Row(
        reason="The default deletes no job whose result Redis does not have.",
        snapshot=a_snapshot(
            a_job(status={**PENDING, "completionTime": CREATED_TEXT}), age=100, default_ttl=0
        ),
        want="deliver",
    ),
    Row(
        reason="The default deletes no job that has not finished.",
        snapshot=a_snapshot(pod=a_running_pod(), age=60, default_ttl=0),
        want="write Running Executing, then wait 60 s",
    ),
    Row(
        reason="A job whose result Redis does not have is not deleted.",
        snapshot=a_snapshot(
            a_job(ttlSecondsAfterFinished=0, status={**PENDING, "completionTime": CREATED_TEXT}),
            age=100,
        ),
        want="deliver",
    ),
    Row(
        reason="Cancelling a finished job changes nothing.",
        snapshot=a_snapshot(a_job(cancel=True, status=DELIVERED)),
        want="nothing",
    ),
]


def _param(row: Row) -> Any:
    marks = [pytest.mark.xfail(strict=True, reason=row.bug)] if row.bug else []
    return pytest.param(row, id=row.reason, marks=marks)


@pytest.mark.parametrize("row", [_param(row) for row in ROWS])
def test_the_state_table(row: Row) -> None:
    assert as_text(decide(row.snapshot)) == row.want, row.reason


def test_the_table_gives_each_reason_once() -> None:
    assert len({row.reason for row in ROWS}) == len(ROWS)


# Properties of every snapshot.

attempts = st.lists(
    st.tuples(st.sampled_from(["NonZeroExit", "Evicted", "Suspended", "OOMKilled"]), st.booleans()),
    max_size=4,
).map(
    lambda ends: [
        an_attempt(n, why, age=10 * n, counted=counted and why != "Suspended")
        for n, (why, counted) in enumerate(ends)
    ]
)
ENDS: list[Json] = [DELIVERED, PENDING, CONFLICT]
STATUSES: list[Json] = [
    {},
    {"phase": "Pending", "reason": "PodCreated"},
    {"phase": "Pending", "reason": "Retrying"},
    {"phase": "Running", "reason": "Executing"},
    {"phase": "Suspended", "reason": "Suspended"},
]
live_statuses = st.builds(
    lambda status, ended: {**status, "attempts": ended}, st.sampled_from(STATUSES), attempts
)


@st.composite
def jobs(draw: st.DrawFn, *, live: bool = False) -> Job:
    status = draw(live_statuses if live else live_statuses | st.sampled_from(ENDS))
    spec = draw(strategies.controls)
    if not live and not draw(st.booleans()):
        spec |= {"mode": "Dance"}
    deleting = not live and draw(st.booleans())
    return a_job(status=status, deleting=deleting, **spec)


any_reports = st.builds(
    lambda result, final: a_report(result, final=final),
    strategies.reported_results(),
    st.booleans(),
)
ages = st.floats(min_value=0, max_value=100_000)


@st.composite
def snapshots(draw: st.DrawFn, *, live: bool = False) -> Snapshot:
    """Any snapshot; ``live``: of a job that has a valid spec and has not ended."""
    report = draw(st.none() | any_reports)
    age = draw(ages)
    gone = draw(st.none() | strategies.pods)
    refused = draw(st.none() | st.tuples(st.floats(0, age), st.floats(0, age)).map(sorted))
    return Snapshot(
        job=draw(jobs(live=live)),
        pod=draw(st.none() | strategies.pods),
        gone=gone,
        had_pod=gone is not None or draw(st.booleans()),
        report=report,
        reported_at=None if report is None else CREATED + draw(st.floats(0, age)),
        rejection=Rejection("no", CREATED + refused[0], CREATED + refused[1]) if refused else None,
        wait_reason=draw(st.sampled_from(["", "full"])),
        default_ttl=draw(st.none() | st.integers(0, 1000)),
        now=CREATED + age,
    )


def next_action(snapshot: Snapshot, stored: wire.Result | None = None) -> actions.Action:
    """The action, after S3 was read if the decision asks for it."""
    action = decide(snapshot)
    return (
        recovered(snapshot, stored, action.fallback)
        if isinstance(action, actions.Recover)
        else action
    )


def patched(snapshot: Snapshot, status: Json) -> Snapshot:
    """The snapshot of the same job after a write of its status."""
    body = a_job_body(status={**snapshot.job.status, **status})
    job = replace(job_facts(body), model=snapshot.job.model, deleting=snapshot.job.deleting)
    return replace(snapshot, job=job)


@given(snapshots(), st.sampled_from(ENDS), st.none() | st.integers(0, 1000))
def test_a_finished_job_stays_finished(
    snapshot: Snapshot, status: Json, ended_age: int | None
) -> None:
    if ended_age is not None:
        status = {**status, "completionTime": time_text(ended_age)}
    finished = replace(snapshot, job=replace(snapshot.job, status=status))

    action = decide(finished)

    ttl = time_to_live(snapshot.job.ttl_seconds, snapshot.job.kept, snapshot.default_ttl)
    if ttl is None or ended_age is None or status == PENDING:
        assert isinstance(action, actions.Nothing | actions.Deliver)
    elif isinstance(action, actions.DeleteJob):
        assert snapshot.now >= CREATED + ended_age + ttl
    elif isinstance(action, actions.Wait):
        assert snapshot.now + action.seconds == pytest.approx(CREATED + ended_age + ttl)
    else:
        assert isinstance(action, actions.Nothing | actions.Deliver)


@given(snapshots())
def test_a_job_that_was_finished_by_a_decision_stays_finished(snapshot: Snapshot) -> None:
    action = next_action(snapshot)
    if isinstance(action, actions.Finish):
        status = final_status(
            snapshot.job,
            snapshot.known_pod,
            action.outcome,
            Delivery(state="Delivered"),
            snapshot.now,
        )
        assert isinstance(
            decide(patched(snapshot, status)), actions.Nothing | actions.Wait | actions.DeleteJob
        )


@given(snapshots(live=True))
def test_a_retry_leads_to_the_next_attempt(snapshot: Snapshot) -> None:
    action = next_action(snapshot)
    if isinstance(action, actions.Retry):
        status = retry_status(
            snapshot.job,
            snapshot.known_pod,
            action.outcome,
            action.counted,
            action.suspended,
            snapshot.now,
        )
        after = patched(snapshot, status)
        assert after.job.attempt == snapshot.job.attempt + 1
        assert not after.job.finished
        assert "podName" not in {k for k, v in status.items() if v is not None}
        fresh = replace(after, pod=None, gone=None, had_pod=False, report=None, rejection=None)
        assert isinstance(
            decide(fresh),
            actions.Wait | actions.Create | actions.Finish | actions.Progress | actions.Enqueue,
        )


@given(snapshots())
def test_the_same_snapshot_gives_the_same_action(snapshot: Snapshot) -> None:
    assert decide(snapshot) == decide(replace(snapshot))


@given(snapshots())
def test_an_attempt_that_had_a_pod_gets_no_second_one(snapshot: Snapshot) -> None:
    gone = replace(snapshot, pod=None, had_pod=True)

    assert not isinstance(next_action(gone), actions.Create)


@given(snapshots())
def test_a_pod_is_created_only_without_a_pod_and_a_report(
    snapshot: Snapshot,
) -> None:
    action = decide(snapshot)
    if isinstance(action, actions.Create):
        assert (snapshot.pod, snapshot.had_pod, snapshot.report, snapshot.wait_reason) == (
            None,
            False,
            None,
            "",
        )
        assert action.attempt == snapshot.job.attempt


@given(snapshots(live=True))
def test_a_job_that_must_stop_gets_no_pod(snapshot: Snapshot) -> None:
    assert snapshot.job.model is not None
    if snapshot.job.model.spec.cancel or snapshot.job.model.spec.suspend:
        assert not isinstance(next_action(snapshot), actions.Create)


@given(snapshots())
def test_a_restored_job_gets_no_pod(snapshot: Snapshot) -> None:
    held = replace(snapshot, job=replace(snapshot.job, restored="It has a label"))

    assert not isinstance(next_action(held), actions.Create | actions.Pin | actions.Enqueue)


@given(snapshots(live=True))
def test_a_cancelled_job_without_a_report_is_cancelled_and_not_retried(
    snapshot: Snapshot,
) -> None:
    assert snapshot.job.model is not None
    spec = snapshot.job.model.spec.model_copy(update={"cancel": True})
    model = snapshot.job.model.model_copy(update={"spec": spec})
    cancelled = replace(
        snapshot, job=replace(snapshot.job, model=model), report=None, reported_at=None, pod=None
    )

    action = next_action(replace(cancelled, gone=None))

    assert isinstance(action, actions.Finish)
    assert action.outcome.reason is Reason.CANCELLED


@given(snapshots())
def test_only_a_live_pod_that_is_not_under_deletion_is_stopped(snapshot: Snapshot) -> None:
    if isinstance(decide(snapshot), actions.Stop):
        assert snapshot.pod is not None
        assert not snapshot.pod.deleting
        assert not snapshot.pod.over


@given(snapshots(), st.none() | strategies.reported_results())
def test_a_success_is_never_retried(snapshot: Snapshot, stored: wire.Result | None) -> None:
    action = next_action(snapshot, stored)
    if isinstance(action, actions.Retry):
        assert not action.outcome.succeeded
        assert action.counted <= (not action.suspended)
        assert action.suspended or snapshot.job.attempt + 1 < MAX_ATTEMPTS
        counted = sum(a.counted for a in snapshot.job.attempts) + action.counted
        assert snapshot.job.model is not None
        before = sum(a.counted for a in snapshot.job.attempts)
        assert not action.counted or counted <= snapshot.job.model.spec.backoff_limit, before


@given(snapshots(live=True))
def test_a_live_job_always_has_a_next_check(snapshot: Snapshot) -> None:
    action = next_action(snapshot)
    if isinstance(action, actions.Enqueue):
        action = action.shown

    assert not isinstance(action, actions.Nothing | actions.Deliver | actions.DeleteJob)
    if isinstance(action, actions.Wait | actions.Progress):
        assert 0 < action.seconds <= 3600
        if snapshot.pod is not None or snapshot.had_pod:
            assert action.seconds <= 60


@given(snapshots(live=True), st.none() | strategies.reported_results())
def test_a_stored_result_of_another_attempt_is_a_mismatch(
    snapshot: Snapshot, stored: wire.Result | None
) -> None:
    fallback = failure(snapshot.job, Reason.POD_LOST)

    action = recovered(snapshot, stored, fallback)

    assert isinstance(action, actions.Finish | actions.Retry)
    if stored is None:
        assert action.outcome == fallback
    elif stored.attempt != snapshot.job.attempt:
        assert action.outcome.reason is Reason.RESULT_MISMATCH


def test_the_full_result_in_s3_wins_over_the_termination_message() -> None:
    short = a_report(a_result(stdout="the beg…"))
    snapshot = a_snapshot(pod=a_pod(phase="Succeeded", agent=ended(0, "", wire.dumps(short))))
    action = decide(snapshot)
    assert isinstance(action, actions.Recover)

    whole = recovered(snapshot, a_result(stdout="the beginning and the end"), action.fallback)
    alone = recovered(snapshot, None, action.fallback)

    assert isinstance(whole, actions.Finish)
    assert isinstance(alone, actions.Finish)
    assert whole.outcome.result.stdout == "the beginning and the end"
    assert alone.outcome.result.stdout == "the beg…"


def test_a_stored_result_that_was_stopped_gets_its_cause() -> None:
    snapshot = a_snapshot(a_job(cancel=True), had_pod=True)

    end = recovered(snapshot, a_stopped_result(), failure(snapshot.job, Reason.CANCELLED))

    assert as_text(end) == "finish FAILED Cancelled exit 143"


@given(strategies.pods, any_reports)
@example(a_running_pod(sandbox=ended(137)), a_report(a_result(exit_code=None)))
@settings(phases=[Phase.explicit, Phase.generate])
def test_no_success_contradicts_the_kubelets_exit_code(pod: Pod, report: wire.Report) -> None:
    assert_no_false_success(pod, report)


@given(strategies.pods)
def test_a_success_that_the_agent_reports_is_checked_against_the_kubelet(pod: Pod) -> None:
    assert_no_false_success(pod, a_report())


def assert_no_false_success(pod: Pod, report: wire.Report) -> None:
    action = decide(a_snapshot(pod=pod, report=report))

    kubelets = pod.container(names.CONTAINER_SANDBOX).ended
    if isinstance(action, actions.Finish) and action.outcome.succeeded and kubelets:
        assert kubelets.exit_code == 0


# Properties of every order of events.

Event = tuple[str, Json]  # ADDED, MODIFIED or DELETED, and the object


def _history(*pods: Json, vanishes: bool = False) -> list[Event]:
    """A job, the states of its pod with growing versions, and optionally its deletion."""
    events: list[Event] = [("ADDED", a_job_body(version=1))]
    for version, state in enumerate(pods, start=2):
        events.append(("MODIFIED", a_pod_body(version=version, **state)))
        if version == 3:
            progress = {"phase": "Pending", "reason": "PodCreated", "podName": "sales-5351954b-0"}
            events.append(("MODIFIED", a_job_body(version=90, status=progress)))
    if vanishes:
        events.append(("DELETED", a_pod_body(version=99, **pods[-1])))
    return events


HISTORIES = {
    "a termination message": _history(
        {},
        {"agent": running()},
        {"phase": "Running", "agent": running(), "sandbox": running()},
        {"phase": "Running", "agent": running(), "sandbox": ended(0)},
        {
            "phase": "Succeeded",
            "agent": ended(0, "", wire.dumps(a_report())),
            "sandbox": ended(0),
        },
    ),
    "out of memory": _history(
        {},
        {"phase": "Running", "agent": running(), "sandbox": running()},
        {"phase": "Running", "agent": running(), "sandbox": ended(137, "OOMKilled")},
        {
            "phase": "Failed",
            "agent": ended(0, "", wire.dumps(a_report(a_lost_result(), final=False))),
            "sandbox": ended(137, "OOMKilled"),
        },
    ),
    "missing input": _history(
        {},
        {"sync": running()},
        {"phase": "Failed", "sync": ended(1, "", '{"reason":"InputNotFound","message":"x"}')},
    ),
    "evicted and collected": _history(
        {}, {"agent": running()}, {"phase": "Failed", "reason": "Evicted"}, vanishes=True
    ),
    "still running": _history(
        {}, {"agent": running()}, {"phase": "Running", "agent": running(), "sandbox": running()}
    ),
}


def note(cache: JobCache, events: Sequence[Event]) -> None:
    """Put events into the cache, as the handlers do."""
    for kind, body in events:
        is_job = body["kind"] == names.KIND
        if kind == "DELETED":
            cache.drop_pod(body)
        else:
            (cache.put_job if is_job else cache.put_pod)(body)


def relist(cache: JobCache, events: Sequence[Event]) -> None:
    """Replace the cache with a LIST after all events."""
    job = [body for _, body in events if body["kind"] == names.KIND][-1]
    kind, pod = [(kind, body) for kind, body in events if body["kind"] == "Pod"][-1]
    cache.replace([job], [] if kind == "DELETED" else [pod], listed_at=1000)


def last_action(cache: JobCache) -> actions.Action:
    (uid,) = cache.uids()
    body = cache.job(uid)
    assert body is not None
    pod, gone = cache.pod(uid, 0), cache.gone(uid, 0)
    return decide(
        a_snapshot(
            job_facts(body),
            pod_facts(pod) if pod else None,
            gone=pod_facts(gone) if gone else None,
            had_pod=(body.get("status") or {}).get("podName") == POD_NAME,
            age=30,
        )
    )


def in_order(events: Sequence[Event]) -> actions.Action:
    cache = JobCache()
    note(cache, events)
    return last_action(cache)


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
@settings(max_examples=25)
@given(data=st.data())
def test_after_a_list_any_history_of_events_leads_to_the_same_action(
    events: list[Event], data: st.DataObject
) -> None:
    drawn = data.draw(st.lists(st.sampled_from(events), max_size=2 * len(events)))
    cache = JobCache()

    note(cache, drawn)
    relist(cache, events)

    assert last_action(cache) == in_order(events)


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
@settings(max_examples=25)
@given(data=st.data())
def test_repeated_events_change_nothing(events: list[Event], data: st.DataObject) -> None:
    objects = [event for event in events if event[0] != "DELETED"]
    again = data.draw(st.lists(st.sampled_from(objects), max_size=8))
    cache = JobCache()

    note(cache, [*objects, *again])

    assert last_action(cache) == in_order(objects)


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
@settings(max_examples=25)
@given(data=st.data())
def test_the_order_of_events_does_not_matter(events: list[Event], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations([e for e in events if e[0] != "DELETED"]))
    cache = JobCache()

    note(cache, shuffled)

    assert last_action(cache) == in_order([e for e in events if e[0] != "DELETED"])


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
def test_no_step_of_a_history_creates_a_second_pod(events: list[Event]) -> None:
    cache = JobCache()
    texts = []
    for event in events:
        note(cache, [event])
        texts.append(as_text(last_action(cache)))

    assert texts[0] == "create pod of attempt 0"
    assert not any("create" in text for text in texts[1:])


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
def test_an_end_is_never_revoked(events: list[Event]) -> None:
    cache = JobCache()
    ends = []
    for event in events:
        note(cache, [event])
        ends.append(isinstance(last_action(cache), actions.Finish | actions.Recover))

    assert all(later or not earlier for earlier, later in pairwise(ends))
