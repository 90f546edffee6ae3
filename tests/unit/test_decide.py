"""The state table row by row, then what holds for every view and every order of events."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_operator import jobstatus
from nanogrid_operator.actions import (
    Action,
    Create,
    DeleteJob,
    Deliver,
    Enqueue,
    Finish,
    Inspect,
    Nothing,
    Progress,
    Recover,
    Retry,
    Stop,
    Wait,
)
from nanogrid_operator.decide import decide, recovered
from nanogrid_operator.facts import Job, Pod, job_facts, pod_facts
from nanogrid_operator.outcome import Delivery, Outcome, failure
from nanogrid_operator.retry import MAX_ATTEMPTS
from nanogrid_operator.store import Rejection, Store
from nanogrid_operator.view import View
from unit import strategies
from unit.builders import (
    CREATED,
    CREATED_TEXT,
    POD_NAME,
    Json,
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
    a_view,
    an_attempt,
    ended,
    retrying,
    running,
    time_text,
    waiting,
)

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


def in_words(action: Action) -> str:
    """An action as the table writes it."""
    match action:
        case Create(attempt):
            return f"create pod of attempt {attempt}"
        case Wait(seconds):
            return f"wait {seconds:g} s"
        case Progress():
            return f"say {action.phase} {action.reason}, then wait {action.seconds:g} s"
        case Enqueue(shown):
            return f"queue up, {in_words(shown)}"
        case Stop(reason):
            return f"stop the pod: {reason}"
        case Finish() | Recover() | Retry():
            return _end_in_words(action)
    return {
        Inspect: "ask the pod's events",
        Deliver: "deliver",
        DeleteJob: "delete the job",
        Nothing: "nothing",
    }[type(action)]


def _end_in_words(action: Finish | Recover | Retry) -> str:
    match action:
        case Finish(end):
            return f"finish {_end(end)}"
        case Recover(end):
            return f"look into S3, else {_end(end)}"
        case Retry(end, counted, suspended):
            how = "suspend" if suspended else "retry"
            return f"{how} after {_end(end)}, {'counted' if counted else 'not counted'}"


def _end(end: Outcome) -> str:
    code = "" if end.result.exit_code is None else f" exit {end.result.exit_code}"
    return f"{end.result.status} {end.reason}{code}{' and remove the pod' * end.remove_pod}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the state table; ``bug`` says what is wrong as long as it does not hold."""

    reason: str
    view: View
    want: str
    bug: str = ""


