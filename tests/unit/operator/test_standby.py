"""A standby reads and writes nothing. When it takes over, it continues with what it knows."""

from nanogrid.names import LABEL_JOB_UID
from support.builders import JOB_UID, POD_NAME, a_job_body, a_pod_body, ended
from support.operator_fakes import CREATE_POD, EVENTS, JOBS, PODS
from support.operator_world import World


def take_over(world: World) -> None:
    world.parts.resync.take_over()


def put_started_event(world: World) -> None:
    """The kubelet has started the job's pod."""
    involved = {"kind": "Pod", "name": POD_NAME}
    event = {"metadata": {"name": "e"}, "involvedObject": involved, "reason": "Started"}
    world.kube.put(EVENTS, event)


async def test_a_standby_lists_and_enqueues_nothing() -> None:
    world = World()

    await world.stand_by()
    world.parts.handlers.on_job("MODIFIED", a_job_body())

    assert world.cache.job(JOB_UID) is not None
    assert len(world.queue) == 0
    assert world.kube.writes == []


async def test_a_standby_leaves_orphans_to_its_leader() -> None:
    world = World()
    lost = a_pod_body(job_uid="uid-of-a-deleted-job")
    lost["metadata"]["ownerReferences"] = []
    lost["metadata"]["labels"] = {
        LABEL_JOB_UID: "uid-of-a-deleted-job",
        "app.kubernetes.io/managed-by": "nanogrid-operator",
    }
    world.kube.put(PODS, lost)
    world.now += 700

    await world.stand_by()
    before = list(world.kube.writes)
    take_over(world)
    await world.confirm()

    assert before == []
    assert [w.split()[0] for w in world.kube.writes] == ["DELETE"]


async def test_an_ended_pod_counts_at_once_after_the_take_over() -> None:
    """So the results of ended pods wait for no LIST."""
    world = World()
    world.kube.put(PODS, a_pod_body(phase="Failed", agent=ended(1), sandbox=ended(1)))
    await world.stand_by()

    take_over(world)
    assert await world.queue.get() == JOB_UID
    await world.reconcile()

    assert world.status["phase"] == "Failed"


async def test_a_new_leader_creates_pods_when_its_cache_is_confirmed() -> None:
    world = World()
    await world.stand_by()
    take_over(world)
    await world.reconcile()
    before = list(world.kube.writes)

    await world.confirm()
    await world.reconcile()

    assert before == []
    assert world.kube.writes == [CREATE_POD]


async def test_confirming_enqueues_the_jobs_that_waited_for_it() -> None:
    world = World()
    await world.stand_by()
    take_over(world)
    world.queue.done(await world.queue.get())

    await world.confirm()

    assert await world.queue.get() == JOB_UID


async def test_a_pod_that_came_and_went_while_the_watch_lagged_is_not_created_again() -> None:
    """The last leader created it, and a user has deleted it by force."""
    world = World()
    await world.stand_by()
    put_started_event(world)

    take_over(world)
    await world.reconcile()
    await world.confirm()
    await world.reconcile()

    assert CREATE_POD not in world.kube.writes
    assert world.status["reason"] == "PodLost"


async def test_a_restarted_operator_needs_no_second_list() -> None:
    world = World()

    await world.restart()
    await world.reconcile()

    assert world.kube.writes == [CREATE_POD]
    assert f"{JOBS}/sales" in world.kube.objects
