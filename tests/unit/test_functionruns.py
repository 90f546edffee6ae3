"""Runs are counted beside everything else: few writes, bounded memory, nothing that raises."""

import asyncio
import copy
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from nanogrid.names import LABEL_FUNCTION
from nanogrid_operator import functionruns
from nanogrid_operator.functionruns import FunctionRuns
from nanogrid_operator.kube import KubeError
from unit.builders import CREATED, Json
from unit.fakes import FakeKube
from unit.function_builders import (
    FUNCTION,
    FUNCTIONS,
    WRITE_FUNCTION,
    a_function_body,
    a_labelled_run,
    a_run_body,
)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and retries within milliseconds."""
    monkeypatch.setattr(functionruns, "BATCH_SECONDS", 0.05)
    monkeypatch.setattr(functionruns, "CAP_SECONDS", 0.01)


@dataclass
class Grid:
    """An API server with a function, and operators that count its runs."""

    kube: FakeKube = field(default_factory=FakeKube)
    now: float = CREATED + 20

    def __post_init__(self) -> None:
        self.kube.put(FUNCTIONS, a_function_body())

    def counter(self) -> FunctionRuns:
        return FunctionRuns(self.kube, lambda: self.now)

    @property
    def status(self) -> Json:
        found: Json = self.kube.objects[f"{FUNCTIONS}/{FUNCTION}"].get("status", {})
        return found

    @property
    def runs(self) -> int:
        return int(self.status.get("runs", 0))


@asynccontextmanager
async def working(*counters: FunctionRuns) -> AsyncIterator[None]:
    """Counters that work until the block ends."""
    tasks = [asyncio.create_task(counter.run()) for counter in counters]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(check: Callable[[], Any], what: str = "the condition") -> None:
    """Wait for it; ten seconds are far more than any slow machine needs."""
    try:
        async with asyncio.timeout(30):
            while not check():  # noqa: ASYNC110 it waits for what it does not own
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what} did not come true") from None


async def test_many_ends_at_once_are_one_write() -> None:
    grid = Grid()
    counter = grid.counter()
    for number in range(300):
        counter.offer(a_labelled_run(f"run-{number}"))

    async with working(counter):
        await until(lambda: counter.idle)

    assert grid.runs == 300
    assert grid.kube.writes == [WRITE_FUNCTION]


async def test_a_run_that_was_offered_again_costs_no_call() -> None:
    grid = Grid()
    counter = grid.counter()
    async with working(counter):
        counter.offer(a_labelled_run())
        await until(lambda: counter.idle)
        before = grid.kube.version
        counter.offer(a_labelled_run())
        counter.listed(a_labelled_run())

        assert counter.idle
    assert (grid.runs, grid.kube.version) == (1, before)


async def test_a_restarted_operator_finds_what_is_counted_and_counts_what_is_not() -> None:
    grid = Grid()
    first, second = grid.counter(), grid.counter()
    async with working(first):
        first.offer(a_labelled_run("counted"))
        await until(lambda: first.idle)

    async with working(second):
        for uid in ("counted", "missed"):
            second.listed(a_labelled_run(uid))
        await until(lambda: second.idle)

    assert grid.runs == 2


async def test_two_operators_that_saw_the_same_runs_count_each_once() -> None:
    grid = Grid()
    counters = [grid.counter(), grid.counter()]
    async with working(*counters):
        for number in range(40):
            for counter in counters:
                counter.offer(a_labelled_run(f"run-{number}"))
        await until(lambda: all(counter.idle for counter in counters))

    assert grid.runs == 40


async def test_a_conflict_is_decided_anew() -> None:
    grid = Grid()
    counter = grid.counter()
    grid.kube.refuse("PATCH", 409, "Conflict")
    async with working(counter):
        counter.offer(a_labelled_run())
        await until(lambda: counter.idle)

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
        await until(lambda: counter.idle)

    assert grid.runs == 1
    assert grid.kube.writes == [WRITE_FUNCTION]


async def test_an_api_server_that_stays_away_is_not_asked_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    grid = Grid()
    counter = grid.counter()
    for _ in range(functionruns.TRIES):
        grid.kube.refuse("GET", 0, "ClientConnectorError", "refused")
    async with working(counter):
        counter.offer(a_labelled_run())
        await until(lambda: counter.idle)
        assert grid.runs == 0
        assert "1 runs are not counted until the next LIST" in caplog.text

        counter.listed(a_labelled_run())
        await until(lambda: counter.idle)

    assert grid.runs == 1


@pytest.mark.parametrize("refusals", [functionruns.TRIES - 1])
async def test_one_that_comes_back_in_time_has_the_run(refusals: int) -> None:
    grid = Grid()
    counter = grid.counter()
    for _ in range(refusals):
        grid.kube.refuse("GET", 503, "ServiceUnavailable")
    async with working(counter):
        counter.offer(a_labelled_run())
        await until(lambda: counter.idle)

    assert grid.runs == 1


async def test_a_function_id_that_is_no_function_is_asked_for_once_a_minute() -> None:
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
            await until(lambda: counter.idle)
        assert kube.gets == 1

        # Whoever names it by label knows that it is there.
        label = {LABEL_FUNCTION: "other"}
        counter.offer(a_run_body("labelled", labels=label))
        await until(lambda: counter.idle)
        assert kube.gets == 2

        grid.now += functionruns.ABSENT_SECONDS + 1
        counter.offer(a_run_body("later", functionId="other"))
        await until(lambda: counter.idle)
        assert kube.gets == 3
    assert kube.writes == []


async def test_a_function_made_anew_starts_at_nothing() -> None:
    grid = Grid()
    counter = grid.counter()
    async with working(counter):
        counter.offer(a_labelled_run("old"))
        await until(lambda: counter.idle)
        anew = a_function_body(uid="anew")
        anew["metadata"]["creationTimestamp"] = "2025-10-09T09:00:00Z"
        grid.kube.put(FUNCTIONS, anew)
        counter.offer(a_labelled_run("old"))
        counter.offer(a_labelled_run("new", created_age=1000, age=1010))
        await until(lambda: counter.idle)

    assert [entry["uid"] for entry in grid.status["recent"]] == ["new"]


async def test_a_deleted_function_is_dropped() -> None:
    grid = Grid()
    grid.kube.objects.clear()
    counter = grid.counter()
    async with working(counter):
        counter.offer(a_labelled_run())
        await until(lambda: counter.idle)

    assert grid.kube.writes == []


@pytest.mark.parametrize(
    ("age", "counts"), [(20.0, True), (20.0 - functionruns.RECENT_SECONDS - 2, False)]
)
async def test_a_list_offers_what_ended_of_late(age: float, counts: bool) -> None:
    grid = Grid()
    counter = grid.counter()
    counter.listed(a_labelled_run(age=age))

    assert counter.idle is not counts


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functionruns, "MOST_PENDING", 3)
    grid = Grid()
    counter = grid.counter()
    for number in range(5):
        counter.offer(a_labelled_run(f"run-{number}"))

    async with working(counter):
        await until(lambda: counter.idle)
        assert grid.runs == 3
        counter.offer(a_labelled_run("run-4"))
        await until(lambda: counter.idle)
    assert grid.runs == 4, "room again"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda job: job["status"]["result"].pop("reason"),
        lambda job: job["status"]["result"].update(peakMemoryBytes="much"),
        lambda job: job["status"].update(result="text"),
        lambda job: job["status"]["attempts"][0].update(memoryLimit="x"),
        lambda job: job.pop("spec"),
    ],
)
async def test_a_job_that_cannot_be_read_is_said_and_left_out(
    spoil: Callable[[Json], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "nanogrid.functions")
    job = copy.deepcopy(a_labelled_run())
    spoil(job)
    counter = Grid().counter()

    counter.offer(job)

    assert counter.idle
    assert "job uid=run-1 is not counted" in caplog.text
