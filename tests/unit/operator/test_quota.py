"""A ResourceQuota that other pods have used up makes jobs queue; one that is too small does not."""

import pytest

from nanogrid_operator.decision.quota import exceeded_for_now
from support.builders import CREATED, JOB_UID, a_pod_body, running, some_settings
from support.operator_fakes import CREATE_POD
from support.operator_world import World

SETTINGS = some_settings(watch_namespaces="team-a", s3_secret="")
FULL = (
    'pods "sales-1" is forbidden: exceeded quota: compute, requested: limits.cpu=1,pods=1, '
    "used: limits.cpu=1500m,pods=2, limited: limits.cpu=2,pods=10"
)
TOO_SMALL = (
    'pods "sales-1" is forbidden: exceeded quota: compute, requested: limits.cpu=4, '
    "used: limits.cpu=0, limited: limits.cpu=2"
)
UNLIMITED = 'pods "sales-1" is forbidden: failed quota: compute: must specify limits.cpu for: x'
RANGE = 'pods "sales-1" is forbidden: maximum cpu usage per Container is 1, but limit is 2'


@pytest.mark.parametrize(
    ("message", "waits"),
    [
        (FULL, True),
        ("exceeded quota: compute", True),
        (FULL.replace("requested: limits.cpu=1", "requested: limits.cpu=odd"), True),
        (TOO_SMALL, False),
        (UNLIMITED, False),
        (RANGE, False),
    ],
    ids=["used up", "no numbers", "unreadable", "too small", "no limits", "LimitRange"],
)
def test_only_a_quota_that_is_used_up_is_waited_for(message: str, waits: bool) -> None:
    assert exceeded_for_now(message) is waits


def another_pod(world: World, name: str = "other-0", *, phase: str = "Running") -> None:
    """The watch brings a pod of another job in the namespace."""
    body = a_pod_body(job_uid="other", phase=phase, agent=running(), sandbox=running())
    body["metadata"] |= {"name": name, "resourceVersion": str(world.kube.version)}
    world.kube.version += 1
    world.cache.put_pod(body)


async def test_a_job_whose_quota_is_used_up_queues_and_its_startup_time_does_not_run() -> None:
    world = World(SETTINGS, timeouts={"startupSeconds": 10})
    another_pod(world)
    for _ in range(100):
        world.kube.refuse("POST", 403, "Forbidden", FULL)

    for _ in range(300):
        await world.reconcile()
        world.now += 1

    assert (world.status["phase"], world.status["reason"]) == ("Pending", "Queued")
    assert "exceeded quota: compute, requested: limits.cpu=1" in world.status["message"]
    assert "Position 1 of 1" in world.status["message"]
    tries = world.kube.writes.count(CREATE_POD)
    assert 6 <= tries <= 14, "the pauses grow to a minute"


async def test_a_pod_that_ends_makes_the_next_try_at_once() -> None:
    world = World(SETTINGS)
    another_pod(world)
    world.kube.refuse("POST", 403, "Forbidden", FULL)
    await world.reconcile()
    await world.reconcile()
    assert world.kube.writes.count(CREATE_POD) == 1

    world.queue.delays.clear()
    another_pod(world, phase="Succeeded")
    assert world.queue.delays == [0.0]
    await world.reconcile()

    assert world.kube.writes.count(CREATE_POD) == 2
    assert world.cache.pod(JOB_UID, 0) is not None


@pytest.mark.parametrize("message", [TOO_SMALL, UNLIMITED, RANGE])
async def test_a_refusal_that_no_other_pod_causes_is_shown_and_ends_the_job(message: str) -> None:
    world = World(SETTINGS, timeouts={"startupSeconds": 10})
    for _ in range(30):
        world.kube.refuse("POST", 403, "Forbidden", message)

    for _ in range(20):
        await world.reconcile()
        world.now += 1

    assert world.end == ("Failed", "PodRejected", "Delivered")


async def test_a_job_that_exceeds_the_limits_of_its_tenant_alone_ends_at_once() -> None:
    world = World(SETTINGS, resources={"limits": {"cpu": "4"}})
    spec = {"limits": {"cpu": "2"}}
    world.parts.tenants.replace([{"metadata": {"name": "team-a"}, "spec": spec}])

    await world.reconcile()

    assert world.end == ("Failed", "InvalidSpec", "Delivered")
    assert "limits.cpu of NanoGridTenant team-a" in world.status["message"]
    assert world.now < CREATED + 2
