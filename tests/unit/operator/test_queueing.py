"""A job whose namespace has no slot for its pod queues, shows that, and is woken in its turn."""

from typing import Any

import pytest

from support.builders import CREATED, JOB_UID, a_pod_body, running, some_settings
from support.operator_fakes import CREATE_POD, WRITE_STATUS
from support.operator_world import World

LIMITS = some_settings(watch_namespaces="team-a", s3_secret="", max_waiting_pods=1)


def another_pod(world: World, **state: Any) -> None:
    """The watch brings a pod of another job in the namespace."""
    body = a_pod_body(job_uid="other", **state)
    body["metadata"] |= {"name": "other-0", "resourceVersion": str(world.kube.version)}
    world.kube.version += 1
    world.cache.put_pod(body)


@pytest.fixture
def world() -> World:
    """A job, and the pod of another one, which waits for a node."""
    world = World(LIMITS)
    another_pod(world)
    return world


async def test_a_job_queues_until_its_namespace_has_a_slot(
    world: World,
) -> None:
    await world.reconcile()
    assert world.kube.writes == []
    world.now = CREATED + 11
    await world.reconcile()
    await world.reconcile()
    assert world.kube.writes == [WRITE_STATUS]
    assert (world.status["phase"], world.status["reason"]) == ("Pending", "Queued")
    assert "sandbox.maxWaitingPods" in world.status["message"]
    assert world.events == []

    world.queue.delays.clear()
    another_pod(world, phase="Running", agent=running(), sandbox=running())
    assert world.queue.delays == [0.0]
    await world.reconcile()
    assert world.kube.writes[1:] == [CREATE_POD]


async def test_a_job_that_is_cancelled_in_the_queue_ends_and_leaves_it(
    world: World,
) -> None:
    await world.reconcile()
    assert world.parts.admission.queued("team-a") == [JOB_UID]

    world.change_spec(cancel=True)
    await world.reconcile()

    assert world.end == ("Failed", "Cancelled", "Delivered")
    assert world.parts.admission.queued("team-a") == []


async def test_a_job_that_is_deleted_in_the_queue_leaves_it(world: World) -> None:
    await world.reconcile()

    world.cache.drop_job(JOB_UID)
    await world.reconcile()

    assert world.parts.admission.queued("team-a") == []


async def test_a_queued_job_forgets_an_earlier_rejection() -> None:
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
