"""Pods that Kueue queues: gated, released, preempted.

The pods are as Kueue's pod integration makes them: its webhook adds a label, a finalizer and a
scheduling gate, and its controller removes the gate. To preempt a pod, the controller sets the
condition TerminationTarget and deletes the pod.
"""

from typing import Any

import pytest

from nanogrid.api.job import ExecutionJob
from nanogrid.types import Json
from nanogrid_operator.decision.admission import AdmissionQueue
from nanogrid_operator.decision.pod_use import pod_use
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.model.pod_facts import pod_facts
from nanogrid_operator.model.tenant import Tenants
from nanogrid_operator.watch.transform import transform_pod
from support.builders import (
    CREATED,
    CREATED_TEXT,
    POD_NAME,
    a_job,
    a_job_body,
    a_pod_body,
    ended,
    running,
    some_settings,
    tenant_of,
    time_text,
)
from support.operator_fakes import CREATE_POD, WRITE_STATUS
from support.operator_world import World

QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
MANAGED = "kueue.x-k8s.io/managed"
GATED = "Scheduling is blocked due to non-empty scheduling gates"
NO_ROOM = "0/1 nodes are available: 1 Insufficient cpu."
SETTINGS = some_settings(watch_namespaces="team-a", s3_secret="")


def a_kueue_pod(*, age: float = 0.0, **state: Any) -> Json:
    """A sandbox pod that Kueue manages."""
    body = a_pod_body(age=age, **state)
    body["metadata"]["labels"] |= {QUEUE: "team-a-queue", MANAGED: "true"}
    body["metadata"]["finalizers"] = [MANAGED]
    return body


def see(world: World, body: Json) -> None:
    """The watch brings the pod."""
    body["metadata"]["resourceVersion"] = str(world.kube.version)
    world.kube.version += 1
    world.cache.put_pod(body)


@pytest.mark.parametrize(
    ("labels", "copied"),
    [
        ({QUEUE: "fast", PRIORITY: "high", "team": "x"}, {QUEUE: "fast", PRIORITY: "high"}),
        ({"team": "x"}, {}),
    ],
    ids=["queue and priority", "none"],
)
def test_only_the_labels_of_kueue_are_copied_to_the_pod(labels: Json, copied: Json) -> None:
    body = a_job_body()
    plain = build_pod(ExecutionJob.model_validate(body), 0, SETTINGS, tenant_of())
    body["metadata"]["labels"] = labels

    made = build_pod(ExecutionJob.model_validate(body), 0, SETTINGS, tenant_of())

    assert made["metadata"]["labels"] == plain["metadata"]["labels"] | copied


def test_a_gated_pod_is_live_and_does_not_wait_for_a_node() -> None:
    use = pod_use(a_kueue_pod(gated=GATED))
    assert (use.live, use.waits, use.unscheduled, use.unschedulable) == (True, False, False, False)
    released = pod_use(a_kueue_pod(unschedulable=NO_ROOM))
    assert (released.live, released.waits, released.unscheduled) == (True, True, True)


def test_gated_pods_do_not_use_up_the_pods_that_may_wait() -> None:
    settings = some_settings(max_waiting_pods=1)
    queue = AdmissionQueue(settings, [].append, Tenants(settings))
    for number in range(20):
        queue.observe_pod("team-a", f"pod-{number}", a_kueue_pod(gated=GATED))
    assert queue.wait_reason(a_job()) == ""
    queue.observe_pod("team-a", "pod-0", a_kueue_pod(unschedulable=NO_ROOM))
    assert "sandbox.maxWaitingPods" in queue.wait_reason(a_job())


async def test_a_gated_pod_is_queued_and_its_startup_time_begins_without_gates() -> None:
    world = World(SETTINGS, timeouts={"startupSeconds": 60})
    see(world, a_kueue_pod(gated=GATED))
    for _ in range(50):
        world.now += 100
        await world.reconcile()

    assert (world.status["phase"], world.status["reason"]) == ("Pending", "Queued")
    assert (world.status["podName"], GATED in world.status["message"]) == (POD_NAME, True)
    assert world.kube.writes == [WRITE_STATUS]
    see(world, a_kueue_pod(unschedulable=NO_ROOM))
    await world.reconcile()
    world.now += 59
    await world.reconcile()
    assert world.status["reason"] == "Unschedulable"
    world.now += 2
    await world.reconcile()
    assert world.end == ("Failed", "Unschedulable", "Delivered")


async def test_a_job_that_queued_here_shows_that_it_queues_there() -> None:
    world = World(SETTINGS)
    world.kube.objects[next(iter(world.kube.objects))]["status"] = {
        "phase": "Pending",
        "reason": "Queued",
        "message": "position 1 of 1",
    }
    await world.resync()
    see(world, a_kueue_pod(gated=GATED))
    world.now += 5
    await world.reconcile()

    assert GATED in world.status["message"]


async def test_a_restarted_operator_counts_the_startup_time_from_the_release() -> None:
    world = World(SETTINGS, timeouts={"startupSeconds": 60})
    world.now += 5000
    released = a_kueue_pod(agent=running())
    released["status"]["conditions"][0]["lastTransitionTime"] = time_text(4950)
    see(world, released)

    await world.reconcile()
    assert world.status.get("phase") != "Failed"
    world.now += 60
    await world.reconcile()
    assert world.end == ("Failed", "StartupTimeout", "Delivered")


async def test_the_deadline_of_a_job_does_not_run_while_its_pod_is_gated() -> None:
    world = World(SETTINGS, activeDeadlineSeconds=100)
    see(world, a_kueue_pod(gated=GATED))
    world.now += 5000
    await world.reconcile()
    assert world.status["reason"] == "Queued"

    see(world, a_kueue_pod(phase="Running", agent=running(), sandbox=running()))
    await world.reconcile()
    assert world.status["reason"] == "Executing"
    world.now += 101
    await world.reconcile()
    assert world.status["reason"] == "Stopping"


def a_preempted_pod(**state: Any) -> Json:
    body = a_kueue_pod(stopped_by_kueue="WorkloadEvicted", deleting=True, **state)
    body["metadata"]["deletionTimestamp"] = CREATED_TEXT
    return body


def test_the_cache_keeps_what_tells_a_preemption() -> None:
    kept = pod_facts(transform_pod(a_preempted_pod()))
    assert (kept.disruption, kept.queued_by_kueue) == ("Preempted", True)
    assert pod_facts(transform_pod(a_kueue_pod())).disruption is None


@pytest.mark.parametrize(("limit", "end"), [(1, "Retrying"), (0, "Preempted")])
async def test_a_preemption_by_kueue_is_a_disruption(limit: int, end: str) -> None:
    world = World(SETTINGS, backoffLimit=limit)
    see(world, a_kueue_pod(phase="Running", agent=running(), sandbox=running()))
    world.now += 10
    await world.reconcile()
    gone = a_preempted_pod(phase="Failed", agent=ended(143), sandbox=ended(143))
    see(world, gone)

    await world.reconcile()

    assert world.status["reason"] == end
    (attempt,) = world.status["attempts"]
    assert attempt["reason"] == "Preempted"
    if limit:
        assert not attempt["counted"]
        world.now = CREATED + 60
        await world.reconcile()
        assert world.kube.writes[-1] == CREATE_POD
