"""A keyed queue: once per key, earliest time wins, back-off grows, one worker per key."""

import asyncio
import json
import logging
import random

import pytest

from nanogrid.logs import LineFormatter
from nanogrid_operator.workqueue import WorkQueue, run_workers
from support.operator_world import run_for

TICK = 0.02


def about_key(key: str) -> dict[str, str]:
    """What logs show of a key."""
    return {"key": key}


async def handed_out(queue: WorkQueue, within: float = TICK) -> list[str]:
    """All keys that come within this many seconds; each is done at once."""
    keys = []
    try:
        async with asyncio.timeout(within):
            while True:
                key = await queue.get()
                keys.append(key)
                queue.done(key)
    except TimeoutError:
        return keys


async def test_keys_come_in_the_order_they_were_added() -> None:
    queue = WorkQueue()
    for key in "abc":
        queue.add(key)

    assert await handed_out(queue) == ["a", "b", "c"]


async def test_a_waiting_key_is_not_queued_twice() -> None:
    queue = WorkQueue()
    for key in "aabab":
        queue.add(key)

    assert await handed_out(queue) == ["a", "b"]


async def test_a_delayed_key_comes_after_its_delay() -> None:
    queue = WorkQueue()
    queue.add("late", 0.05)
    queue.add("now")

    assert await handed_out(queue, 0.02) == ["now"]
    assert await handed_out(queue, 0.1) == ["late"]


@pytest.mark.parametrize("delays", [(0.02, 0.2), (0.2, 0.02)])
async def test_the_shorter_of_two_delays_wins(
    delays: tuple[float, float],
) -> None:
    queue = WorkQueue()
    for delay in delays:
        queue.add("a", delay)

    assert await handed_out(queue, 0.1) == ["a"]
    assert await handed_out(queue, 0.15) == []


async def test_an_immediate_add_wins_over_a_delay() -> None:
    queue = WorkQueue()
    queue.add("a", 0.03)
    queue.add("a")

    assert await handed_out(queue, 0.06) == ["a"]


async def test_a_delay_of_a_ready_key_has_no_effect() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add("a", 0.03)

    assert await handed_out(queue, 0.06) == ["a"]


async def test_a_key_that_a_worker_has_is_not_handed_out_again() -> None:
    queue = WorkQueue()
    queue.add("a")
    key = await queue.get()

    queue.add("a")
    queue.add("a")
    meanwhile = await handed_out(queue)
    queue.done(key)

    assert meanwhile == []
    assert await handed_out(queue) == ["a"]


async def test_a_delay_that_ends_during_the_work_is_kept() -> None:
    queue = WorkQueue()
    queue.add("a")
    key = await queue.get()

    queue.add("a", 0.01)
    meanwhile = await handed_out(queue, 0.03)
    queue.done(key)

    assert meanwhile == []
    assert await handed_out(queue) == ["a"]


async def test_many_workers_never_share_a_key() -> None:
    queue = WorkQueue()
    at_work: set[str] = set()
    rounds: dict[str, int] = dict.fromkeys("abc", 0)

    async def worker() -> None:
        while True:
            key = await queue.get()
            assert key not in at_work
            at_work.add(key)
            queue.add(key, 0.001 * (rounds[key] % 2))
            await asyncio.sleep(0.001)
            at_work.discard(key)
            rounds[key] += 1
            queue.done(key)

    for key in rounds:
        queue.add(key)
    tasks = [asyncio.create_task(worker()) for _ in range(8)]
    await asyncio.sleep(0.1)

    assert not any(task.done() for task in tasks)
    assert all(count > 5 for count in rounds.values())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_back_off_doubles_up_to_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)
    queue = WorkQueue()

    delays = [queue.retry("a") for _ in range(12)]

    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30, 30])


async def test_back_off_may_have_a_lower_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)
    queue = WorkQueue()

    delays = [queue.retry("a", 0.5) for _ in range(5)]

    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])


async def test_back_off_has_a_jitter_of_a_fifth_and_never_exceeds_its_cap() -> None:
    queue = WorkQueue()

    delays = [queue.retry(f"key-{n}") for n in range(200)]

    assert all(0.08 <= delay <= 0.1 for delay in delays)
    assert max(delays) - min(delays) > 0.01


async def test_a_key_that_succeeded_starts_again_at_the_shortest_back_off() -> None:
    queue = WorkQueue()
    for _ in range(5):
        queue.retry("a")
    queue.done("a")

    queue.forget("a")

    assert queue.retry("a") <= 0.12


