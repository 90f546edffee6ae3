"""The keeper of pools over an API server in memory, on fake time."""

import asyncio
from typing import Any

import pytest

from nanogrid import names
from nanogrid.types import Json
from nanogrid_operator.reconcile.claims import UNREAD_SECONDS
from nanogrid_operator.reconcile.pools import CHECK_SECONDS, STATUS_SECONDS
from support.builders import CREATED, CREATED_TEXT, a_report, a_result
from support.fake_time import now
from support.operator_fakes import CREATE_POD, PODS, POOLS
from support.operator_world import run_for
from support.pool_world import PoolWorld, a_pool_body, pool_settings

WRITE = f"PATCH {POOLS}/warm/status"
QUOTA = "exceeded quota: pods"


class Pools(PoolWorld):
    """A world whose clocks follow the loop's; the pool is kept by :meth:`keep`."""

    def __init__(self, **spec: Any) -> None:
        super().__init__(pool=a_pool_body(**spec))
        self.began = now()

    @property  # type: ignore[override]
    def now(self) -> float:
        return CREATED + 1 + now() - self.began if hasattr(self, "began") else CREATED + 1

    @now.setter
    def now(self, value: float) -> None:
        """The loop has the time."""

    async def keep(self, seconds: float = 1.0) -> None:
        """Run the keeper for a while."""
        await run_for(seconds, self.parts.pool_keeper.run())

    def watch(self) -> None:
        """The watch brings the pods of the pool, and their agents ask."""
        for name, pod in self.pods.items():
            self.watch_pod(name)
            uid = pod["metadata"]["uid"]
            if uid not in self.futures and not pod["metadata"].get("deletionTimestamp"):
                self.ask(uid)

    @property
    def pods(self) -> dict[str, Json]:
        found = {k: v for k, v in self.kube.objects.items() if k.startswith(f"{PODS}/")}
        return {key.rpartition("/")[2]: pod for key, pod in found.items()}

    @property
    def shown(self) -> Json:
        status: Json = self.kube.objects[f"{POOLS}/warm"].get("status", {})
        return status

    @property
    def condition(self) -> tuple[str, str]:
        (found,) = self.shown["conditions"]
        return found["status"], found["reason"]

    def writes(self, line: str) -> int:
        return self.kube.writes.count(line)


async def test_a_pool_is_filled() -> None:
    pools = Pools(minReady=3)

    await pools.keep()

    assert len(pools.pods) == 3
    assert all(pod["metadata"]["labels"][names.LABEL_POOL] == "warm" for pod in pools.pods.values())
    assert (pools.shown["target"], pools.shown["ready"], pools.shown["starting"]) == (3, 0, 3)
    assert pools.condition == ("False", "PoolStarting")


async def test_pods_whose_agents_ask_are_ready() -> None:
    pools = Pools(minReady=2)
    await pools.keep()
    pools.watch()

    await pools.keep(5)

    assert (pools.shown["ready"], pools.shown["starting"]) == (2, 0)
    assert pools.condition == ("True", "PoolReady")


async def test_an_idle_pool_causes_no_request() -> None:
    pools = Pools(minReady=2)
    await pools.keep()
    pools.watch()
    await pools.keep(5)
    before = list(pools.kube.writes)
    for verb in ("GET", "LIST", "POST", "PATCH", "DELETE"):
        pools.kube.refuse(verb, 500)

    await pools.keep(20 * CHECK_SECONDS)

    assert pools.kube.writes == before
    assert all(len(left) == 1 for left in pools.kube.refusals.values())


async def test_a_claimed_pod_is_replaced() -> None:
    pools = Pools(minReady=2)
    await pools.keep()
    pools.watch()
    await pools.keep(5)

    await pools.reconcile()
    await pools.keep(5)

    assert len(pools.pods) == 3
    assert (pools.shown["claimed"], pools.shown["claims"], pools.shown["misses"]) == (1, 1, 0)
    assert pools.shown["claimP50Millis"] == 0


async def test_a_job_that_finds_no_pod_is_a_miss() -> None:
    pools = Pools(minReady=1)

    await pools.reconcile()
    await pools.keep(5)

    assert (pools.shown["claims"], pools.shown["misses"]) == (0, 1)
    assert "No pod of ExecutionPool warm was ready" in pools.kube.events[0]["message"]


async def test_the_status_is_written_at_most_every_two_seconds() -> None:
    pools = Pools(minReady=3)
    await pools.keep()
    begin, first = now(), pools.writes(WRITE)

    for _ in range(40):
        pools.parts.pool_keeper.claimed(pools.pool(), 0.01)  # the count changes
        await pools.keep(0.5)

    written = pools.writes(WRITE) - first
    assert 2 <= written <= (now() - begin) / STATUS_SECONDS + 1


async def test_a_quota_slows_the_creation_down_and_is_shown() -> None:
    pools = Pools(minReady=1)
    for _ in range(100):
        pools.kube.refuse("POST", 403, "Forbidden", QUOTA)

    await pools.keep(60)

    tries = pools.writes(CREATE_POD)
    assert 4 <= tries <= 8, "1, 2, 4, 8, 16, 32 s"
    assert pools.condition == ("False", "PoolNotReady")
    assert QUOTA in pools.shown["conditions"][0]["message"]

    pools.kube.refusals.clear()
    await pools.keep(120)
    pools.watch()
    await pools.keep(5)
    assert pools.condition == ("True", "PoolReady")


