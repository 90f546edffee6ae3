"""Pools and their pods as events bring them, in any order, and the agents that wait."""

import copy
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid.types import Json
from nanogrid_operator.model.claim import ClaimProofs
from nanogrid_operator.model.pod_facts import pod_facts
from nanogrid_operator.model.restored import restored
from nanogrid_operator.watch.agents import WaitingAgents
from nanogrid_operator.watch.liveness import Liveness
from nanogrid_operator.watch.pools import PoolCache
from nanogrid_operator.workqueue import WorkQueue
from support.builders import CREATED, JOB_UID, RESULT_KEY_MASTER, a_job_body, merge_patch
from support.pool_world import POOL_UID, PoolWorld, a_pool, a_pool_body

PROOFS = ClaimProofs(RESULT_KEY_MASTER)
NAME, UID = names.pool_pod("warm", "0000000a"), "pod-a"


def a_waiting_pod(version: int = 20, *, name: str = NAME, uid: str = UID, **more: Any) -> Json:
    body: Json = {
        "metadata": {
            "name": name,
            "namespace": "team-a",
            "uid": uid,
            "resourceVersion": str(version),
            "creationTimestamp": "2025-10-09T08:53:20Z",
            "labels": {names.LABEL_POOL: "warm", names.LABEL_JOB_UID: ""},
            "annotations": {names.ANNOTATION_POOL_PROOF: PROOFS.created(POOL_UID, name)},
            "ownerReferences": [{"kind": names.POOL_KIND, "name": "warm", "uid": POOL_UID}],
        },
        "spec": {"containers": [{"name": "agent"}, {"name": "sandbox"}]},
    }
    return merge_patch(body, more)  # type: ignore[no-any-return]


def claimed(version: int = 30, *, proof: str | None = None, **more: Any) -> Json:
    """The pod as the job's."""
    given = PROOFS.annotation(JOB_UID, 0, UID, CREATED) if proof is None else proof
    changes = {
        "labels": {names.LABEL_JOB_UID: JOB_UID, names.LABEL_ATTEMPT: "0"},
        "annotations": {names.ANNOTATION_CLAIM: given},
        "ownerReferences": [{"kind": names.KIND, "name": "sales", "uid": JOB_UID}],
    }
    return a_waiting_pod(version, **merge_patch({"metadata": changes}, more))


class Seen:
    """A cache, with the pools that changed and the pods that left."""

    def __init__(self, *pods: Json) -> None:
        self.changed: list[str] = []
        self.left: list[str] = []
        self.cache = PoolCache(PROOFS, self.changed.append, self.left.append)
        self.cache.put_pool(a_pool_body())
        for pod in pods:
            self.cache.put_pod(pod)

    @property
    def state(self) -> tuple[list[str], int, tuple[str, int] | None]:
        """The pods that wait, how many are claimed, and whose the pod is."""
        pool = a_pool()
        waiting = [pod.name for pod in self.cache.pods(pool)]
        return waiting, self.cache.claimed(pool), self.cache.attempt_of(UID)


WAITS = ([NAME], 0, None)
CLAIMED = ([], 1, (JOB_UID, 0))
NOTHING = ([], 0, None)
ENDED = {"status": {"phase": "Succeeded"}}


def test_a_pod_waits_until_a_job_claims_it() -> None:
    seen = Seen(a_waiting_pod())
    assert seen.state == WAITS
    assert seen.cache.waiting_pod(UID) is not None
    assert seen.cache.has_pod("team-a", NAME, UID)
    assert not seen.cache.has_pod("team-a", NAME, "other")

    seen.cache.put_pod(claimed())

    assert seen.state == CLAIMED
    assert seen.left == [UID]
    assert seen.cache.waiting_pod(UID) is None


def test_a_late_event_does_not_bring_a_claimed_pod_back() -> None:
    assert Seen(a_waiting_pod(), claimed(), a_waiting_pod(21)).state == CLAIMED
    assert Seen(claimed(), a_waiting_pod()).state == CLAIMED


def test_a_late_event_does_not_bring_an_ended_pod_back() -> None:
    seen = Seen(a_waiting_pod(), claimed(), claimed(40, **ENDED), a_waiting_pod(21))

    assert seen.state == NOTHING


def test_an_older_version_of_a_pod_does_not_count() -> None:
    gone = {"metadata": {"deletionTimestamp": "2025-10-09T09:00:00Z"}}
    seen = Seen(a_waiting_pod(25, **gone), a_waiting_pod(20))

    assert [pod.deleting for pod in seen.cache.pods(a_pool())] == [True]


@pytest.mark.security
@pytest.mark.parametrize(
    "forged",
    [
        a_waiting_pod(metadata={"annotations": {names.ANNOTATION_POOL_PROOF: "0" * 64}}),
        a_waiting_pod(metadata={"annotations": None}),
        a_waiting_pod(metadata={"ownerReferences": None}),
        a_waiting_pod(metadata={"labels": {names.LABEL_POOL: "other"}}),
    ],
)
def test_a_pod_that_the_operator_has_not_created_is_in_no_pool(forged: Json) -> None:
    assert Seen(forged).state == NOTHING
    assert Seen(a_waiting_pod()).state == WAITS


@pytest.mark.security
def test_a_pod_with_a_forged_claim_has_no_job() -> None:
    assert Seen(a_waiting_pod(), claimed(proof="1:" + "0" * 64)).state == NOTHING
    assert Seen(a_waiting_pod(), claimed()).state == CLAIMED


def test_a_deleted_pod_is_in_no_pool() -> None:
    seen = Seen(a_waiting_pod())
    seen.cache.drop_pod(a_waiting_pod(40))
    assert seen.state == NOTHING

    seen = Seen(a_waiting_pod(), claimed())
    seen.cache.drop_pod(claimed(40))
    assert seen.state == NOTHING