ROWS = [
    Row(
        reason="A job under deletion takes its pod along.",
        view=a_view(a_job(deleting=True), None),
        want="nothing",
    ),
    Row(
        reason="A job under deletion is not finished any more, whatever was reported.",
        view=a_view(a_job(deleting=True), a_running_pod(), a_report()),
        want="nothing",
    ),
    Row(
        reason="A delivered job is done with, even if its pod says otherwise.",
        view=a_view(a_job(status=DELIVERED), a_pod(phase="Failed", agent=ended(1)), a_report()),
        want="nothing",
    ),
    Row(
        reason="A finished job whose pod is gone is still done with.",
        view=a_view(a_job(status=DELIVERED), had_pod=True),
        want="nothing",
    ),
    Row(
        reason="A result that Redis did not take is delivered later.",
        view=a_view(a_job(status=PENDING)),
        want="deliver",
    ),
    Row(
        reason="A requestId that belongs to another job stays a conflict.",
        view=a_view(a_job(status=CONFLICT)),
        want="nothing",
    ),
    Row(
        reason="A finished job under deletion is not delivered.",
        view=a_view(a_job(status=PENDING, deleting=True)),
        want="nothing",
    ),
    Row(
        reason="A spec that cannot be read fails before anything is created.",
        view=a_view(a_job(mode="Dance")),
        want="finish FAILED InvalidSpec",
    ),
    Row(
        reason="A new job gets its pod.",
        view=a_view(),
        want="create pod of attempt 0",
    ),
    Row(
        reason="Without a place for its pod a job queues up; the first seconds cost no write.",
        view=a_view(age=1, crowded="full"),
        want="queue up, wait 3 s",
    ),
    Row(
        reason="A job that queues for longer says so.",
        view=a_view(age=4, crowded="full"),
        want="queue up, say Pending Queued, then wait 300 s",
    ),
    Row(
        reason="That it queues is said once, however long it does.",
        view=a_view(a_job(status={"phase": "Pending", "reason": "Queued"}), age=64, crowded="full"),
        want="queue up, wait 300 s",
    ),
    Row(
        reason="The next attempt queues as well; its first seconds are its own.",
        view=a_view(
            a_job(
                backoffLimit=3,
                failurePolicy={"backoff": {"initialSeconds": 0}},
                status=retrying(an_attempt(0, "NonZeroExit", age=100)),
            ),
            age=101,
            crowded="full",
        ),
        want="queue up, wait 3 s",
    ),
    Row(
        reason="A job that has a pod has its place.",
        view=a_view(pod=a_pod(), age=0.5, crowded="full"),
        want="wait 3.5 s",
    ),
    Row(
        reason="A job that queues can be cancelled.",
        view=a_view(a_job(cancel=True), age=64, crowded="full"),
        want="finish FAILED Cancelled",
    ),
    Row(
        reason="A job that is suspended while it queues leaves the queue.",
        view=a_view(a_job(suspend=True), age=64, crowded="full"),
        want="say Suspended Suspended, then wait 60 s",
    ),
    Row(
        reason="In the queue no time for the start runs, whatever the API server said before.",
        view=a_view(age=400, refused=(1, 3), crowded="full"),
        want="queue up, say Pending Queued, then wait 300 s",
    ),
    Row(
        reason="A young pod costs no status write.",
        view=a_view(pod=a_pod(), age=0.5),
        want="wait 3.5 s",
    ),
    Row(
        reason="A pod that starts as pods do is not worth a word.",
        view=a_view(pod=a_pod(), age=3),
        want="wait 1 s",
    ),
    Row(
        reason="A pod that is not up after 4 s is asked why: its events are ahead of its status.",
        view=a_view(pod=a_pod(), age=4),
        want="ask the pod's events",
    ),
    Row(
        reason="They know nothing; it is slow.",
        view=a_view(pod=a_pod(), age=4, inspected_age=4),
        want="say Pending PodCreated, then wait 10 s",
    ),
    Row(
        reason="They know why.",
        view=a_view(
            pod=a_pod(),
            age=4,
            inspected_age=4,
            warning=(Reason.IMAGE_PULL_FAILED, "no such host"),
        ),
        want="say Pending ImagePullFailed, then wait 10 s",
    ),
    Row(
        reason="They are asked again after a while.",
        view=a_view(pod=a_pod(), age=14, inspected_age=4),
        want="ask the pod's events",
    ),
    Row(
        reason="What they said holds at the deadline.",
        view=a_view(
            pod=a_pod(),
            age=301,
            inspected_age=295,
            warning=(Reason.IMAGE_PULL_FAILED, "no such host"),
        ),
        want="finish FAILED ImagePullFailed and remove the pod",
    ),
    Row(
        reason="Nothing is said twice.",
        view=a_view(
            a_job(status={"phase": "Pending", "reason": "PodCreated"}),
            a_pod(),
            age=6,
            inspected_age=4,
        ),
        want="wait 10 s",
    ),
    Row(
        reason="Inputs are being copied.",
        view=a_view(pod=a_pod(sync=running()), age=3),
        want="say Syncing Syncing, then wait 60 s",
    ),
    Row(
        reason="Inputs are in place, and the sandbox follows within a second.",
        view=a_view(pod=a_pod(sync=ended(0), agent=waiting()), age=3),
        want="say Syncing Syncing, then wait 60 s",
    ),
    Row(
        reason="What kept the pod from starting is remembered between two tries of the kubelet.",
        view=a_view(
            a_job(status={"phase": "Pending", "reason": "ImagePullFailed"}),
            a_pod(),
            age=9,
            inspected_age=4,
        ),
        want="wait 10 s",
    ),
    Row(
        reason="At the deadline, too.",
        view=a_view(
            a_job(status={"phase": "Pending", "reason": "ImagePullFailed"}), a_pod(), age=301
        ),
        want="finish FAILED ImagePullFailed and remove the pod",
    ),
    Row(
        reason="The code runs.",
        view=a_view(
            a_job(status={"phase": "Syncing", "reason": "Syncing"}), a_running_pod(), age=9
        ),
        want="say Running Executing, then wait 60 s",
    ),
    Row(
        reason="Code that runs has no startup deadline.",
        view=a_view(
            a_job(status={"phase": "Running", "reason": "Executing"}), a_running_pod(), age=4000
        ),
        want="wait 60 s",
    ),
    Row(
        reason="The startup deadline is looked at on time.",
        view=a_view(
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
        reason="A pod that finds no node says so before its deadline.",
        view=a_view(pod=a_pod(unschedulable="0/3 nodes are available"), age=250),
        want="say Pending Unschedulable, then wait 50 s",
    ),
    Row(
        reason="An image that cannot be pulled is named before the deadline, too.",
        view=a_view(pod=a_pod(agent=running(), sandbox=waiting("ImagePullBackOff")), age=5),
        want="say Pending ImagePullFailed, then wait 60 s",
    ),
    Row(
        reason="A pod without a node ends at its startup deadline.",
        view=a_view(pod=a_pod(unschedulable="0/3 nodes are available"), age=301),
        want="finish FAILED Unschedulable and remove the pod",
    ),
    Row(
        reason="So does one whose image cannot be pulled.",
        view=a_view(pod=a_pod(agent=waiting("ErrImagePull")), age=301),
        want="finish FAILED ImagePullFailed and remove the pod",
    ),
    Row(
        reason="So does one that lacks its Secret.",
        view=a_view(pod=a_pod(agent=waiting("CreateContainerConfigError")), age=301),
        want="finish FAILED ConfigError and remove the pod",
    ),
    Row(
        reason="And one that does not say what it waits for.",
        view=a_view(pod=a_pod(), age=301),
        want="finish FAILED StartupTimeout and remove the pod",
    ),
    Row(
        reason="Copying inputs may take longer than starting.",
        view=a_view(
            a_job(status={"phase": "Syncing", "reason": "Syncing"}), a_pod(sync=running()), age=900
        ),
        want="wait 60 s",
    ),
    Row(
        reason="Code whose inputs took longer than the startup may still start.",
        view=a_view(pod=a_pod(sync=ended(0, age=480), agent=waiting(), sandbox=waiting()), age=500),
        want="say Syncing Syncing, then wait 60 s",
    ),
    Row(
        reason="It is overdue when it does not start within that time from then on.",
        view=a_view(pod=a_pod(sync=ended(0, age=480), agent=waiting()), age=780),
        want="finish FAILED StartupTimeout and remove the pod",
    ),
    Row(
        reason="A pushed result ends the job.",
        view=a_view(pod=a_running_pod(), report=a_report()),
        want="finish SUCCESS Completed exit 0",
    ),
    Row(
        reason="So does one in the agent's termination message; S3 has it whole.",
        view=a_view(pod=a_pod(phase="Succeeded", agent=ended(0, "", wire.dumps(a_report())))),
        want="look into S3, else SUCCESS Completed exit 0",
    ),
    Row(
        reason="The pushed result is whole; the termination message is cut short.",
        view=a_view(
            pod=a_pod(agent=ended(0, "", wire.dumps(a_report()))),
            report=a_report(a_failed_result(3)),
        ),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="A result counts even if the pod has gone since.",
        view=a_view(report=a_report(), had_pod=True),
        want="finish SUCCESS Completed exit 0",
    ),
    Row(
        reason="The execution timeout is the one reason for TIMEOUT.",
        view=a_view(
            pod=a_running_pod(),
            report=a_report(a_result(status="TIMEOUT", exit_code=143, reason="ExecutionTimeout")),
        ),
        want="finish TIMEOUT ExecutionTimeout exit 143",
    ),
    Row(
        reason="The kubelet agrees.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(3)), report=a_report(a_failed_result(3)), age=9
        ),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="The kubelet contradicts a success.",
        view=a_view(pod=a_running_pod(sandbox=ended(1)), report=a_report()),
        want="finish FAILED ResultMismatch exit 0",
    ),
    Row(
        reason="The kubelet knows better why the code was killed.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(137, "OOMKilled")),
            report=a_report(a_failed_result(137, reason="Signaled", signal="SIGKILL")),
        ),
        want="finish FAILED OOMKilled exit 137",
    ),
    Row(
        reason="A success without an exit code is contradicted by any but 0.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(137)), report=a_report(a_result(exit_code=None))
        ),
        want="finish FAILED ResultMismatch",
    ),
    Row(
        reason="A success with another exit code than 0 contradicts itself.",
        view=a_view(pod=a_running_pod(), report=a_report(a_result(exit_code=3))),
        want="finish FAILED ResultMismatch exit 3",
    ),
    Row(
        reason="A report about another job is not believed.",
        view=a_view(
            pod=a_running_pod(),
            report=a_report(a_result(job=wire.JobRef(namespace="b", name="b", uid="other"))),
        ),
        want="finish FAILED ResultMismatch",
    ),
    Row(
        reason="A report about another request is not believed.",
        view=a_view(pod=a_running_pod(), report=a_report(a_result(request_id="other"))),
        want="finish FAILED ResultMismatch",
    ),
    Row(
        reason="Nor is an unfinished one.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(1)),
            report=a_report(a_lost_result(request_id="other"), final=False),
        ),
        want="finish FAILED ResultMismatch",
    ),
    Row(
        reason="A reason of a newer agent is no harm to an older operator.",
        view=a_view(
            pod=a_running_pod(), report=a_report(a_failed_result(3, reason="QuotaOfTomorrow"))
        ),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="The agent saw the sandbox vanish; the kubelet has 10 s to say why.",
        view=a_view(pod=a_running_pod(), report=a_report(a_lost_result(), final=False), age=5),
        want="wait 10 s",
    ),
    Row(
        reason="It has what is left of them.",
        view=a_view(
            pod=a_running_pod(),
            report=a_report(a_lost_result(), final=False),
            age=9,
            reported_age=5,
        ),
        want="wait 6 s",
    ),
    Row(
        reason="The kubelet says it was the memory limit.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(137, "OOMKilled")),
            report=a_report(a_lost_result(), final=False),
        ),
        want="finish FAILED OOMKilled exit 137",
    ),
    Row(
        reason="The kubelet says it was something else.",
        view=a_view(
            pod=a_running_pod(sandbox=ended(1)), report=a_report(a_lost_result(), final=False)
        ),
        want="finish FAILED SandboxLost exit 1",
    ),
    Row(
        reason="The kubelet never said anything.",
        view=a_view(
            pod=a_running_pod(),
            report=a_report(a_lost_result(), final=False),
            age=15,
            reported_age=5,
        ),
        want="finish FAILED SandboxLost",
    ),
    Row(
        reason="The pod went before the kubelet could say anything.",
        view=a_view(report=a_report(a_lost_result(), final=False), had_pod=True),
        want="finish FAILED SandboxLost",
    ),
    Row(
        reason="A vanished pod is not created again; its result may be in S3.",
        view=a_view(had_pod=True),
        want="look into S3, else FAILED PodLost",
    ),
    Row(
        reason="A pod under deletion may still report.",
        view=a_view(
            a_job(status={"phase": "Running", "reason": "Executing"}),
            a_running_pod(deleting=True),
            age=20,
        ),
        want="wait 40 s",
    ),
    Row(
        reason="A pod on a dead node is under deletion for ever; a day later nobody waits for it.",
        view=a_view(
            a_job(status={"phase": "Running", "reason": "Executing"}),
            a_running_pod(deleting=True),
            age=86_400,
        ),
        want="look into S3, else FAILED PodLost",
    ),
    Row(
        reason="The sync names its reason.",
        view=a_view(
            pod=a_pod(
                phase="Failed",
                sync=ended(1, "", '{"reason":"InputNotFound","message":"s3://user-data/in/x"}'),
            )
        ),
        want="finish FAILED InputNotFound",
    ),
    Row(
        reason="A sync that dies without a word is named as well.",
        view=a_view(pod=a_pod(phase="Failed", sync=ended(1, "", "Traceback"))),
        want="finish FAILED SyncFailed",
    ),
    Row(
        reason="A reason of a newer sync is no harm.",
        view=a_view(pod=a_pod(sync=ended(1, "", '{"reason":"New","message":"m"}'))),
        want="finish FAILED SyncFailed",
    ),
    Row(
        reason="A sync that did well is followed by the rest.",
        view=a_view(pod=a_pod(sync=ended(0), agent=waiting()), age=1),
        want="wait 1 s",
    ),
    Row(
        reason="An agent that ends without a result leaves S3 to be asked.",
        view=a_view(pod=a_running_pod(agent=ended(1), sandbox=running())),
        want="look into S3, else FAILED AgentFailed",
    ),
    Row(
        reason="An unreadable termination message is no result.",
        view=a_view(pod=a_pod(phase="Failed", agent=ended(1, "", '{"attempt":'))),
        want="look into S3, else FAILED AgentFailed",
    ),
    Row(
        reason="An evicted pod is named so.",
        view=a_view(pod=a_pod(phase="Failed", reason="Evicted", message="low on disk")),
        want="look into S3, else FAILED Evicted",
    ),
    Row(
        reason="So is one that outlived its deadline, though its agent ended, too.",
        view=a_view(pod=a_pod(phase="Failed", reason="DeadlineExceeded", agent=ended(137))),
        want="look into S3, else FAILED DeadlineExceeded",
    ),
    Row(
        reason="A failed pod that says nothing is lost.",
        view=a_view(pod=a_pod(phase="Failed")),
        want="look into S3, else FAILED PodLost",
    ),
    Row(
        reason="A pod that did well and told nothing is lost, too.",
        view=a_view(pod=a_pod(phase="Succeeded")),
        want="look into S3, else FAILED PodLost",
    ),
]


