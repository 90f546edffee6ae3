"""Runs are counted in the background: few writes, bounded memory, no errors for the caller."""

import asyncio
import copy
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.names import LABEL_FUNCTION
from nanogrid.types import Json
from nanogrid_operator.delivery import function_runs
from nanogrid_operator.delivery.function_runs import FunctionRuns
from support.builders import CREATED
from support.function_builders import (
    FUNCTION,
    FUNCTIONS,
    WRITE_FUNCTION,
    a_function_body,
    a_labelled_run,
    a_run_body,
)
from support.operator_fakes import FakeKube


@dataclass
class Grid:
    """An API server with a function, and operators that count its runs."""

    kube: FakeKube = field(default_factory=FakeKube)
    now: float = CREATED + 20

    def __post_init__(self) -> None:
        self.kube.put(FUNCTIONS, a_function_body())

    def counter(self, **limits: int) -> FunctionRuns:
        return FunctionRuns(self.kube, lambda: self.now, **limits)

    @property
    def status(self) -> Json:
        found: Json = self.kube.objects[f"{FUNCTIONS}/{FUNCTION}"].get("status", {})
        return found

    @property
    def runs(self) -> int:
        return int(self.status.get("runs", 0))


@asynccontextmanager
async def working(*counters: FunctionRuns) -> AsyncIterator[None]:
    """Run counters until the block ends."""
    tasks = [asyncio.create_task(counter.run()) for counter in counters]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_idle(*counters: FunctionRuns) -> None:
    """Wait until all runs are counted, or given up."""
    async with asyncio.timeout(600):
        while not all(counter.idle for counter in counters):  # noqa: ASYNC110 on fake time
            await asyncio.sleep(0.1)


async def test_many_runs_are_counted_in_one_write() -> None:
    grid = Grid()
    counter = grid.counter()
    for number in range(300):
        counter.offer(a_labelled_run(f"run-{number}"))

    async with working(counter):
        await until_idle(counter)

    assert grid.runs == 300
    assert grid.kube.writes == [WRITE_FUNCTION]


async def test_a_run_that_is_offered_again_costs_no_call() -> None:
    grid = Grid()
    counter = grid.counter()
    async with working(counter):
        counter.offer(a_labelled_run())
        await until_idle(counter)
        before = grid.kube.version
        counter.offer(a_labelled_run())
        counter.offer_listed(a_labelled_run())

        assert counter.idle
    assert (grid.runs, grid.kube.version) == (1, before)


async def test_a_restarted_operator_counts_only_missed_runs() -> None:
    grid = Grid()
    first, second = grid.counter(), grid.counter()
    async with working(first):
        first.offer(a_labelled_run("counted"))
        await until_idle(first)

    async with working(second):
        for uid in ("counted", "missed"):
            second.offer_listed(a_labelled_run(uid))
        await until_idle(second)

    assert grid.runs == 2


async def test_two_operators_count_each_run_once() -> None:
    grid = Grid()
    counters = [grid.counter(), grid.counter()]
    async with working(*counters):
        for number in range(40):
            for counter in counters:
                counter.offer(a_labelled_run(f"run-{number}"))
        await until_idle(*counters)

    assert grid.runs == 40


async def test_a_conflict_is_retried_with_the_newer_status() -> None:
    grid = Grid()
    counter = grid.counter()
    grid.kube.refuse("PATCH", 409, "Conflict")
    async with working(counter):
        counter.offer(a_labelled_run())
        await until_idle(counter)

    assert grid.runs == 1
    assert grid.kube.writes == [WRITE_FUNCTION] * 2


async def test_a_write_whose_answer_was_lost_counts_once() -> None:
    class Lossy(FakeKube):
        lost = 1

        async def patch_status(self, path: str, name: str, body: Json) -> Json:
            answer = await super().patch_status(path, name, body)
            if self.lost:
                self.lost -= 1
                raise KubeError(0, "TimeoutError", "no answer")
            return answer

    grid = Grid(kube=Lossy())
    counter = grid.counter()
    async with working(counter):
        counter.offer(a_labelled_run())
        await until_idle(counter)

    assert grid.runs == 1
    assert grid.kube.writes == [WRITE_FUNCTION]