def test_a_pod_of_the_same_name_replaces_another_one() -> None:
    seen = Seen(a_waiting_pod(), a_waiting_pod(30, uid="pod-b"))

    assert seen.cache.waiting_pod(UID) is None
    assert seen.cache.waiting_pod("pod-b") is not None


def test_a_list_drops_what_it_does_not_have() -> None:
    seen = Seen(a_waiting_pod())
    seen.cache.replace_pods([], listed_at=19)
    assert seen.state == WAITS, "the pod is newer than the list"
    seen.cache.replace_pods([], listed_at=20)
    assert seen.state == NOTHING

    seen = Seen(claimed())
    seen.cache.replace_pods([], listed_at=29)
    assert seen.state == CLAIMED, "the pod is newer than the list"
    seen.cache.replace_pods([], listed_at=30)
    assert seen.state == NOTHING


def test_a_list_of_pools_drops_what_it_does_not_have() -> None:
    seen = Seen()
    seen.cache.put_pool(a_pool_body(name="other", version=40))

    seen.cache.replace_pools([], listed_at=30)

    assert seen.cache.all_keys() == ["team-a/other"]
    assert seen.cache.pool("team-a/warm") is None


def test_an_older_version_of_a_pool_does_not_count() -> None:
    seen = Seen()
    seen.cache.put_pool(a_pool_body(version=30, minReady=5))
    seen.cache.put_pool(a_pool_body(version=20))

    pool = seen.cache.pool("team-a/warm")
    assert pool is not None
    assert pool.spec is not None
    assert pool.spec.least_ready == 5


# The requests of agents.


class Agents(WaitingAgents):
    """With a clock, and the pods that changed."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.now = 1000.0
        super().__init__(self.changed.append, lambda: self.now)


A_TASK = wire.HandOver(
    task=wire.PodTask(
        namespace="team-a", job="sales", uid=JOB_UID, attempt=0, request_id=JOB_UID,
        execution_timeout_seconds=1, termination_grace_seconds=1, command=[], bucket="",
        outputs=None,
    )
)  # fmt: skip


async def test_a_newer_request_replaces_an_older_one() -> None:
    agents = Agents()
    with agents.request(UID) as older, agents.request(UID) as newer:
        assert older.cancelled()
        assert agents.waits(UID)
        assert agents.hand_over(UID, A_TASK)
        assert newer.result() == A_TASK
        assert not agents.hand_over(UID, A_TASK), "one request has one answer"
    assert not agents.waits(UID)


async def test_an_agent_that_waits_is_not_silent() -> None:
    agents = Agents()
    assert agents.last_waited(UID) is None
    with agents.request(UID):
        agents.now += 100
        assert agents.last_waited(UID) == agents.now
    agents.now += 100
    assert agents.last_waited(UID) == agents.now - 100


async def test_a_pod_that_left_its_pool_is_forgotten() -> None:
    agents = Agents()
    with agents.request(UID) as future:
        agents.leave(UID)
        assert future.cancelled(), "the agent asks again, and gets its task"
    assert agents.last_waited(UID) is None

    with agents.request(UID), agents.taken(UID):
        agents.leave(UID)
        assert not agents.waits(UID)
        assert agents.hand_over(UID, A_TASK), "the claim itself hands the task over"
    assert agents.last_waited(UID) is None


# The caches of jobs and pools, and what a restart finds.


async def test_a_claimed_pod_is_found_after_a_restart() -> None:
    world = PoolWorld()
    world.ready_pod("0000000a")
    await world.reconcile()
    world.requests.close()

    await world.restart()
    await world.reconcile()

    pod = world.cache.pod(JOB_UID, 0)
    assert pod is not None
    assert pod["metadata"]["name"] == NAME
    assert pod_facts(pod).pool == "warm"
    assert world.parts.claims.task_of("pod-0000000a") is not None
    assert len(world.kube.writes) == 1, "the restart writes nothing"


async def test_a_claimed_pod_that_is_gone_after_a_restart_is_a_missed_pod() -> None:
    world = PoolWorld()
    world.ready_pod("0000000a")
    await world.reconcile()
    world.requests.close()
    del world.kube.objects[f"/api/v1/namespaces/team-a/pods/{NAME}"]

    await world.restart()
    await world.reconcile()

    assert world.end[:2] == ("Failed", "PodLost")


async def test_a_claimed_pod_whose_first_event_is_its_deletion_is_gone() -> None:
    world = PoolWorld()
    body = claimed()

    world.parts.handlers.on_pod("DELETED", body)
    await world.reconcile()

    assert world.end[:2] == ("Failed", "PodLost")


async def test_a_waiting_pod_is_the_pod_of_no_job() -> None:
    world = PoolWorld()

    world.waiting_pod("0000000a")
    await world.resync()

    assert world.cache.pods(JOB_UID) == []
    assert world.cache.has_pod("team-a", NAME, "pod-0000000a")
    assert world.parts.resync.orphans_deleted == 0


def test_a_pod_that_the_watch_has_brought_is_not_expected_again() -> None:
    now = [0.0]
    liveness = Liveness(WorkQueue(), 300.0, lambda: now[0])
    liveness.seen("pods", 50)

    liveness.expect("pods", 50)
    now[0] += 100
    assert liveness.problem() == ""

    liveness.expect("pods", 51)
    now[0] += 100
    assert "resourceVersion 51" in liveness.problem()


def test_the_name_of_a_pools_pod_does_not_show_that_a_job_is_restored() -> None:
    status = {"phase": "Running", "podName": NAME, "requestId": JOB_UID}

    assert restored(a_job_body(status=status)) == ""
    assert restored(a_job_body(status={**copy.deepcopy(status), "requestId": "other"}))
