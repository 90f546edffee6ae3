"""A keyed queue: once per key, earliest time wins, back-off grows, one worker per key."""

import asyncio
import random

import pytest

from nanogrid_operator.workqueue import WorkQueue

TICK = 0.02


async def handed_out(queue: WorkQueue, within: float = TICK) -> list[str]:
    """All keys that come within so many seconds, each done at once."""
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


async def test_a_key_that_waits_is_not_queued_twice() -> None:
    queue = WorkQueue()
    for key in "aabab":
        queue.add(key)

    assert await handed_out(queue) == ["a", "b"]


async def test_a_delayed_key_comes_when_it_is_time() -> None:
    queue = WorkQueue()
    queue.add("late", 0.05)
    queue.add("now")

    assert await handed_out(queue, 0.02) == ["now"]
    assert await handed_out(queue, 0.1) == ["late"]


@pytest.mark.parametrize("delays", [(0.02, 0.2), (0.2, 0.02)])
async def test_the_earliest_of_two_delays_wins_and_the_other_is_void(
    delays: tuple[float, float],
) -> None:
    queue = WorkQueue()
    for delay in delays:
        queue.add("a", delay)

    assert await handed_out(queue, 0.1) == ["a"]
    assert await handed_out(queue, 0.15) == []


async def test_now_wins_over_later() -> None:
    queue = WorkQueue()
    queue.add("a", 0.03)
    queue.add("a")

    assert await handed_out(queue, 0.06) == ["a"]


async def test_a_key_that_is_ready_needs_no_wake_up_later() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add("a", 0.03)

    assert await handed_out(queue, 0.06) == ["a"]


async def test_a_key_in_work_is_handed_to_nobody_else() -> None:
    queue = WorkQueue()
    queue.add("a")
    key = await queue.get()

    queue.add("a")
    queue.add("a")
    meanwhile = await handed_out(queue)
    queue.done(key)

    assert meanwhile == []
    assert await handed_out(queue) == ["a"]


async def test_a_wake_up_that_comes_due_during_work_is_kept() -> None:
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


async def test_back_off_is_spread_by_a_fifth_and_never_beyond_its_cap() -> None:
    queue = WorkQueue()

    delays = [queue.retry(f"key-{n}") for n in range(200)]

    assert all(0.08 <= delay <= 0.1 for delay in delays)
    assert max(delays) - min(delays) > 0.01


async def test_a_key_that_went_well_starts_again_at_the_shortest_back_off() -> None:
    queue = WorkQueue()
    for _ in range(5):
        queue.retry("a")
    queue.done("a")

    queue.forget("a")

    assert queue.retry("a") <= 0.12


async def test_a_key_that_asked_for_a_retry_did_not_go_well() -> None:
    queue = WorkQueue()
    queue.add("a")
    key = await queue.get()

    first = queue.retry(key)
    queue.forget(key)

    assert queue.retry(key) > 1.3 * first


async def test_other_keys_failures_are_not_ones_own() -> None:
    queue = WorkQueue()
    for _ in range(5):
        queue.retry("a")

    assert queue.retry("b") <= 0.12


async def test_a_retry_comes_by_itself() -> None:
    queue = WorkQueue()

    queue.retry("a")

    assert await handed_out(queue, 0.2) == ["a"]


async def test_length_is_what_is_ready_or_in_work() -> None:
    queue = WorkQueue()
    queue.add("a")
    queue.add("b")
    queue.add("later", 10)
    await queue.get()

    assert len(queue) == 2


async def test_what_a_server_asks_for_is_not_undercut_and_bounded_by_the_cap() -> None:
    queue = WorkQueue()

    assert 7.0 <= queue.retry("a", at_least=7.0) <= 7.0 * 1.2
    assert queue.retry("b", at_least=500.0) == 30.0
