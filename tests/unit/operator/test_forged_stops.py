"""Code that makes its end look like a stop from outside gets no attempt for free."""

import pytest

from nanogrid import wire
from nanogrid_operator.decision.actions import Action, Finish, Retry, Wait
from nanogrid_operator.decision.decide import NO_MORE_RETRIES, decide
from nanogrid_operator.decision.retry import MAX_UNCOUNTED
from nanogrid_operator.model.pod_facts import Pod
from support.builders import (
    CREATED,
    JOB_UID,
    a_job,
    a_pod,
    a_report,
    a_running_pod,
    a_stopped_result,
    an_attempt,
    ended,
    retrying,
    running,
)
from support.operator_world import World
from support.snapshots import a_snapshot

pytestmark = pytest.mark.security

LATER = 20.0  # the kubelet has had its time to explain the stop


def after_a_stop(pod: Pod | None, *, uncounted: int = 0, **more: object) -> Action:
    """The decision after the agent reported Terminated."""
    attempts = [an_attempt(n, "Evicted", counted=False) for n in range(uncounted)]
    job = a_job(backoffLimit=1, status=retrying(*attempts) if attempts else None)
    report = a_report(a_stopped_result(attempt=uncounted))
    return decide(
        a_snapshot(job, pod, report, age=LATER, reported_age=5, **more)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("pod", "reason", "counted"),
    [
        (a_running_pod(), "Terminated", True),
        (a_pod(phase="Failed", agent=ended(), sandbox=ended(143)), "Terminated", True),
        (a_running_pod(deleting=True), "Terminated", False),
        (a_running_pod(disrupted="EvictionByEvictionAPI"), "Evicted", False),
        (a_running_pod(disrupted="TerminationByKubelet"), "Evicted", False),
        (a_running_pod(disrupted="PreemptionByScheduler"), "Preempted", False),
        (a_pod(phase="Failed", reason="Evicted", agent=ended()), "Evicted", False),
    ],
    ids=["runs", "ended", "deleted", "API eviction", "kubelet", "preempted", "disk full"],
)
def test_a_stop_counts_unless_the_pod_was_deleted_or_evicted(
    pod: Pod, reason: str, counted: bool
) -> None:
    action = after_a_stop(pod)

    assert isinstance(action, Retry)
    assert (action.outcome.reason.value, action.counted) == (reason, counted)


def test_a_stop_of_a_pod_that_is_gone_does_not_count() -> None:
    action = after_a_stop(None, gone=a_running_pod(deleting=True))

    assert isinstance(action, Retry)
    assert not action.counted


def test_the_kubelet_has_time_to_explain_the_stop() -> None:
    report = a_report(a_stopped_result())

    assert isinstance(decide(a_snapshot(a_job(), a_running_pod(), report, age=5)), Wait)


def test_retries_without_counting_have_a_limit() -> None:
    deleted = a_running_pod(deleting=True)
    last, over = (after_a_stop(deleted, uncounted=n) for n in (MAX_UNCOUNTED - 1, MAX_UNCOUNTED))

    assert isinstance(last, Retry)
    assert isinstance(over, Finish)
    assert over.outcome.message.endswith(NO_MORE_RETRIES)
    assert over.outcome.result.message == over.outcome.message


@pytest.mark.parametrize(("container", "believed"), [("agent", True), ("sandbox", False)])
async def test_only_the_agents_termination_message_is_a_report(
    container: str, believed: bool
) -> None:
    """Code can write the termination message of its own container."""
    message = wire.dumps(a_report())
    pod = a_pod(phase="Running", **{"agent": running(), container: ended(0, message=message)})

    recovery = World().parts.reconciler.recovery
    assert (recovery.written_report(a_job(), pod) is not None) is believed


async def test_forged_stops_give_two_attempts_with_a_backoff_limit_of_1() -> None:
    world = World(backoffLimit=1)
    attempts = 0
    while world.status.get("phase") != "Failed":
        assert attempts < 5
        world.see_pod(
            uid=f"pod-{attempts}",
            attempt=attempts,
            version=1000 + attempts,
            phase="Running",
            agent=running(),
            sandbox=running(),
        )
        world.push(a_report(a_stopped_result(attempt=attempts)))
        world.now += LATER
        await world.reconcile()
        world.now += LATER
        await world.reconcile()
        attempts += 1

    assert attempts == 2
    assert world.end == ("Failed", "Terminated", "Delivered")
    assert world.cache.job(JOB_UID) is not None
    assert world.now > CREATED
