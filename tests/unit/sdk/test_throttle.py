"""Token buckets, attempts per address, and caches of answers."""

import pytest

from nanogrid.throttle import (
    ADDRESS_BURST,
    ADDRESS_RATE,
    DENIED_SECONDS,
    ENTRIES,
    REMEMBERED,
    TOTAL_BURST,
    Attempts,
    Buckets,
    TTLCache,
)
from support.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_a_bucket_reports_the_seconds_until_its_next_token(clock: FakeClock) -> None:
    buckets = Buckets(0.5, 2, clock)

    assert [buckets.take("a") for _ in range(3)] == [0, 0, 2]
    assert buckets.take("b") == 0
    clock.now += 2
    assert [buckets.take("a"), buckets.take("a")] == [0, 2]
    buckets.give_back("a")
    assert buckets.take("a") == 0
    clock.now += 1000
    assert [buckets.take("a") for _ in range(3)] == [0, 0, 2]


def test_the_number_of_buckets_is_bounded(clock: FakeClock) -> None:
    buckets = Buckets(1, 1, clock)
    for number in range(REMEMBERED):
        assert buckets.take(str(number)) == 0
    assert buckets.take("0") == 1  # is remembered, and now the most recent one
    buckets.take("new")

    assert buckets.take("0") == 1
    assert buckets.take("1") == 0  # was forgotten


def test_attempts_are_limited_per_address(clock: FakeClock) -> None:
    attempts = Attempts(clock)

    assert {attempts.begin("10.0.0.1") for _ in range(ADDRESS_BURST)} == {0}
    assert attempts.begin("10.0.0.1") == 1
    assert attempts.begin("::ffff:10.0.0.1") == 1
    assert attempts.begin("10.0.0.2") == 0
    clock.now += 1 / ADDRESS_RATE
    assert attempts.begin("10.0.0.1") == 0


def test_valid_credentials_use_no_attempts(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    for _ in range(2 * TOTAL_BURST):
        assert attempts.begin("10.0.0.1") == 0
        attempts.succeeded("10.0.0.1")


def test_many_addresses_share_a_total(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    started = [attempts.begin(f"10.0.{n // 250}.{n % 250}") for n in range(TOTAL_BURST + 1)]

    assert (set(started[:-1]), started[-1]) == ({0}, 1)


def test_an_address_above_its_limit_uses_nothing_of_the_total(clock: FakeClock) -> None:
    attempts = Attempts(clock)
    for _ in range(10 * TOTAL_BURST):
        attempts.begin("10.0.0.1")

    assert attempts.begin("10.0.0.2") == 0


async def test_denials_expire_sooner_and_displace_no_valid_answer(clock: FakeClock) -> None:
    cache: TTLCache[str] = TTLCache(30, clock)
    loads: list[str] = []

    async def ask(key: str, answer: str) -> str:
        async def load() -> str:
            loads.append(key)
            return answer

        return await cache.get(key, load)

    assert await ask("good", "caller-a") == await ask("good", "other") == "caller-a"
    for number in range(2 * ENTRIES):
        await ask(f"wrong-{number}", "")
    loads.clear()
    assert await ask("good", "other") == "caller-a"
    assert await ask(f"wrong-{2 * ENTRIES - 1}", "other") == ""
    assert loads == []
    clock.now += DENIED_SECONDS
    assert await ask(f"wrong-{2 * ENTRIES - 1}", "caller-b") == "caller-b"
    assert cache.was_granted("good")
    clock.now += 30
    assert cache.was_granted("good")  # expired, but valid at its last check
    assert await ask("good", "") == ""
    assert not cache.was_granted("good")
    assert not cache.was_granted("unknown")
