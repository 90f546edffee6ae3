"""The thread that sends metrics: bounded, in no job's way, and each job once."""

import asyncio
import fcntl
import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from nanogrid.cloudwatch.client import CloudWatchError
from nanogrid.types import Json
from nanogrid_operator.delivery.cloudwatch import sender
from nanogrid_operator.delivery.cloudwatch.groups import Group
from nanogrid_operator.delivery.cloudwatch.sender import CloudWatchMetrics
from nanogrid_operator.delivery.cloudwatch.targets import EmfTarget
from support.builders import a_report, running, some_settings
from support.emf import documents
from support.function_builders import a_labelled_run, a_run_body
from support.operator_world import World

BOUND_SECONDS = 60


@dataclass
class Recorder:
    """A target whose batches are groups; ``does`` happens first at each call."""

    does: Callable[[int], None] = lambda call: None
    calls: int = 0
    groups: list[Group] = field(default_factory=list)

    def batches(self, groups: Iterable[Group]) -> Iterator[Group]:
        return iter(groups)

    def send(self, batch: Any) -> None:
        self.calls += 1
        self.does(self.calls)
        self.groups.append(batch)

    @property
    def uids(self) -> list[str]:
        return [sample.uid for group in self.groups for sample in group.samples]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short pauses. A thread that a test leaves must not log in the next one."""
    monkeypatch.setattr(sender, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(sender, "LONGEST_PAUSE_SECONDS", 0.01)
    yield
    for thread in threading.enumerate():
        if thread.name == "cloudwatch":
            thread.join(BOUND_SECONDS)
            assert not thread.is_alive()


def metrics_to(target: Any, **changes: Any) -> CloudWatchMetrics:
    return CloudWatchMetrics(target, **{"interval": 0.01, "max_series": 500, **changes})


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        while not condition():  # noqa: ASYNC110 a thread makes it true
            await asyncio.sleep(0.01)


async def test_jobs_are_sent_in_turns() -> None:
    target = Recorder()
    metrics = metrics_to(target)
    async with metrics.sending():
        metrics.offer(a_labelled_run("run-1"))
        await until(lambda: target.uids == ["run-1"])
        metrics.offer(a_labelled_run("run-2"))
        await until(lambda: target.uids == ["run-1", "run-2"])


async def test_a_stop_sends_what_is_left() -> None:
    target = Recorder()
    metrics = metrics_to(target, interval=3600)
    async with metrics.sending():
        for n in range(1000):
            metrics.offer(a_labelled_run(f"run-{n}"))
        assert target.uids == []

    assert target.uids == [f"run-{n}" for n in range(1000)]


async def test_a_job_that_is_offered_twice_counts_once() -> None:
    target = Recorder()
    metrics = metrics_to(target)
    async with metrics.sending():
        for _ in range(3):
            metrics.offer(a_labelled_run())

    assert target.uids == ["run-1"]


async def test_a_malformed_job_is_logged_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    target = Recorder()
    metrics = metrics_to(target)
    broken: list[Json] = [
        {"metadata": {}, "status": {"phase": "Failed"}},
        {**a_labelled_run("x"), "status": {"phase": "Failed", "result": "text"}},
        {**a_labelled_run("y"), "spec": []},
    ]
    async with metrics.sending():
        for job in [*broken, a_labelled_run("good")]:
            metrics.offer(job)

    assert "good" in target.uids
    assert "has no metrics" in caplog.text


def unavailable(message: str = "away") -> CloudWatchError:
    return CloudWatchError(message)


async def test_what_is_not_confirmed_is_sent_again() -> None:
    def fail_twice(call: int) -> None:
        if call <= 2:
            raise unavailable()

    target = Recorder(fail_twice)
    metrics = metrics_to(target)
    async with metrics.sending():
        metrics.offer(a_labelled_run())
        await until(lambda: target.calls == 3)

    assert target.uids == ["run-1"]


async def test_refused_data_is_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    def refuse_first(call: int) -> None:
        if call == 1:
            raise CloudWatchError("InvalidParameterValue", refused=True)

    target = Recorder(refuse_first)
    metrics = metrics_to(target)
    async with metrics.sending():
        metrics.offer(a_labelled_run("bad"))
        await until(lambda: target.calls == 1)
        metrics.offer(a_labelled_run("good"))
        await until(lambda: target.uids == ["good"])

    assert "InvalidParameterValue" in caplog.text


async def test_after_a_long_outage_old_metrics_are_dropped_and_new_ones_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    away = threading.Event()
    away.set()

    def fail_while_away(_: int) -> None:
        if away.is_set():
            raise unavailable()

    target = Recorder(fail_while_away)
    metrics = metrics_to(target, give_up_seconds=0.05)
    async with metrics.sending():
        metrics.offer(a_labelled_run("old"))
        await until(lambda: metrics.pending == 0 and target.calls > 1)
        first = target.calls
        await until(lambda: metrics._lost.batches > 0 or "1 requests" in caplog.text)
        away.clear()
        metrics.offer(a_labelled_run("new"))
        await until(lambda: "new" in target.uids)

    assert first >= 1
    assert target.uids == ["new"]
    assert "CloudWatch: away" in caplog.text


async def test_a_hung_target_costs_memory_up_to_a_bound_and_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The oldest jobs are dropped."""
    hangs, entered = threading.Event(), threading.Event()

    def hang(_: int) -> None:
        entered.set()
        hangs.wait(BOUND_SECONDS)

    target = Recorder(hang)
    metrics = metrics_to(target, max_pending=100)
    async with metrics.sending():
        metrics.offer(a_labelled_run("first"))
        await until(entered.is_set)
        for n in range(5000):
            metrics.offer(a_labelled_run(f"run-{n}"))
        assert metrics.pending == 100
        assert len(metrics._offered) <= 100
        assert [r.getMessage().count("the queue is full") for r in caplog.records] == [1]
        hangs.set()

    assert target.uids == ["first", *(f"run-{n}" for n in range(4900, 5000))]