async def test_an_invalid_pool_has_no_pods_and_says_why() -> None:
    pools = Pools(minReady=1)
    await pools.keep()
    pools.add_pool(a_pool_body(version=500, generation=2, maxAgeSeconds=1))

    await pools.keep(5)

    assert pools.pods == {}
    assert pools.condition == ("False", "PoolInvalid")
    assert "maxAgeSeconds" in pools.shown["conditions"][0]["message"]
    assert pools.shown["observedGeneration"] == 2


async def test_a_deleted_pool_is_forgotten() -> None:
    pools = Pools(minReady=1)
    await pools.keep()
    keeper = pools.parts.pool_keeper
    assert keeper._states

    pools.parts.pools.drop_pool(a_pool_body())
    await pools.keep(1)

    assert not keeper._states
    assert not keeper.templates._known


async def test_a_changed_pool_gets_new_pods() -> None:
    pools = Pools(minReady=1)
    await pools.keep()
    (old,) = pools.pods
    pools.add_pool(a_pool_body(version=500, generation=2, minReady=1, preload=["json"]))

    await pools.keep(5)

    (new,) = pools.pods
    assert new != old


async def test_the_demand_raises_the_target_and_idle_time_lowers_it() -> None:
    pools = Pools(minReady=1, maxReady=5)
    pool = pools.pool()
    for _ in range(4):
        pools.parts.pool_keeper.wanted(pool, False)

    await pools.keep(5)
    assert pools.shown["target"] == 4
    assert len(pools.pods) == 4
    pools.watch()
    await pools.keep(400)

    assert pools.shown["target"] == 1
    assert len(pools.pods) == 1


async def test_a_pod_that_a_claim_has_chosen_is_not_deleted() -> None:
    pools = Pools(minReady=1)
    pods = [pools.waiting_pod(f"0000000{digit}") for digit in "abc"]
    uids = [pod["metadata"]["uid"] for pod in pods]
    for uid in uids:
        pools.ask(uid)

    with pools.parts.agents.taken(uids[0]):
        pools.add_pool(a_pool_body(version=500, minReady=0, maxReady=0, preload=["json"]))
        await pools.keep(2)
        assert [pod["metadata"]["uid"] for pod in pools.pods.values()] == [uids[0]]


async def test_without_token_reviews_a_pool_says_that_it_cannot_work() -> None:
    pools = PoolWorld(settings=pool_settings(report_key="secret"))

    await run_for(5, pools.parts.pool_keeper.run())

    (condition,) = pools.kube.objects[f"{POOLS}/warm"]["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "PoolInvalid")
    assert "rbac.clusterWide" in condition["message"]


@pytest.mark.parametrize("pool", [{}, {"resources": {"limits": {"memory": "512Mi"}}}])
async def test_the_status_of_a_job_says_how_it_started(pool: Json) -> None:
    warm = PoolWorld(pool=a_pool_body(**pool))
    warm.ready_pod("0000000a")
    await warm.reconcile()
    warm.push(a_report(a_result()))
    await warm.reconcile()

    assert warm.status["start"] == "Warm"
    assert "startMessage" not in warm.status
    assert warm.status["podName"] == names.pool_pod("warm", "0000000a")


async def test_the_status_of_a_job_says_why_it_started_cold() -> None:
    cold = PoolWorld(terminationGracePeriodSeconds=100)
    cold.ready_pod("0000000a")
    await cold.reconcile()
    cold.push(a_report(a_result()))
    await cold.reconcile()

    assert cold.status["start"] == "Cold"
    assert "does not fit ExecutionPool warm" in cold.status["startMessage"]
    assert "s to stop" in cold.status["startMessage"]
    assert cold.owner("0000000a") == ""


async def test_a_pod_that_cannot_be_claimed_leads_to_a_cold_start() -> None:
    world = PoolWorld()
    world.ready_pod("0000000a")
    world.kube.refuse("PATCH", 403, "Forbidden", "a policy denies it")

    await world.reconcile()

    assert world.events == ["PodClaimed"]
    assert CREATE_POD in world.kube.writes
    assert world.owner("0000000a") == ""


async def test_an_agent_whose_claim_had_no_answer_gets_its_task_at_once() -> None:
    world = PoolWorld()
    future = world.ready_pod("0000000a")
    write = world.kube.patch

    async def lose(path: str, name: str, body: Json) -> Json:
        await write(path, name, body)
        world.watch_pod(name)  # the watch is faster
        world.kube.patch = write  # type: ignore[method-assign]
        raise TimeoutError

    world.kube.patch = lose  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        await world.reconcile()
    await asyncio.sleep(0)

    assert future.cancelled(), "the agent asks again"
    assert world.parts.claims.task_of("pod-0000000a") is not None


async def test_a_claimed_pod_that_is_deleted_gets_no_task() -> None:
    world = PoolWorld()
    world.ready_pod("0000000a")
    await world.reconcile()
    assert world.parts.claims.task_of("pod-0000000a") is not None

    world.pod("0000000a")["metadata"]["deletionTimestamp"] = CREATED_TEXT
    world.kube.touch(PODS, names.pool_pod("warm", "0000000a"))
    world.watch_pod(names.pool_pod("warm", "0000000a"))

    assert world.parts.claims.task_of("pod-0000000a") is None


@pytest.mark.parametrize("read", [True, False])
async def test_a_pod_that_does_not_fetch_its_task_is_deleted(read: bool) -> None:
    world = Pools()
    world.ready_pod("0000000a")
    await world.reconcile()
    if read:
        world.parts.agents.task_read("pod-0000000a")
    await run_for(UNREAD_SECONDS + 15, world.parts.claims.run())

    deleted = f"DELETE {PODS}/{names.pool_pod('warm', '0000000a')} pod-0000000a"
    assert (deleted in world.kube.writes) is not read
