"""A job whose namespace has no place for its pod: it queues, says so, and is woken in its turn."""

from typing import Any

import pytest

from unit.builders import CREATED, JOB_UID, a_pod_body, running, some_settings
from unit.fakes import CREATE_POD, WRITE_STATUS, World

LIMITS = some_settings(watch_namespaces="team-a", s3_secret="", max_waiting_pods=1)


def another_pod(world: World, **state: Any) -> None:
    """The watch brings a pod of another job of the namespace."""
    body = a_pod_body(job_uid="other", **state)
    body["metadata"] |= {"name": "other-0", "resourceVersion": str(world.kube.version)}
    world.kube.version += 1
    world.store.put_pod(body)


@pytest.fixture
def world() -> World:
    """A job beside another one's pod, which waits for a node."""
    world = World(LIMITS)
    another_pod(world)
    return world


async def test_a_job_queues_while_its_namespace_has_no_place_and_is_woken_when_it_has(
    world: World,
) -> None:
    await world.reconcile()
    assert world.kube.writes == []
    world.now = CREATED + 5
    await world.reconcile()
    await world.reconcile()
    assert world.kube.writes == [WRITE_STATUS]
    assert (world.status["phase"], world.status["reason"]) == ("Pending", "Queued")
    assert "sandbox.maxWaitingPods" in world.status["message"]
    assert [(e["reason"], e["type"]) for e in world.kube.events] == [("Queued", "Normal")]

    world.queue.delays.clear()
    another_pod(world, phase="Running", agent=running(), sandbox=running())
    assert world.queue.delays == [0.0]
    await world.reconcile()
    assert world.kube.writes[1:] == [CREATE_POD]


async def test_a_job_that_is_cancelled_in_the_queue_ends_and_lets_the_next_one_go(
    world: World,
) -> None:
    await world.reconcile()
    assert world.operator.places.waiting("team-a") == [JOB_UID]

    world.change_spec(cancel=True)
    await world.reconcile()

    assert world.end == ("Failed", "Cancelled", "Delivered")
    assert world.operator.places.waiting("team-a") == []


async def test_a_job_that_is_deleted_in_the_queue_leaves_it(world: World) -> None:
    await world.reconcile()

    world.store.drop_job(JOB_UID)
    await world.reconcile()

    assert world.operator.places.waiting("team-a") == []


async def test_a_refusal_in_the_past_is_forgotten_in_the_queue() -> None:
    world = World(LIMITS)
    world.kube.refuse("POST", 403, "Forbidden", "exceeded quota: compute")
    await world.reconcile()
    another_pod(world)
    world.now = CREATED + 400

    await world.reconcile()
    assert world.status["reason"] == "Queued"
    another_pod(world, phase="Succeeded")
    await world.reconcile()

    assert world.kube.writes[-1] == CREATE_POD