async def test_a_target_that_hangs_does_not_keep_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "DRAIN_SECONDS", 0.05)
    ends = threading.Event()
    target = Recorder(lambda _: ends.wait(BOUND_SECONDS) and None)
    metrics = metrics_to(target)
    async with metrics.sending():
        metrics.offer(a_labelled_run())
        await until(lambda: target.calls == 1)
    stopped = [t for t in threading.enumerate() if t.name == "cloudwatch"]
    ends.set()

    assert all(thread.daemon for thread in stopped)
    assert "stopped before" in caplog.text


async def test_a_target_that_is_away_does_not_keep_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "DRAIN_SECONDS", 0.2)
    monkeypatch.setattr(sender, "FIRST_PAUSE_SECONDS", 0.02)

    def fail(_: int) -> None:
        raise unavailable()

    target = Recorder(fail)
    metrics = metrics_to(target, interval=3600)
    async with metrics.sending():
        for n in range(300):
            metrics.offer(a_run_body(f"run-{n}", functionId=f"f{n}"))

    assert target.groups == []
    assert target.calls < 100, "pauses between tries, also at the end"
    assert "lost since" in caplog.text or "stopped before" in caplog.text


async def test_an_outage_is_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: int) -> None:
        raise unavailable()

    target = Recorder(fail)
    metrics = metrics_to(target, give_up_seconds=0.001)
    with caplog.at_level(logging.WARNING):
        async with metrics.sending():
            for n in itertools.count():
                metrics.offer(a_labelled_run(f"run-{n}"))
                if target.calls >= 20:
                    break
                await asyncio.sleep(0.001)
            assert len(caplog.records) == 1


async def test_a_fault_of_ours_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    def fail_first(call: int) -> None:
        if call == 1:
            raise RuntimeError("a bug")

    target = Recorder(fail_first)
    metrics = metrics_to(target)
    async with metrics.sending():
        metrics.offer(a_labelled_run("lost"))
        await until(lambda: target.calls == 1)
        metrics.offer(a_labelled_run("next"))
        await until(lambda: target.uids == ["next"])

    assert "the metrics of 1 jobs are lost" in caplog.text


async def test_without_a_mode_nothing_is_kept_and_no_thread_runs() -> None:
    metrics = metrics_to(None)
    async with metrics.sending():
        metrics.offer(a_labelled_run())
        assert metrics.pending == 0
        assert "cloudwatch" not in {thread.name for thread in threading.enumerate()}


# Lines on standard output.


async def test_lines_are_whole_also_on_a_full_pipe() -> None:
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4096)
    metrics = metrics_to(EmfTarget("NanoGrid", {}, writes))
    text = bytearray()

    def read() -> None:
        while piece := os.read(reads, 4096):
            text.extend(piece)

    reader = threading.Thread(target=read)
    async with metrics.sending():
        for n in range(300):
            metrics.offer(a_run_body(f"run-{n}", functionId=f"f{n % 100}"))
        reader.start()
    os.close(writes)
    await asyncio.to_thread(reader.join)
    os.close(reads)

    assert sum(len(d["Failed"]) for d in documents(bytes(text))) == 300


async def test_a_closed_standard_output_is_a_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    metrics = metrics_to(EmfTarget("NanoGrid", {}, writes))
    async with metrics.sending():
        metrics.offer(a_labelled_run())
    os.close(writes)

    assert "standard output" in caplog.text


# The operator offers each job once.


async def test_a_job_counts_once_also_after_a_take_over() -> None:
    world = World(some_settings(cloudwatch_mode="emf"), functionId="report")
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    await world.reconcile()
    before = world.parts.cloudwatch.pending
    world.push(a_report())
    await world.reconcile()
    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert (before, world.parts.cloudwatch.pending) == (0, 1)

    await world.restart()
    world.push(a_report())
    await world.reconcile()

    assert world.parts.cloudwatch.pending == 0


async def test_by_default_nothing_is_kept() -> None:
    world = World(functionId="report")
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report())
    await world.reconcile()

    assert world.end == ("Succeeded", "Completed", "Delivered")
    assert world.parts.cloudwatch.pending == 0
