"""Jobs on a pool: one at a time, one after the other, bursts, and a rate."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kubernetes.client.exceptions import ApiException

from bench.performance import observer as o
from bench.performance.budget import Budget, say
from bench.performance.bursts import Burst, kind_of, measure_one, removed
from bench.performance.operator import OperatorUsage, undisturbed, window
from bench.performance.runs import POOL, RunError, Runs
from nanogrid import names
from nanogrid.types import Json
from support.benchmark import subjects as s
from support.benchmark.goals import FULL_BURST, POOL_BURST, SUSTAINED
from support.benchmark.manifests import execution_pool

CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
FILL_SECONDS: Final = 240.0
SMALL_POOL: Final = 2  # for one job at a time


def crd(api: o.Api, plural: str) -> Json | None:
    """A CRD of the project; None if the cluster does not have it."""
    try:
        found: Json = api.send("GET", f"{CRDS}/{plural}.{names.GROUP}")
    except ApiException as error:
        if error.status == 404:
            return None
        raise
    return found


def has_field(api: o.Api, field: str) -> bool:
    """Whether the spec of an ExecutionJob has this field in the cluster."""
    found = crd(api, names.PLURAL)
    schemas = (
        [one["schema"]["openAPIV3Schema"] for one in found["spec"]["versions"]] if found else []
    )
    return any(field in schema["properties"]["spec"]["properties"] for schema in schemas)


def resize(runs: Runs, ready: int) -> None:
    """Give the pool so many waiting pods, and wait for them."""
    spec = {"minReady": ready, "maxReady": ready}
    runs.observer.api.send("PATCH", runs.observer.path(o.POOL, POOL), {"spec": spec})
    runs.pool_ready = ready
    runs.fill(FILL_SECONDS)
    say(f"the pool has {ready} waiting pods")


@contextmanager
def pool(runs: Runs) -> Iterator[None]:
    """A small pool, until the context ends."""
    runs.observer.create(o.POOL, execution_pool(POOL, SMALL_POOL, SMALL_POOL))
    runs.pool_ready = SMALL_POOL
    try:
        runs.fill(FILL_SECONDS)
        yield
    finally:
        runs.observer.delete(o.POOL, POOL)


def series(runs: Runs, count: int, budget: Budget, *, full: bool) -> list[float]:
    """The results of jobs, one after the other, in ms; a cold one ends it.

    Args:
        runs: With a pool.
        count: The most jobs.
        budget: No job begins after it.
        full: Wait until the pool is full before each: otherwise its pods start meanwhile.
    """
    found: list[float] = []
    while len(found) < count and budget.left > 0:
        try:
            if full:
                runs.fill(FILL_SECONDS)
            row = runs.warm_at_once()
        except RunError as error:
            say(f"the series ends: {error}")
            break
        if (value := row[s.RESULT]) is not None:
            found.append(round(value, 1))
    return found


def sustained(runs: Runs, count: int) -> Json:
    """Jobs at a rate, until all have their results."""
    kind, make = kind_of(runs, s.BURST_POOL)
    with removed(Burst(runs, kind, make)) as burst:
        burst.create(count, SUSTAINED)
        from_first = burst.times(o.RESULT, o.PUBLISHED)
        own = burst.times(o.RESULT, o.PUBLISHED, own=True)
        burst.times(kind, o.TERMINAL)
        warm = count - burst.cold()
    seconds = max(from_first) / 1000
    say(f"{count} jobs at {SUSTAINED:g}/s: all results after {seconds:.1f} s, {warm} warm")
    return {
        "offered": SUSTAINED, "jobs": count, "seconds": round(seconds, 2), "warm": warm,
        "pool": runs.pool_ready, "results": own,
    }  # fmt: skip


def measure(
    runs: Runs, usage: OperatorUsage, budget: Budget, document: dict[str, Any], *, quick: bool
) -> None:
    """Series, bursts and rate on one pool; adds what is measured to the document."""
    sizes = (10,) if quick else (POOL_BURST, FULL_BURST)
    document["series"] = series(runs, 4 if quick else 40, budget.part(75), full=True)
    resize(runs, sizes[0])
    document["in_a_row"] = series(runs, max(1, sizes[0] - 4), budget.part(30), full=False)
    windows = document.setdefault("operator", {}).setdefault("warm", [])
    for number, size in enumerate(sizes):
        if number and not budget.allows(budget.longest("burst")):
            document["skipped"][f"burst of {size} on a pool"] = "the time was over"
            break
        with budget.timed("burst"):
            resize(runs, size)
            with window(usage, size) as one:
                found = measure_one(runs, s.BURST_POOL, size, 0)
            if not found["cold"] and undisturbed(one, document):
                windows.append(one)
            document.setdefault("bursts", []).append(found)
    if not budget.allows(budget.longest("burst")):
        document["skipped"]["20 jobs/s on a pool"] = "the time was over"
        return
    runs.fill(FILL_SECONDS)
    document["sustained"] = sustained(runs, 20 if quick else 100)
