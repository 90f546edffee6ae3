"""What the operator measures of pools: claims and misses from the starts of jobs, and gauges."""

import asyncio
from types import SimpleNamespace

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.metrics.registry import IDLE_SECONDS, OTHER, Metrics
from nanogrid_operator import pool_metrics
from nanogrid_operator.metrics import OperatorMetrics
from nanogrid_operator.model.pool import Miss, Pool, PoolSize, pool_facts
from support.operator_world import World
from support.pool_world import POOL_UID, PoolWorld, a_pool_body

WARM = ("team-a", "warm")


async def kept(world: World) -> World:
    """One pass for the pool, and one of the gauges."""
    await world.parts.pool_keeper.keep("team-a/warm")
    await world.parts.gauges.refresh()
    return world


# Starts, claims and misses.


async def test_a_claim_counts_once_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = PoolWorld()
    world.ready_pod("0000000a")
    times = iter((100.0, 100.012))
    monkeypatch.setattr(world.parts.claims, "monotonic", lambda: next(times))
    await world.reconcile()
    await world.reconcile()

    assert world.series("pool_claims_total") == {WARM: 1}
    assert world.series("pool_misses_total") == {}
    assert world.series("jobs_started_total") == {("team-a", "Warm"): 1}
    labels = {"namespace": "team-a", "pool": "warm"}
    assert world.measured("pool_claim_seconds_sum", **labels) == pytest.approx(0.012)
    assert world.measured("pool_claim_seconds_bucket", le="0.015", **labels) == 1
    assert world.measured("pool_claim_seconds_bucket", le="0.01", **labels) == 0


async def test_an_empty_pool_is_a_miss_and_a_cold_start() -> None:
    world = PoolWorld()
    await world.reconcile()
    await world.reconcile()

    assert world.series("pool_misses_total") == {(*WARM, "empty"): 1}
    assert world.series("pool_claims_total") == {}
    assert world.series("jobs_started_total") == {("team-a", "Cold"): 1}


async def test_a_job_that_does_not_fit_is_a_miss() -> None:
    world = PoolWorld(resources={"limits": {"memory": "4Gi"}})
    world.ready_pod("0000000a")
    await world.reconcile()

    assert world.series("pool_misses_total") == {(*WARM, "misfit"): 1}


async def test_a_pod_that_another_job_takes_first_is_a_conflict() -> None:
    world = PoolWorld()
    world.ready_pod("0000000a")
    pod = world.pod("0000000a")
    pod["metadata"]["labels"]["nanogrid.io/job-uid"] = "other"
    pod["metadata"]["resourceVersion"] = "51"
    await world.reconcile()

    assert world.series("pool_misses_total") == {(*WARM, "conflict"): 1}
    assert world.series("pool_claims_total") == {}


async def test_a_start_that_no_event_can_record_is_a_miss() -> None:
    world = PoolWorld()
    world.ready_pod("0000000a")
    world.kube.refuse("EVENT", 403, "Forbidden", "exceeded quota")
    await world.reconcile()

    assert world.series("pool_misses_total") == {(*WARM, "conflict"): 1}


async def test_a_job_without_a_pool_starts_cold_and_misses_nothing() -> None:
    world = World()
    await world.reconcile()

    assert world.series("jobs_started_total") == {("team-a", "Cold"): 1}
    assert world.series("pool_misses_total") == {}


async def test_a_pool_that_does_not_exist_has_no_series() -> None:
    """Its name is any text of a job."""
    world = PoolWorld(poolRef={"name": "unknown"})
    await world.reconcile()

    assert world.series("jobs_started_total") == {("team-a", "Cold"): 1}
    assert world.series("pool_misses_total") == {}


async def test_a_miss_counts_once_if_its_pod_is_created_at_the_second_try() -> None:
    world = PoolWorld()
    world.kube.refuse("POST", 500)
    with pytest.raises(KubeError):
        await world.reconcile()
    before = world.series("jobs_started_total")
    await world.reconcile()

    assert before == {}
    assert world.series("pool_misses_total") == {(*WARM, "empty"): 1}
    assert world.series("jobs_started_total") == {("team-a", "Cold"): 1}


async def test_a_claim_counts_once_if_its_patch_is_repeated() -> None:
    world = PoolWorld()
    world.ready_pod("0000000a")
    world.kube.refuse("PATCH", 0, "TimeoutError")
    with pytest.raises(KubeError):
        await world.reconcile()
    before = world.series("pool_claims_total")
    await world.reconcile()

    assert before == {}
    assert world.series("pool_claims_total") == {WARM: 1}
    assert world.series("jobs_started_total") == {("team-a", "Warm"): 1}


async def test_a_new_leader_does_not_count_the_miss_of_its_predecessor() -> None:
    world = PoolWorld()
    world.kube.refuse("POST", 500)
    with pytest.raises(KubeError):
        await world.reconcile()
    before = world.series("pool_misses_total")
    await world.restart()
    world.parts.pools.put_pool(a_pool_body())
    await world.reconcile()

    assert before == {(*WARM, "empty"): 1}
    assert world.series("pool_misses_total") == {}
    assert world.series("jobs_started_total") == {("team-a", "Cold"): 1}


# Gauges.


async def test_pods_of_a_pool_count_by_state() -> None:
    world = PoolWorld(pool=a_pool_body(minReady=3))
    world.ready_pod("0000000a")
    world.ready_pod("0000000b")
    world.waiting_pod("0000000c")
    await kept(world)
    before = world.series("pool_pods")
    await world.reconcile()
    world.now += 1
    await kept(world)

    assert before == {(*WARM, "ready"): 2, (*WARM, "starting"): 1}
    assert world.series("pool_target") == {WARM: 3}
    assert world.measured("pool_pods", namespace="team-a", pool="warm", state="ready") == 1
    assert world.measured("pool_pods", namespace="team-a", pool="warm", state="claimed") == 1


