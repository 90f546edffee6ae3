"""Nodes that evict pods, reboot or are silent, as the status of their pods shows it."""

import pytest

from nanogrid_operator.decision.actions import Finish, Recover, Retry, Wait
from nanogrid_operator.decision.decide import KUBELET_GRACE_SECONDS, decide
from nanogrid_operator.decision.snapshot import STUCK_DELETION_SECONDS
from nanogrid_operator.model.pod_facts import Pod, pod_facts
from nanogrid_operator.watch.transform import transform_pod
from support.builders import (
    a_job,
    a_pod,
    a_pod_body,
    a_report,
    a_running_pod,
    a_stopped_result,
    ended,
    running,
    time_text,
)
from support.snapshots import a_snapshot

FULL = 'Usage of EmptyDir volume "tmp" exceeds the limit "256Mi".'
UNKNOWN_END = ended(255, "Unknown")  # containerd after a restart of the machine knows no exit code


def test_an_unexplained_stop_waits_for_the_kubelet() -> None:
    """The kubelet gives its reason after the containers have ended; the agent reports before."""
    stopped = a_report(a_stopped_result())

    action = decide(a_snapshot(pod=a_running_pod(), report=stopped, age=30))

    assert isinstance(action, Wait)
    assert action.seconds <= KUBELET_GRACE_SECONDS


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="a-volume"),  # observed: no condition, and unknown container states
        pytest.param({"disrupted": "TerminationByKubelet"}, id="pressure"),
    ],
)
def test_an_eviction_that_the_kubelet_reports_is_named(more: dict[str, str]) -> None:
    stopped = a_report(a_stopped_result())
    evicted = a_running_pod(phase="Failed", reason="Evicted", message=FULL, **more)

    action = decide(a_snapshot(pod=evicted, report=stopped, age=31, reported_age=30))

    assert isinstance(action, Finish)
    assert action.outcome.reason == "Evicted"
    assert FULL.rstrip(".") in action.outcome.message


def test_a_stop_that_stays_unexplained_is_terminated() -> None:
    stopped = a_report(a_stopped_result())

    action = decide(a_snapshot(pod=a_running_pod(), report=stopped, age=60, reported_age=30))

    assert isinstance(action, Finish)
    assert action.outcome.reason == "Terminated"


def test_containers_that_disappeared_with_their_machine_mean_a_lost_node() -> None:
    pod = a_running_pod(phase="Failed", agent=UNKNOWN_END, sandbox=UNKNOWN_END)

    action = decide(a_snapshot(pod=pod, age=60))

    assert isinstance(action, Recover)
    assert action.fallback.reason == "NodeLost"


@pytest.mark.parametrize("container", ["check", "sync"])
def test_an_init_container_that_disappeared_with_its_machine_means_a_lost_node(
    container: str,
) -> None:
    gone = {container: UNKNOWN_END}

    action = decide(a_snapshot(a_job(backoffLimit=1), a_pod(phase="Failed", **gone), age=60))

    assert isinstance(action, Retry)
    assert (action.outcome.reason, action.counted) == ("NodeLost", False)


def test_a_killed_agent_does_not_mean_a_lost_node() -> None:
    pod = a_running_pod(agent=ended(137, "Error"))

    action = decide(a_snapshot(pod=pod, age=60))

    assert isinstance(action, Recover)
    assert action.fallback.reason == "AgentFailed"


def test_a_stuck_deletion_is_checked_in_time() -> None:
    """No event announces it: the kubelet that should confirm the deletion is gone."""
    pod = a_running_pod(deleting=True, disrupted="DeletionByTaintManager")
    job = a_job(status={"phase": "Running", "reason": "Executing"})
    left = 5.0

    action = decide(a_snapshot(job, pod, age=STUCK_DELETION_SECONDS - left))

    assert action == Wait(left)


def silent_pod(*, containers_ready: bool) -> Pod:
    """A pod that the taint manager evicts; ``containers_ready``: its node is silent."""
    body = a_pod_body(
        phase="Running", agent=running(), sandbox=running(), disrupted="DeletionByTaintManager"
    )
    body["metadata"]["deletionTimestamp"] = time_text(140)
    body["status"]["conditions"] += [
        {"type": "Ready", "status": "False"},
        {"type": "ContainersReady", "status": str(containers_ready)},
    ]
    return pod_facts(transform_pod(body))  # as the cache keeps it


def test_a_silent_node_is_lost_when_its_pods_are_evicted() -> None:
    """Only the node controller makes a pod unready while its containers are ready."""
    action = decide(a_snapshot(pod=silent_pod(containers_ready=True), age=1))

    assert isinstance(action, Recover)
    assert action.fallback.reason == "NodeLost"


def test_a_node_that_answers_has_the_grace_period() -> None:
    """The node was tainted manually, and its kubelet stops the containers."""
    action = decide(a_snapshot(pod=silent_pod(containers_ready=False), age=60))

    assert not isinstance(action, Recover)


def test_a_stuck_deletion_means_a_lost_node() -> None:
    pod = a_running_pod(deleting=True, disrupted="DeletionByTaintManager")

    action = decide(a_snapshot(pod=pod, age=STUCK_DELETION_SECONDS + 1))

    assert isinstance(action, Recover)
    assert action.fallback.reason == "NodeLost"