ROWS += [
    # Stopped: cancel, suspend, deadline.
    Row(
        reason="A job that is cancelled before it has a pod ends without one.",
        view=a_view(a_job(cancel=True)),
        want="finish FAILED Cancelled",
    ),
    Row(
        reason="A pod of a cancelled job is told to stop.",
        view=a_view(a_job(cancel=True), a_running_pod()),
        want="stop the pod: Cancelled",
    ),
    Row(
        reason="It is told once; then its agent stores what there is.",
        view=a_view(a_job(cancel=True), a_running_pod(deleting=True)),
        want="wait 59 s",
    ),
    Row(
        reason="The agent says that it was stopped, and the operator why.",
        view=a_view(a_job(cancel=True), a_running_pod(deleting=True), a_report(a_stopped_result())),
        want="finish FAILED Cancelled exit 143",
    ),
    Row(
        reason="Code that ended by itself before the stop has its own end.",
        view=a_view(a_job(cancel=True), a_running_pod(deleting=True), a_report()),
        want="finish SUCCESS Completed exit 0",
    ),
    Row(
        reason="A cancelled pod that is gone may have stored its result.",
        view=a_view(a_job(cancel=True), gone=a_running_pod(deleting=True)),
        want="look into S3, else FAILED Cancelled",
    ),
    Row(
        reason="So may one whose agent ended without a word.",
        view=a_view(a_job(cancel=True), a_running_pod(agent=ended(1), deleting=True)),
        want="look into S3, else FAILED Cancelled",
    ),
    Row(
        reason="A cancelled job with a pod on a dead node ends one day.",
        view=a_view(a_job(cancel=True), a_running_pod(deleting=True), age=86_400),
        want="look into S3, else FAILED Cancelled",
    ),
    Row(
        reason="A suspended job whose pod was on a dead node has not failed.",
        view=a_view(a_job(suspend=True), a_running_pod(deleting=True), age=86_400),
        want="look into S3, else FAILED Suspended",
    ),
    Row(
        reason="A cancelled job is not tried again, however much it may be.",
        view=a_view(
            a_job(cancel=True, backoffLimit=5),
            a_running_pod(deleting=True),
            a_report(a_stopped_result()),
        ),
        want="finish FAILED Cancelled exit 143",
    ),
    Row(
        reason="A job that is cancelled between two attempts does not wait for the next.",
        view=a_view(a_job(cancel=True, backoffLimit=5, status=retrying(an_attempt())), age=0.5),
        want="finish FAILED Cancelled",
    ),
    Row(
        reason="Cancel wins over suspend.",
        view=a_view(a_job(cancel=True, suspend=True), a_running_pod()),
        want="stop the pod: Cancelled",
    ),
    Row(
        reason="A job that is born suspended gets no pod and says so.",
        view=a_view(a_job(suspend=True)),
        want="say Suspended Suspended, then wait 60 s",
    ),
    Row(
        reason="It says so once.",
        view=a_view(a_job(suspend=True, status={"phase": "Suspended", "reason": "Suspended"})),
        want="wait 60 s",
    ),
    Row(
        reason="A job that is resumed gets its pod.",
        view=a_view(a_job(status={"phase": "Suspended", "reason": "Suspended"})),
        want="create pod of attempt 0",
    ),
    Row(
        reason="A pod of a suspended job is stopped.",
        view=a_view(a_job(suspend=True), a_running_pod()),
        want="stop the pod: Suspended",
    ),
    Row(
        reason="Its end is that of an attempt, not of the job.",
        view=a_view(
            a_job(suspend=True), a_running_pod(deleting=True), a_report(a_stopped_result())
        ),
        want="suspend after FAILED Suspended exit 143, not counted",
    ),
    Row(
        reason="Code that ended by itself while it was being suspended has ended.",
        view=a_view(a_job(suspend=True), a_running_pod(deleting=True), a_report()),
        want="finish SUCCESS Completed exit 0",
    ),
    Row(
        reason="A stopped attempt of a job that was resumed meanwhile is not the job's failure.",
        view=a_view(
            a_job(status={"phase": "Running", "reason": "Stopping"}),
            a_running_pod(deleting=True),
            a_report(a_stopped_result()),
        ),
        want="suspend after FAILED Suspended exit 143, not counted",
    ),
    Row(
        reason="The attempt after a suspension starts at once.",
        view=a_view(
            a_job(status=retrying(an_attempt(0, "Suspended", age=100, counted=False))), age=100
        ),
        want="create pod of attempt 1",
    ),
    Row(
        reason="A pod that runs is looked at when the job's deadline is due.",
        view=a_view(
            a_job(activeDeadlineSeconds=30, status={"phase": "Running", "reason": "Executing"}),
            a_running_pod(),
            age=20,
        ),
        want="wait 10 s",
    ),
    Row(
        reason="Beyond it, it is stopped.",
        view=a_view(a_job(activeDeadlineSeconds=30), a_running_pod(), age=30),
        want="stop the pod: DeadlineExceeded",
    ),
    Row(
        reason="That is no TIMEOUT, which only the execution timeout gives.",
        view=a_view(
            a_job(activeDeadlineSeconds=30, backoffLimit=5),
            a_running_pod(deleting=True),
            a_report(a_stopped_result()),
            age=31,
        ),
        want="finish FAILED DeadlineExceeded exit 143",
    ),
    Row(
        reason="The deadline counts from the first attempt on.",
        view=a_view(
            a_job(activeDeadlineSeconds=30, backoffLimit=5, status=retrying(an_attempt(age=20))),
            a_running_pod(attempt=1, age=25),
            age=30,
        ),
        want="stop the pod: DeadlineExceeded",
    ),
    Row(
        reason="It is over between two attempts, too.",
        view=a_view(
            a_job(activeDeadlineSeconds=30, backoffLimit=5, status=retrying(an_attempt(age=29))),
            age=30,
        ),
        want="finish FAILED DeadlineExceeded",
    ),
    Row(
        reason="A pause between two attempts ends with the deadline.",
        view=a_view(
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
        reason="A suspended job has no deadline; it begins anew when it is resumed.",
        view=a_view(
            a_job(
                activeDeadlineSeconds=30,
                status=retrying(an_attempt(0, "Suspended", age=10, counted=False)),
            ),
            age=500,
        ),
        want="create pod of attempt 1",
    ),
    # Tried again.
    Row(
        reason="Without backoffLimit, a failure is the end.",
        view=a_view(pod=a_running_pod(), report=a_report(a_failed_result(3))),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="With one, a failure counts and is followed by another attempt.",
        view=a_view(
            a_job(backoffLimit=1),
            a_running_pod(),
            a_report(a_failed_result(3)),
        ),
        want="retry after FAILED NonZeroExit exit 3, counted",
    ),
    Row(
        reason="A limit that is used up is the end.",
        view=a_view(
            a_job(backoffLimit=1, status=retrying(an_attempt())),
            a_running_pod(attempt=1),
            a_report(a_failed_result(3, attempt=1)),
        ),
        want="finish FAILED NonZeroExit exit 3",
    ),
    Row(
        reason="What did not count leaves the limit as it was.",
        view=a_view(
            a_job(backoffLimit=1, status=retrying(an_attempt(0, "Evicted", counted=False))),
            a_running_pod(attempt=1),
            a_report(a_failed_result(3, attempt=1)),
        ),
        want="retry after FAILED NonZeroExit exit 3, counted",
    ),
    Row(
        reason="A timeout may be tried again like any failure.",
        view=a_view(
            a_job(backoffLimit=1),
            a_running_pod(),
            a_report(a_result(status="TIMEOUT", exit_code=143, reason="ExecutionTimeout")),
        ),
        want="retry after TIMEOUT ExecutionTimeout exit 143, counted",
    ),
    Row(
        reason="An input that is not there will not be there next time.",
        view=a_view(
            a_job(backoffLimit=1),
            a_pod(sync=ended(1, "", '{"reason":"InputNotFound","message":"x"}')),
        ),
        want="finish FAILED InputNotFound",
    ),
    Row(
        reason="An S3 that did not answer may.",
        view=a_view(
            a_job(backoffLimit=1),
            a_pod(sync=ended(1, "", '{"reason":"StorageUnavailable","message":"x"}')),
        ),
        want="retry after FAILED StorageUnavailable, counted",
    ),
    Row(
        reason="A pod that found no node in time may next time.",
        view=a_view(a_job(backoffLimit=1), a_pod(unschedulable="0/3 nodes are available"), age=301),
        want="retry after FAILED Unschedulable and remove the pod, counted",
    ),
    Row(
        reason="Memory grows when the policy says so, and that does not count.",
        view=a_view(
            a_job(failurePolicy=MORE_MEMORY),
            a_running_pod(sandbox=ended(137, "OOMKilled")),
            a_report(a_failed_result(137, reason="Signaled")),
        ),
        want="retry after FAILED OOMKilled exit 137, not counted",
    ),
    Row(
        reason="It does not grow beyond its bound.",
        view=a_view(
            a_job(failurePolicy=MORE_MEMORY),
            a_running_pod(sandbox=ended(137, "OOMKilled"), memory="1Gi"),
            a_report(a_failed_result(137, reason="Signaled")),
        ),
        want="finish FAILED OOMKilled exit 137",
    ),
    Row(
        reason="The pause before the second attempt is kept.",
        view=a_view(
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
        reason="After it, the second attempt gets its pod.",
        view=a_view(a_job(backoffLimit=1, status=retrying(an_attempt(age=20))), age=21),
        want="create pod of attempt 1",
    ),
    Row(
        reason="A pod that the scheduler preempted is tried again without counting.",
        view=a_view(
            a_job(backoffLimit=1),
            a_running_pod(deleting=True, disrupted="PreemptionByScheduler"),
            a_report(a_stopped_result()),
        ),
        want="retry after FAILED Preempted exit 143, not counted",
    ),
    Row(
        reason="Without backoffLimit it is named all the same.",
        view=a_view(
            pod=a_running_pod(deleting=True, disrupted="EvictionByEvictionAPI"),
            report=a_report(a_stopped_result()),
        ),
        want="finish FAILED Evicted exit 143",
    ),
    Row(
        reason="A pod that somebody deleted was terminated.",
        view=a_view(pod=a_running_pod(deleting=True), report=a_report(a_stopped_result())),
        want="finish FAILED Terminated exit 143",
    ),
    Row(
        reason="A pod that vanished with its node was lost with it.",
        view=a_view(gone=a_running_pod(disrupted="DeletionByTaintManager")),
        want="look into S3, else FAILED NodeLost",
    ),
    Row(
        reason="A pod over its own deadline was stopped by the kubelet.",
        view=a_view(
            pod=a_pod(phase="Failed", reason="DeadlineExceeded", agent=running()),
            report=a_report(a_stopped_result()),
        ),
        want="finish FAILED DeadlineExceeded exit 143",
    ),
    # Refused.
    Row(
        reason="A pod that the API server refuses is asked for again, and people are told.",
        view=a_view(refused=(0, 1), age=1),
        want="say Pending PodRejected, then wait 2 s",
    ),
    Row(
        reason="They are told once.",
        view=a_view(
            a_job(status={"phase": "Pending", "reason": "PodRejected"}), refused=(0, 1), age=2
        ),
        want="wait 1 s",
    ),
    Row(
        reason="Two seconds after the last refusal, the next try is due.",
        view=a_view(
            a_job(status={"phase": "Pending", "reason": "PodRejected"}), refused=(0, 1), age=3
        ),
        want="create pod of attempt 0",
    ),
    Row(
        reason="A pod that is refused for longer than it may take to start is the end.",
        view=a_view(
            a_job(status={"phase": "Pending", "reason": "PodRejected"}), refused=(0, 299), age=300
        ),
        want="finish FAILED PodRejected",
    ),
    Row(
        reason="A refused job that is cancelled ends at once.",
        view=a_view(a_job(cancel=True), refused=(0, 1), age=1),
        want="finish FAILED Cancelled",
    ),
    # The runtime.
    Row(
        reason="An image without python3 is named before any code runs.",
        view=a_view(pod=a_pod(phase="Failed", check=ended(127, "StartError", "no python3"))),
        want="finish FAILED RuntimeInvalid",
    ),
    # Time to live.
    Row(
        reason="A finished job without a time to live stays.",
        view=a_view(a_job(status={**DELIVERED, "completionTime": CREATED_TEXT}), age=1e9),
        want="nothing",
    ),
    Row(
        reason="One with a time to live is looked at when it is over.",
        view=a_view(
            a_job(
                ttlSecondsAfterFinished=100,
                status={**DELIVERED, "completionTime": CREATED_TEXT},
            ),
            age=30,
        ),
        want="wait 70 s",
    ),
    Row(
        reason="Then it is deleted.",
        view=a_view(
            a_job(
                ttlSecondsAfterFinished=100,
                status={**DELIVERED, "completionTime": CREATED_TEXT},
            ),
            age=100,
        ),
        want="delete the job",
    ),
    Row(
        reason="A result that Redis does not have yet is not deleted.",
        view=a_view(
            a_job(ttlSecondsAfterFinished=0, status={**PENDING, "completionTime": CREATED_TEXT}),
            age=100,
        ),
        want="deliver",
    ),
    Row(
        reason="A job that is cancelled after its end has ended as it did.",
        view=a_view(a_job(cancel=True, status=DELIVERED)),
        want="nothing",
    ),
]


def _param(row: Row) -> Any:
    marks = [pytest.mark.xfail(strict=True, reason=row.bug)] if row.bug else []
    return pytest.param(row, id=row.reason, marks=marks)


@pytest.mark.parametrize("row", [_param(row) for row in ROWS])
def test_the_state_table(row: Row) -> None:
    assert in_words(decide(row.view)) == row.want, row.reason


def test_the_table_gives_each_reason_once() -> None:
    assert len({row.reason for row in ROWS}) == len(ROWS)


# What holds for every view.

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


told = st.builds(
    lambda result, final: a_report(result, final=final), strategies.told_results(), st.booleans()
)
ages = st.floats(min_value=0, max_value=100_000)


@st.composite
def views(draw: st.DrawFn, *, live: bool = False) -> View:
    """What the operator may see; ``live``: of a job whose spec is valid and that has not ended."""
    report = draw(st.none() | told)
    age = draw(ages)
    gone = draw(st.none() | strategies.pods)
    refused = draw(st.none() | st.tuples(st.floats(0, age), st.floats(0, age)).map(sorted))
    return View(
        job=draw(jobs(live=live)),
        pod=draw(st.none() | strategies.pods),
        gone=gone,
        had_pod=gone is not None or draw(st.booleans()),
        report=report,
        reported_at=None if report is None else CREATED + draw(st.floats(0, age)),
        rejection=Rejection("no", CREATED + refused[0], CREATED + refused[1]) if refused else None,
        crowded=draw(st.sampled_from(["", "full"])),
        now=CREATED + age,
    )


def next_action(view: View, stored: wire.Result | None = None) -> Action:
    """The action after a look into S3, if one is called for."""
    action = decide(view)
    return recovered(view, stored, action.fallback) if isinstance(action, Recover) else action


def patched(view: View, status: Json) -> View:
    """The view of the same job after a write of its status."""
    body = a_job_body(status={**view.job.status, **status})
    job = replace(job_facts(body), model=view.job.model, deleting=view.job.deleting)
    return replace(view, job=job)


@given(views(), st.sampled_from(ENDS), st.none() | st.integers(0, 1000))
def test_terminal_is_absorbing(view: View, status: Json, ended_age: int | None) -> None:
    if ended_age is not None:
        status = {**status, "completionTime": time_text(ended_age)}
    finished = replace(view, job=replace(view.job, status=status))

    action = decide(finished)

    ttl = view.job.ttl_seconds
    if ttl is None or ended_age is None or status == PENDING:
        assert isinstance(action, Nothing | Deliver)
    elif isinstance(action, DeleteJob):
        assert view.now >= CREATED + ended_age + ttl
    elif isinstance(action, Wait):
        assert view.now + action.seconds == pytest.approx(CREATED + ended_age + ttl)
    else:
        assert isinstance(action, Nothing | Deliver)


@given(views())
def test_a_job_that_was_finished_by_a_decision_stays_finished(view: View) -> None:
    action = next_action(view)
    if isinstance(action, Finish):
        status = jobstatus.final_status(
            view.job, view.known_pod, action.outcome, Delivery(state="Delivered"), view.now
        )
        assert isinstance(decide(patched(view, status)), Nothing | Wait | DeleteJob)


@given(views(live=True))
def test_a_job_that_goes_on_has_the_next_attempt_before_it(view: View) -> None:
    action = next_action(view)
    if isinstance(action, Retry):
        status = jobstatus.retry_status(
            view.job, view.known_pod, action.outcome, action.counted, action.suspended, view.now
        )
        after = patched(view, status)
        assert after.job.attempt == view.job.attempt + 1
        assert not after.job.finished
        assert "podName" not in {k for k, v in status.items() if v is not None}
        fresh = replace(after, pod=None, gone=None, had_pod=False, report=None, rejection=None)
        assert isinstance(decide(fresh), Wait | Create | Finish | Progress | Enqueue)


@given(views())
def test_the_same_view_gives_the_same_action(view: View) -> None:
    assert decide(view) == decide(replace(view))


@given(views())
def test_an_attempt_that_had_a_pod_gets_no_second_one(view: View) -> None:
    gone = replace(view, pod=None, had_pod=True)

    assert not isinstance(next_action(gone), Create)


@given(views())
def test_a_pod_is_created_only_when_there_is_none_and_nothing_was_reported(view: View) -> None:
    action = decide(view)
    if isinstance(action, Create):
        assert (view.pod, view.had_pod, view.report, view.crowded) == (None, False, None, "")
        assert action.attempt == view.job.attempt


@given(views(live=True))
def test_a_job_that_is_to_stop_gets_no_pod(view: View) -> None:
    assert view.job.model is not None
    if view.job.model.spec.cancel or view.job.model.spec.suspend:
        assert not isinstance(next_action(view), Create)


@given(views(live=True))
def test_a_cancelled_job_that_told_nothing_is_cancelled_and_not_tried_again(view: View) -> None:
    assert view.job.model is not None
    spec = view.job.model.spec.model_copy(update={"cancel": True})
    model = view.job.model.model_copy(update={"spec": spec})
    cancelled = replace(
        view, job=replace(view.job, model=model), report=None, reported_at=None, pod=None
    )

    action = next_action(replace(cancelled, gone=None))

    assert isinstance(action, Finish)
    assert action.outcome.reason is Reason.CANCELLED


@given(views())
def test_only_a_pod_that_is_there_and_stays_is_told_to_stop(view: View) -> None:
    if isinstance(decide(view), Stop):
        assert view.pod is not None
        assert not view.pod.deleting
        assert not view.pod.over


@given(views(), st.none() | strategies.told_results())
def test_a_success_is_never_tried_again(view: View, stored: wire.Result | None) -> None:
    action = next_action(view, stored)
    if isinstance(action, Retry):
        assert not action.outcome.succeeded
        assert action.counted <= (not action.suspended)
        assert action.suspended or view.job.attempt + 1 < MAX_ATTEMPTS
        counted = sum(a.counted for a in view.job.attempts) + action.counted
        assert view.job.model is not None
        before = sum(a.counted for a in view.job.attempts)
        assert not action.counted or counted <= view.job.model.spec.backoff_limit, before


@given(views(live=True))
def test_a_live_job_is_never_forgotten(view: View) -> None:
    action = next_action(view)
    if isinstance(action, Enqueue):
        action = action.shown

    assert not isinstance(action, Nothing | Deliver | DeleteJob)
    if isinstance(action, Wait | Progress):
        assert 0 < action.seconds <= 3600
        if view.pod is not None or view.had_pod:
            assert action.seconds <= 60


@given(views(live=True), st.none() | strategies.told_results())
def test_s3_is_believed_about_this_attempt_of_this_job_alone(
    view: View, stored: wire.Result | None
) -> None:
    fallback = failure(view.job, Reason.POD_LOST)

    action = recovered(view, stored, fallback)

    assert isinstance(action, Finish | Retry)
    if stored is None or stored.attempt != view.job.attempt:
        assert action.outcome == fallback


def test_a_stored_result_of_another_attempt_is_not_this_ones() -> None:
    view = a_view(a_job(status=retrying(an_attempt())), had_pod=True)
    fallback = failure(view.job, Reason.POD_LOST)

    ends = [recovered(view, a_result(attempt=n), fallback) for n in (0, 1, 2)]

    assert [in_words(end) for end in ends] == [
        "finish FAILED PodLost",
        "finish SUCCESS Completed exit 0",
        "finish FAILED PodLost",
    ]


def test_the_whole_result_in_s3_is_better_than_the_termination_message() -> None:
    short = a_report(a_result(stdout="the beg…"))
    view = a_view(pod=a_pod(phase="Succeeded", agent=ended(0, "", wire.dumps(short))))
    action = decide(view)
    assert isinstance(action, Recover)

    whole = recovered(view, a_result(stdout="the beginning and the end"), action.fallback)
    alone = recovered(view, None, action.fallback)

    assert isinstance(whole, Finish)
    assert isinstance(alone, Finish)
    assert whole.outcome.result.stdout == "the beginning and the end"
    assert alone.outcome.result.stdout == "the beg…"


def test_a_stored_result_that_says_stopped_gets_its_cause() -> None:
    view = a_view(a_job(cancel=True), had_pod=True)

    end = recovered(view, a_stopped_result(), failure(view.job, Reason.CANCELLED))

    assert in_words(end) == "finish FAILED Cancelled exit 143"


@given(strategies.pods, told)
@example(a_running_pod(sandbox=ended(137)), a_report(a_result(exit_code=None)))
@settings(phases=[Phase.explicit, Phase.generate])
def test_no_success_against_the_kubelets_exit_code(pod: Pod, report: wire.Report) -> None:
    assert_no_false_success(pod, report)


@given(strategies.pods)
def test_a_success_as_our_agent_tells_it_is_checked_against_the_kubelet(pod: Pod) -> None:
    assert_no_false_success(pod, a_report())


def assert_no_false_success(pod: Pod, report: wire.Report) -> None:
    action = decide(a_view(pod=pod, report=report))

    kubelets = pod.container(names.CONTAINER_SANDBOX).ended
    if isinstance(action, Finish) and action.outcome.succeeded and kubelets:
        assert kubelets.exit_code == 0


# What holds for every order of events.

Event = tuple[str, Json]  # ADDED, MODIFIED or DELETED, and the object


def _history(*pods: Json, vanishes: bool = False) -> list[Event]:
    """A job, its pod's states one after another with growing versions, and maybe its end."""
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
    "the agent's last word": _history(
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


def note(store: Store, events: Sequence[Event]) -> None:
    """As the handlers do."""
    for kind, body in events:
        is_job = body["kind"] == names.KIND
        if kind == "DELETED":
            store.drop_pod(body)
        else:
            (store.put_job if is_job else store.put_pod)(body)


def relist(store: Store, events: Sequence[Event]) -> None:
    """What a LIST after all events shows."""
    job = [body for _, body in events if body["kind"] == names.KIND][-1]
    kind, pod = [(kind, body) for kind, body in events if body["kind"] == "Pod"][-1]
    store.replace([job], [] if kind == "DELETED" else [pod], listed_at=1000)


def last_action(store: Store) -> Action:
    (uid,) = store.uids()
    body = store.job(uid)
    assert body is not None
    pod, gone = store.pod(uid, 0), store.gone(uid, 0)
    return decide(
        a_view(
            job_facts(body),
            pod_facts(pod) if pod else None,
            gone=pod_facts(gone) if gone else None,
            had_pod=(body.get("status") or {}).get("podName") == POD_NAME,
            age=30,
        )
    )


def in_order(events: Sequence[Event]) -> Action:
    store = Store()
    note(store, events)
    return last_action(store)


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
@settings(max_examples=25)
@given(data=st.data())
def test_any_order_repetition_and_loss_then_a_list_ends_in_the_same_action(
    events: list[Event], data: st.DataObject
) -> None:
    seen = data.draw(st.lists(st.sampled_from(events), max_size=2 * len(events)))
    store = Store()

    note(store, seen)
    relist(store, events)

    assert last_action(store) == in_order(events)


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
@settings(max_examples=25)
@given(data=st.data())
def test_late_repetitions_of_what_is_known_change_nothing(
    events: list[Event], data: st.DataObject
) -> None:
    objects = [event for event in events if event[0] != "DELETED"]
    again = data.draw(st.lists(st.sampled_from(objects), max_size=8))
    store = Store()

    note(store, [*objects, *again])

    assert last_action(store) == in_order(objects)


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
@settings(max_examples=25)
@given(data=st.data())
def test_watches_of_jobs_and_pods_may_overtake_each_other(
    events: list[Event], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations([e for e in events if e[0] != "DELETED"]))
    store = Store()

    note(store, shuffled)

    assert last_action(store) == in_order([e for e in events if e[0] != "DELETED"])


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
def test_no_step_of_a_history_creates_a_second_pod(events: list[Event]) -> None:
    store = Store()
    actions = []
    for event in events:
        note(store, [event])
        actions.append(in_words(last_action(store)))

    assert actions[0] == "create pod of attempt 0"
    assert not any("create" in action for action in actions[1:])


@pytest.mark.parametrize("events", HISTORIES.values(), ids=HISTORIES)
def test_a_history_that_has_ended_never_goes_back(events: list[Event]) -> None:
    store = Store()
    ends = []
    for event in events:
        note(store, [event])
        ends.append(isinstance(last_action(store), Finish | Recover))

    assert all(later or not earlier for earlier, later in pairwise(ends))