async def test_a_key_that_asked_for_a_retry_did_not_succeed() -> None:
    queue = WorkQueue()
    queue.add("a")
    key = await queue.get()

    first = queue.retry(key)
    queue.forget(key)

    assert queue.retry(key) > 1.3 * first


async def test_each_key_has_its_own_back_off() -> None:
    queue = WorkQueue()
    for _ in range(5):
        queue.retry("a")

    assert queue.retry("b") <= 0.12


async def test_a_retry_hands_out_the_key_again() -> None:
    queue = WorkQueue()

    queue.retry("a")

    assert await handed_out(queue, 0.2) == ["a"]


async def test_the_length_counts_keys_that_are_ready_or_with_a_worker() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add("b")
    queue.add("later", 10)
    await queue.get()

    assert len(queue) == 2


async def test_the_back_off_is_at_least_what_a_server_asks_for_up_to_the_cap() -> None:
    queue = WorkQueue()

    assert 7.0 <= queue.retry("a", at_least=7.0) <= 7.0 * 1.2
    assert queue.retry("b", at_least=500.0) == 30.0


async def test_failures_are_counted_until_the_key_succeeds() -> None:
    queue = WorkQueue()
    for _ in range(3):
        queue.retry("a")
    queue.done("a")
    before = queue.failures("a")

    queue.forget("a")

    assert (before, queue.failures("a"), queue.failures("b")) == (3, 0, 0)


# Workers.


async def test_workers_take_keys_at_the_same_time_and_each_key_once() -> None:
    queue = WorkQueue()
    active: list[str] = []
    most = 0

    async def act(key: str) -> None:
        nonlocal most
        active.append(key)
        most = max(most, len(active))
        await asyncio.sleep(1)
        active.remove(key)

    for key in "abcd":
        queue.add(key)
    await run_for(3, run_workers(queue, 3, act, lambda key, error: None, log_fields=about_key))

    assert most == 3
    assert len(queue) == 0


async def test_a_worker_continues_after_an_error_and_the_handler_retries_the_key() -> None:
    queue = WorkQueue()
    acted: list[str] = []
    errors: list[tuple[str, str]] = []

    async def act(key: str) -> None:
        acted.append(key)
        if len(acted) < 3:
            raise ValueError("bug")

    def on_error(key: str, error: Exception) -> None:
        errors.append((key, str(error)))
        queue.retry(key)

    queue.add("a")
    await run_for(5, run_workers(queue, 1, act, on_error, log_fields=about_key))

    assert acted == ["a"] * 3
    assert errors == [("a", "bug")] * 2
    assert queue.failures("a") == 0, "it succeeded in the end"


async def test_the_work_on_a_key_has_a_timeout() -> None:
    queue = WorkQueue()
    errors: list[type[Exception]] = []

    async def hang(_: str) -> None:
        await asyncio.sleep(3600)

    queue.add("a")
    workers = run_workers(
        queue,
        1,
        hang,
        lambda _, error: errors.append(type(error)),
        log_fields=about_key,
        timeout_seconds=10,
    )
    await run_for(11, workers)

    assert errors == [TimeoutError]


async def test_logs_of_the_work_and_of_its_error_are_about_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = WorkQueue()
    log = logging.getLogger("test")
    caplog.handler.setFormatter(LineFormatter("json"))

    async def act(key: str) -> None:
        log.warning("act")
        raise ValueError

    for key in "ab":
        queue.add(key)
    await run_for(
        1,
        run_workers(queue, 2, act, lambda _, e: log.warning("error"), log_fields=about_key),
    )
    log.warning("outside")

    *inside, outside = map(json.loads, caplog.text.splitlines())
    assert sorted((line["message"], line["key"]) for line in inside) == [
        ("act", "a"),
        ("act", "b"),
        ("error", "a"),
        ("error", "b"),
    ]
    assert "key" not in outside


async def test_the_work_goes_on_if_the_fields_of_its_logs_cannot_be_read() -> None:
    queue = WorkQueue()
    acted: list[str] = []

    async def act(key: str) -> None:
        acted.append(key)

    def unreadable(key: str) -> dict[str, str]:
        raise ValueError(key)

    for key in "ab":
        queue.add(key)
    await run_for(1, run_workers(queue, 1, act, lambda _, error: None, log_fields=unreadable))

    assert acted == ["a", "b"]
    assert len(queue) == 0
