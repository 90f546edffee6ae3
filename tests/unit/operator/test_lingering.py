"""A pod that outlives its attempt: an image reports its end and runs on."""

import pytest

from nanogrid_operator.decision import actions
from nanogrid_operator.decision.after_end import LINGER_SECONDS
from nanogrid_operator.decision.decide import decide
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import Pod
from support.builders import (
    CREATED,
    JOB_UID,
    POD_NAME,
    POD_UID,
    a_failed_result,
    a_job,
    a_pod,
    a_pod_body,
    a_report,
    a_result,
    a_running_pod,
    an_attempt,
    ended,
    retrying,
    running,
    time_text,
    waiting,
)
from support.operator_fakes import PODS
from support.operator_world import World
from support.snapshots import a_snapshot

pytestmark = pytest.mark.security

DELETED = f"DELETE {PODS}/{POD_NAME} {POD_UID}"
BEFORE, AFTER = LINGER_SECONDS + 9, LINGER_SECONDS + 11  # ages; the attempt ended at 10


def a_finished_job(*, settled: bool = False, **spec: object) -> Job:
    """A job that ended at age 10; the cache keeps no attempts of a settled one."""
    status = {"phase": "Succeeded", "completionTime": time_text(10)}
    attempts = {} if settled else {"attempts": [an_attempt(0, "Completed", age=10)]}
    return a_job(status=status | attempts, **spec)


def what_follows(job: Job, pod: Pod, age: float) -> actions.Action:
    """The decision when this is the only pod of an ended attempt."""
    return decide(a_snapshot(job, age=age, other_pods=(pod,)))


LIVE = [
    pytest.param(a_running_pod(), id="sandbox and agent run"),
    pytest.param(
        a_pod(phase="Running", agent=ended(), sandbox=running()), id="the sandbox runs on"
    ),
    pytest.param(
        a_pod(phase="Running", agent=ended(), sandbox=waiting("CrashLoopBackOff")),
        id="the kubelet restarts the sandbox of a session",
    ),
]


@pytest.mark.parametrize("pod", LIVE)
@pytest.mark.parametrize("settled", [False, True])
def test_a_pod_that_outlives_its_job_is_deleted(pod: Pod, settled: bool) -> None:
    job = a_finished_job(settled=settled)

    assert what_follows(job, pod, BEFORE) == actions.Wait(1)
    assert what_follows(job, pod, AFTER) == actions.RemovePod(pod)


@pytest.mark.parametrize(
    "pod",
    [
        a_pod(phase="Succeeded", agent=ended(), sandbox=ended()),
        a_running_pod(deleting=True),
    ],
    ids=["it has ended", "it is being deleted"],
)
def test_other_pods_stay(pod: Pod) -> None:
    assert what_follows(a_finished_job(), pod, AFTER) == actions.Nothing()


def test_the_pod_of_a_running_attempt_stays() -> None:
    job = a_job(status=retrying(an_attempt(0, age=10)))
    pod = a_running_pod(attempt=1, age=12)

    action = decide(a_snapshot(job, pod, age=AFTER + 100))

    assert not isinstance(action, actions.RemovePod)


def test_the_pod_of_an_earlier_attempt_is_deleted_while_the_next_one_runs() -> None:
    job = a_job(status=retrying(an_attempt(0, age=10)))
    old, new = a_running_pod(), a_running_pod(attempt=1, age=12)

    action = decide(a_snapshot(job, new, age=AFTER, other_pods=(old,)))

    assert action == actions.RemovePod(old)


def test_a_pending_delivery_does_not_protect_the_pod() -> None:
    status = {
        "phase": "Succeeded",
        "completionTime": time_text(10),
        "delivery": {"state": "Pending"},
    }

    assert what_follows(a_job(status=status), a_running_pod(), BEFORE) == actions.Deliver()
    assert what_follows(a_job(status=status), a_running_pod(), AFTER) == actions.RemovePod(
        a_running_pod()
    )


@pytest.mark.parametrize(("ttl", "seconds"), [(20, 20.0), (600, LINGER_SECONDS)])
def test_the_earlier_of_both_times_counts(ttl: int, seconds: float) -> None:
    job = a_finished_job(ttlSecondsAfterFinished=ttl)

    assert what_follows(job, a_running_pod(), 10) == actions.Wait(seconds)


def test_a_job_whose_time_to_live_is_over_is_deleted_with_its_pods() -> None:
    job = a_finished_job(ttlSecondsAfterFinished=20)

    assert what_follows(job, a_running_pod(), AFTER) == actions.DeleteJob()


# The reconciler.


@pytest.mark.parametrize("spec", [{}, {"mode": "Session", "code": None}], ids=["batch", "session"])
async def test_an_image_that_reports_its_end_and_runs_on_is_deleted(
    spec: dict[str, object],
) -> None:
    world = World(**spec)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_result(reason="SessionEnded" if spec else "Completed")))
    await world.reconcile()
    finished_at = world.now

    await world.reconcile()
    early = list(world.kube.writes)
    world.now = finished_at + LINGER_SECONDS + 1
    for _ in range(3):
        await world.reconcile()

    assert world.end[0] == "Succeeded"
    assert DELETED not in early
    assert world.queue.delays[-1] > 0
    assert world.kube.writes.count(DELETED) == 1


async def test_the_pod_of_a_retried_attempt_is_deleted() -> None:
    world = World(backoffLimit=1)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(a_failed_result()))
    await world.reconcile()
    world.now += LINGER_SECONDS + 1

    await world.reconcile()
    await world.reconcile()

    assert world.kube.writes.count(DELETED) == 1
    assert world.cache.pod(JOB_UID, 1) is not None


async def test_a_new_operator_finds_the_pod_of_a_settled_job() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    await world.reconcile()
    world.now = CREATED + 500

    await world.restart()
    await world.work()

    assert world.kube.writes.count(DELETED) == 1


async def test_a_pod_with_a_name_of_its_own_is_not_the_jobs() -> None:
    """Anybody who can create pods can write labels and owners."""
    world = World()
    stranger = a_pod_body(uid="other", phase="Running", agent=running(), sandbox=running())
    stranger["metadata"]["name"] = "stranger"
    world.cache.put_pod(stranger)

    assert world.cache.pods(JOB_UID) == []
