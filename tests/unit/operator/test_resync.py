"""The resync: what a LIST brings, when it is retried, which pods are orphans."""

import asyncio
import copy

from nanogrid.names import LABEL_JOB_UID
from support.builders import JOB_UID, a_job_body, a_pod_body, running, some_settings
from support.operator_fakes import JOBS, PODS
from support.operator_world import World


async def test_an_orphaned_pod_is_deleted_after_a_while_and_no_other_pod() -> None:
    world = World()
    world.start()
    lost = a_pod_body(job_uid="uid-of-a-deleted-job")
    lost["metadata"] |= {"name": "lost-0", "ownerReferences": []}
    foreign = copy.deepcopy(lost)
    foreign["metadata"] |= {"name": "foreign-0", "labels": {LABEL_JOB_UID: "another"}}
    lost["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "nanogrid-operator"
    foreign["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "another operator"
    mine = a_pod_body()
    mine["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "nanogrid-operator"
    for body in (lost, foreign, mine):
        world.kube.put(PODS, body)

    await world.resync()
    assert not [w for w in world.kube.writes if w.startswith("DELETE")], "its job may be new"

    world.now += 700
    await world.resync()

    assert [w for w in world.kube.writes if w.startswith("DELETE")] == [
        f"DELETE {PODS}/lost-0 {lost['metadata']['uid']}"
    ]
    assert world.parts.resync.orphans_deleted == 1


async def test_a_list_brings_all_jobs_and_pods_and_primes_the_cache() -> None:
    world = World()
    world.start()
    world.kube.put(PODS, a_pod_body(phase="Running", agent=running(), sandbox=running()))
    before = world.cache.primed

    await world.resync()

    assert (before, world.cache.primed) == (False, True)
    assert world.cache.uids() == [JOB_UID]
    assert world.cache.pod(JOB_UID, 0) is not None
    assert len(world.queue) == 1


async def test_each_watched_namespace_is_listed() -> None:
    world = World(some_settings(watch_namespaces="team-a,team-b", s3_secret=""))
    other = a_job_body(name="b", uid="uid-b", namespace="team-b")
    world.kube.put(JOBS.replace("team-a", "team-b"), other)

    await world.resync()

    assert sorted(world.cache.uids()) == sorted([JOB_UID, "uid-b"])


async def test_a_list_that_fails_is_tried_again_at_the_next_interval() -> None:
    world = World()
    world.start()
    world.kube.refuse("LIST", 500)
    interval = world.settings.resync_seconds

    running_resync = asyncio.create_task(world.parts.resync.run())
    await asyncio.sleep(1.5 * interval)
    after_one = world.cache.uids()
    await asyncio.sleep(interval)
    after_two = world.cache.uids()
    running_resync.cancel()

    assert (after_one, after_two) == ([], [JOB_UID])


async def test_the_first_list_is_tried_again_until_it_succeeds() -> None:
    world = World()
    world.start()
    for code in (0, 500, 503):
        world.kube.refuse("LIST", code)

    await world.parts.resync.first()

    assert world.cache.primed
    assert world.cache.uids() == [JOB_UID]