async def test_gauges_do_not_need_the_status_of_the_pool() -> None:
    """The API server takes no status, but pods are counted."""
    world = PoolWorld()
    world.ready_pod("0000000a")
    world.kube.refuse("PATCH", 500)
    with pytest.raises(KubeError):
        await kept(world)
    await world.parts.gauges.refresh()

    assert world.series("pool_pods") == {(*WARM, "ready"): 1}


async def test_counters_of_a_pool_begin_at_0_so_that_its_first_miss_is_an_increase() -> None:
    world = await kept(PoolWorld())

    labels = {"namespace": "team-a", "pool": "warm"}
    assert world.measured("pool_claims_total", **labels) == 0
    for reason in Miss:
        assert world.measured("pool_misses_total", **labels, reason=reason.value) == 0


async def test_a_pool_that_is_invalid_should_have_no_pods() -> None:
    world = PoolWorld()
    await kept(world)
    before = world.series("pool_target")
    world.add_pool(a_pool_body(version=900, runtime={"image": ""}))
    world.now += 10
    await kept(world)

    assert before == {WARM: 1}
    assert world.series("pool_target") == {}
    assert world.measured("pool_target", namespace="team-a", pool="warm") == 0


@pytest.mark.parametrize("deleting", [True, False], ids=["is being deleted", "is gone"])
async def test_a_pool_that_ends_has_no_gauges_any_more(deleting: bool) -> None:
    world = PoolWorld()
    world.ready_pod("0000000a")
    await kept(world)
    before = world.series("pool_target")
    if deleting:
        world.add_pool(a_pool_body(version=900, deleting=True))
    else:
        world.parts.pools.drop_pool(a_pool_body())
    await kept(world)

    assert before == {WARM: 1}
    assert world.measured("pool_target", namespace="team-a", pool="warm") is None
    assert world.series("pool_pods") == {}


async def test_a_process_that_stops_has_no_gauges_of_pools() -> None:
    world = PoolWorld()
    world.ready_pod("0000000a")
    await world.parts.pool_keeper.keep("team-a/warm")
    running_gauges = asyncio.create_task(world.parts.gauges.run())
    await asyncio.sleep(0)
    before = world.series("pool_pods")

    running_gauges.cancel()
    await asyncio.wait([running_gauges])

    assert before == {(*WARM, "ready"): 1}
    assert world.series("pool_pods") == {}
    assert world.measured("pool_target", namespace="team-a", pool="warm") is None


# The number of series.


def a_pool_of(namespace: str, name: str) -> Pool:
    body = a_pool_body(name=name, uid=f"{POOL_UID}-{namespace}-{name}")
    body["metadata"]["namespace"] = namespace
    return pool_facts(body)


def sizes(*pools: Pool) -> list[PoolSize]:
    return [PoolSize(pool=pool, target=2, ready=1, starting=1, claimed=0) for pool in pools]


def series(metrics: OperatorMetrics, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels.values()): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == f"nanogrid_pool_{name}"
    }


def test_the_number_of_pools_has_a_bound_for_all_and_for_one_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_metrics, "POOLS", 5)
    monkeypatch.setattr(pool_metrics, "POOLS_OF_NAMESPACE", 3)
    metrics = OperatorMetrics(Metrics("operator"))
    pools = [a_pool_of(namespace, f"p-{n}") for namespace in ("a", "b", "c") for n in range(4)]
    for pool in pools:
        metrics.pools.claimed(pool, 0.01)
        metrics.pools.missed(pool, Miss.EMPTY)
    metrics.pools.show(sizes(*pools))

    own = {("a", "p-0"), ("a", "p-1"), ("a", "p-2"), ("b", "p-0"), ("b", "p-1")}
    targets = dict.fromkeys(own, 2) | {(OTHER, OTHER): 14}
    assert series(metrics, "target") == targets
    assert series(metrics, "claims_total") == dict.fromkeys(own, 1) | {(OTHER, OTHER): 7}
    assert set(series(metrics, "claim_seconds_count")) == set(targets)


def test_a_new_pool_takes_the_place_of_one_that_is_gone_with_all_its_series(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_metrics, "POOLS", 1)
    clock = SimpleNamespace(now=0.0)
    metrics = OperatorMetrics(Metrics("operator"), lambda: clock.now)
    old, new = a_pool_of("a", "old"), a_pool_of("b", "new")
    metrics.pools.claimed(old, 0.01)
    metrics.pools.missed(old, Miss.MISFIT)
    metrics.pools.show(sizes(old))
    clock.now = IDLE_SECONDS
    metrics.pools.show(sizes(new))

    names = ("target", "pods", "claims_total", "misses_total", "claim_seconds_count")
    found: set[tuple[str, ...]] = set()
    for name in names:
        found |= {labels[:2] for labels in series(metrics, name)}
    assert found == {("b", "new")}


def test_a_pool_that_waits_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a job for an hour, but it exists."""
    monkeypatch.setattr(pool_metrics, "POOLS", 1)
    clock = SimpleNamespace(now=0.0)
    metrics = OperatorMetrics(Metrics("operator"), lambda: clock.now)
    first, second = a_pool_of("a", "first"), a_pool_of("b", "second")
    metrics.pools.claimed(first, 0.01)
    for clock.now in range(0, 3600, 300):
        metrics.pools.show(sizes(first, second))

    assert series(metrics, "claims_total") == {("a", "first"): 1, (OTHER, OTHER): 0}
