"""Which pool a job takes a pod from, and what it takes from the pool."""

from typing import Any

import pytest

from nanogrid.types import Json
from nanogrid_operator.decision.pool_choice import NO_POOL, PoolChoice, choose_pool, with_pool
from nanogrid_operator.model.pool import Pool
from support.builders import a_job
from support.pool_world import a_pool

SELECTS = {"jobSelector": {"matchLabels": {"team": "a"}}}


def chosen(*pools: Pool, default: str = "", **job: Any) -> PoolChoice:
    return choose_pool(a_job(**job), pools, default)


def test_a_job_without_a_pool_has_none() -> None:
    assert chosen(a_pool()) == NO_POOL


def test_the_pool_that_a_job_names_comes_first() -> None:
    named, selecting = a_pool(name="named"), a_pool(name="all", **SELECTS)

    found = chosen(selecting, named, poolRef={"name": "named"}, labels={"team": "a"}, default="all")

    assert found == PoolChoice(named)


def test_of_pools_that_select_a_job_the_first_by_name_counts() -> None:
    first, second = a_pool(name="a", **SELECTS), a_pool(name="b", **SELECTS)

    assert chosen(first, second, labels={"team": "a"}) == PoolChoice(first)
    assert chosen(first, second, labels={"team": "b"}) == NO_POOL


def test_the_default_pool_takes_the_other_jobs() -> None:
    default, selecting = a_pool(name="any"), a_pool(name="b", **SELECTS)

    assert chosen(default, selecting, default="any") == PoolChoice(default)
    assert chosen(default, selecting, default="any", labels={"team": "a"}) == PoolChoice(selecting)
    assert chosen(selecting, default="any") == NO_POOL


def test_a_job_that_names_no_pool_takes_none_of_another_mode() -> None:
    batch, sessions = a_pool(name="a", **SELECTS), a_pool(name="b", mode="Session", **SELECTS)
    session: Json = {"mode": "Session", "code": None, "labels": {"team": "a"}}

    assert chosen(batch, sessions, **session) == PoolChoice(sessions)
    assert chosen(sessions, batch, labels={"team": "a"}) == PoolChoice(batch)
    assert chosen(batch, default="a", **session) == NO_POOL
    assert chosen(sessions, default="b") == NO_POOL
    assert chosen(sessions, default="b", mode="Session", code=None) == PoolChoice(sessions)
    assert chosen(batch, **session, poolRef={"name": "a"}) == PoolChoice(batch), "and says why not"


@pytest.mark.parametrize(
    ("pool", "text"),
    [
        (a_pool(name="other"), "There is no ExecutionPool warm in namespace team-a"),
        (a_pool(maxAgeSeconds=1), "ExecutionPool warm is not valid"),
        (a_pool(deleting=True), "ExecutionPool warm is being deleted"),
    ],
)
def test_a_pool_that_cannot_be_used(pool: Pool, text: str) -> None:
    found = chosen(pool, poolRef={"name": "warm"})

    assert found.pool is None
    assert text in found.why


def test_a_job_takes_image_resources_and_service_account_of_its_pool() -> None:
    pool = a_pool(
        runtime={"image": "pandas:2", "runtimeClassName": "gvisor"},
        resources={"limits": {"memory": "1Gi"}},
        serviceAccountName="reports",
    )

    spec = with_pool(a_job(poolRef={"name": "warm"}), [pool]).spec

    assert spec is not None
    assert pool.spec is not None
    assert spec.runtime == pool.spec.runtime
    assert spec.resources == pool.spec.resources
    assert spec.service_account_name == "reports"


def test_the_fields_of_the_job_come_first() -> None:
    pool = a_pool(
        runtime={"image": "pandas:2", "runtimeClassName": "gvisor"},
        resources={"limits": {"memory": "1Gi"}},
        serviceAccountName="reports",
    )
    own = a_job(
        poolRef={"name": "warm"},
        runtime={"image": "own:1"},
        resources={"limits": {"cpu": 1}},
        serviceAccountName="own",
    )

    spec = with_pool(own, [pool]).spec

    assert spec is not None
    assert spec.runtime is not None
    assert (spec.runtime.image, spec.runtime.runtime_class_name) == ("own:1", "gvisor")
    assert spec.service_account_name == "own"


POOLS = {"limits": {"memory": "1Gi", "cpu": "2"}, "requests": {"memory": "512Mi"}}


@pytest.mark.parametrize(
    ("own", "want"),
    [
        (None, POOLS),
        ({}, POOLS),
        (
            {"limits": {"cpu": "1"}},
            {"limits": {"memory": "1Gi", "cpu": "1"}, "requests": {"memory": "512Mi"}},
        ),
        # A request of the pool may be above the job's limit.
        ({"limits": {"memory": "64Mi"}}, {"limits": {"memory": "64Mi", "cpu": "2"}}),
        (
            {"requests": {"memory": "64Mi"}},
            {"limits": {"cpu": "2"}, "requests": {"memory": "64Mi"}},
        ),
    ],
)
def test_a_job_takes_the_resources_that_it_does_not_give(own: Json | None, want: Json) -> None:
    given = {} if own is None else {"resources": own}

    spec = with_pool(a_job(poolRef={"name": "warm"}, **given), [a_pool(resources=POOLS)]).spec

    assert spec is not None
    assert spec.resources is not None
    assert spec.resources.model_dump(exclude_none=True) == want


def test_a_job_takes_nothing_from_a_pool_that_it_does_not_name() -> None:
    job = a_job(labels={"team": "a"})

    assert with_pool(job, [a_pool(runtime={"image": "pandas:2"}, **SELECTS)]) is job
