"""What a node does to its pods, as their status shows it: evicted for disk, rebooted, silent."""

import pytest

from nanogrid_operator.actions import Finish, Recover, Retry, Wait
from nanogrid_operator.decide import KUBELET_GRACE_SECONDS, decide
from nanogrid_operator.facts import Pod, pod_facts
from nanogrid_operator.slim import slim_pod
from nanogrid_operator.view import STRANDED_SECONDS
from unit.builders import (
    a_job,
    a_pod,
    a_pod_body,
    a_report,
    a_running_pod,
    a_stopped_result,
    a_view,
    ended,
    running,
    time_text,
)

FULL = 'Usage of EmptyDir volume "tmp" exceeds the limit "256Mi".'
UNKNOWN_END = ended(255, "Unknown")  # containerd after a restart of the machine: no task, no code


def test_a_stop_that_nobody_asked_for_waits_for_the_kubelets_word() -> None:
    """The kubelet tells its reason after the containers have ended; the agent reports before."""
    stopped = a_report(a_stopped_result())

    action = decide(a_view(pod=a_running_pod(), report=stopped, age=30))

    assert isinstance(action, Wait)
    assert action.seconds <= KUBELET_GRACE_SECONDS


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="a-volume"),  # as seen: no condition, and the containers are unknown
        pytest.param({"disrupted": "TerminationByKubelet"}, id="pressure"),
    ],
)
def test_an_eviction_that_the_kubelet_has_told_is_named(more: dict[str, str]) -> None:
    stopped = a_report(a_stopped_result())
    told = a_running_pod(phase="Failed", reason="Evicted", message=FULL, **more)

    action = decide(a_view(pod=told, report=stopped, age=31, reported_age=30))

    assert isinstance(action, Finish)
    assert action.outcome.reason == "Evicted"
    assert FULL.rstrip(".") in action.outcome.message


def test_a_stop_that_nobody_explains_is_terminated() -> None:
    stopped = a_report(a_stopped_result())

    action = decide(a_view(pod=a_running_pod(), report=stopped, age=60, reported_age=30))

    assert isinstance(action, Finish)
    assert action.outcome.reason == "Terminated"


def test_containers_that_went_with_their_machine_are_a_lost_node() -> None:
    pod = a_running_pod(phase="Failed", agent=UNKNOWN_END, sandbox=UNKNOWN_END)

    action = decide(a_view(pod=pod, age=60))

    assert isinstance(action, Recover)
    assert action.fallback.reason == "NodeLost"


@pytest.mark.parametrize("container", ["check", "sync"])
def test_an_init_container_that_went_with_its_machine_is_a_lost_node(container: str) -> None:
    gone = {container: UNKNOWN_END}

    action = decide(a_view(a_job(backoffLimit=1), a_pod(phase="Failed", **gone), age=60))

    assert isinstance(action, Retry)
    assert (action.outcome.reason, action.counted) == ("NodeLost", False)


def test_an_agent_that_was_killed_is_no_lost_node() -> None:
    pod = a_running_pod(agent=ended(137, "Error"))

    action = decide(a_view(pod=pod, age=60))

    assert isinstance(action, Recover)
    assert action.fallback.reason == "AgentFailed"


def test_a_stranded_deletion_is_looked_at_in_its_time() -> None:
    """No event announces it: the kubelet that would confirm the deletion is gone."""
    pod = a_running_pod(deleting=True, disrupted="DeletionByTaintManager")
    job = a_job(status={"phase": "Running", "reason": "Executing"})
    left = 5.0

    action = decide(a_view(job, pod, age=STRANDED_SECONDS - left))

    assert action == Wait(left)


def silent_pod(*, containers_ready: bool) -> Pod:
    """A pod that the taint manager evicts; by ``containers_ready`` the node is silent, or not."""
    body = a_pod_body(
        phase="Running", agent=running(), sandbox=running(), disrupted="DeletionByTaintManager"
    )
    body["metadata"]["deletionTimestamp"] = time_text(140)
    body["status"]["conditions"] += [
        {"type": "Ready", "status": "False"},
        {"type": "ContainersReady", "status": str(containers_ready)},
    ]
    return pod_facts(slim_pod(body))  # as the store keeps it


def test_a_silent_node_is_lost_when_it_loses_its_pods() -> None:
    """Only the node controller makes a pod unready whose containers the kubelet called ready."""
    action = decide(a_view(pod=silent_pod(containers_ready=True), age=1))

    assert isinstance(action, Recover)
    assert action.fallback.reason == "NodeLost"


def test_a_node_that_answers_has_its_grace() -> None:
    """Somebody tainted it by hand; its kubelet is stopping the containers."""
    action = decide(a_view(pod=silent_pod(containers_ready=False), age=60))

    assert not isinstance(action, Recover)


def test_a_stranded_deletion_is_a_lost_node() -> None:
    pod = a_running_pod(deleting=True, disrupted="DeletionByTaintManager")

    action = decide(a_view(pod=pod, age=STRANDED_SECONDS + 1))

    assert isinstance(action, Recover)
    assert action.fallback.reason == "NodeLost"