async def test_a_long_outage_ends_the_tries_until_the_next_list(
    caplog: pytest.LogCaptureFixture,
) -> None:
    grid = Grid()
    counter = grid.counter()
    for _ in range(function_runs.TRIES):
        grid.kube.refuse("GET", 0, "ClientConnectorError", "refused")
    async with working(counter):
        counter.offer(a_labelled_run())
        await until_idle(counter)
        assert grid.runs == 0
        assert "1 runs are not counted until the next LIST" in caplog.text

        counter.offer_listed(a_labelled_run())
        await until_idle(counter)

    assert grid.runs == 1


@pytest.mark.parametrize("refusals", [function_runs.TRIES - 1])
async def test_a_short_outage_loses_no_run(refusals: int) -> None:
    grid = Grid()
    counter = grid.counter()
    for _ in range(refusals):
        grid.kube.refuse("GET", 503, "ServiceUnavailable")
    async with working(counter):
        counter.offer(a_labelled_run())
        await until_idle(counter)

    assert grid.runs == 1


async def test_an_unknown_function_id_is_read_once_a_minute() -> None:
    class Counting(FakeKube):
        gets = 0

        async def get(self, path: str, name: str) -> Json:
            self.gets += 1
            return await super().get(path, name)

    kube = Counting()
    grid = Grid(kube=kube)
    counter = grid.counter()
    async with working(counter):
        for number in range(3):
            counter.offer(a_run_body(f"run-{number}", functionId="other"))
            await until_idle(counter)
        assert kube.gets == 1

        # A label names a function that surely exists.
        label = {LABEL_FUNCTION: "other"}
        counter.offer(a_run_body("labelled", labels=label))
        await until_idle(counter)
        assert kube.gets == 2

        grid.now += function_runs.ABSENT_SECONDS + 1
        counter.offer(a_run_body("later", functionId="other"))
        await until_idle(counter)
        assert kube.gets == 3
    assert kube.writes == []


async def test_a_recreated_function_starts_at_zero() -> None:
    grid = Grid()
    counter = grid.counter()
    async with working(counter):
        counter.offer(a_labelled_run("old"))
        await until_idle(counter)
        recreated = a_function_body(uid="recreated")
        recreated["metadata"]["creationTimestamp"] = "2025-10-09T09:00:00Z"
        grid.kube.put(FUNCTIONS, recreated)
        counter.offer(a_labelled_run("old"))
        counter.offer(a_labelled_run("new", created_age=1000, age=1010))
        await until_idle(counter)

    assert [entry["uid"] for entry in grid.status["recent"]] == ["new"]


async def test_a_deleted_function_is_dropped() -> None:
    grid = Grid()
    grid.kube.objects.clear()
    counter = grid.counter()
    async with working(counter):
        counter.offer(a_labelled_run())
        await until_idle(counter)

    assert grid.kube.writes == []


@pytest.mark.parametrize(
    ("age", "counts"), [(20.0, True), (20.0 - function_runs.RECENT_SECONDS - 2, False)]
)
async def test_a_list_offers_recent_ends(age: float, counts: bool) -> None:
    grid = Grid()
    counter = grid.counter()
    counter.offer_listed(a_labelled_run(age=age))

    assert counter.idle is not counts


async def test_memory_is_bounded() -> None:
    grid = Grid()
    counter = grid.counter(max_pending=3)
    for number in range(5):
        counter.offer(a_labelled_run(f"run-{number}"))

    async with working(counter):
        await until_idle(counter)
        assert grid.runs == 3
        counter.offer(a_labelled_run("run-4"))
        await until_idle(counter)
    assert grid.runs == 4, "there is room again"


@pytest.mark.parametrize(
    "malform",
    [
        lambda job: job["status"]["result"].pop("reason"),
        lambda job: job["status"]["result"].update(peakMemoryBytes="large"),
        lambda job: job["status"].update(result="text"),
        lambda job: job["status"]["attempts"][0].update(memoryLimit="x"),
        lambda job: job.pop("spec"),
    ],
)
async def test_a_malformed_job_is_logged_and_skipped(
    malform: Callable[[Json], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "nanogrid.functions")
    job = copy.deepcopy(a_labelled_run())
    malform(job)
    counter = Grid().counter()

    counter.offer(job)

    assert counter.idle
    assert "the run is not counted" in caplog.text
