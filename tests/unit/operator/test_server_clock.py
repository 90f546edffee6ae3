"""The API server's clock from the Date headers of its answers."""

import time
from email.utils import formatdate

import pytest

from nanogrid_operator.kube.server_clock import (
    RECENT_SECONDS,
    SAMPLES,
    SLOWEST_SECONDS,
    Sample,
    ServerClock,
    ahead,
    offset,
)

NOON = 1_760_000_000.0


def date(at: float) -> str:
    """A Date header of this time: whole seconds."""
    return formatdate(at, usegmt=True)


@pytest.mark.parametrize(
    ("text", "took", "want"),
    [
        pytest.param(date(NOON), 0.0, 0.5, id="same second"),
        pytest.param(date(NOON + 600), 0.0, 600.5, id="our clock is behind"),
        pytest.param(date(NOON - 600), 0.0, -599.5, id="our clock is ahead"),
        pytest.param(date(NOON), 1.0, 0.0, id="written half-way"),
        pytest.param(date(NOON), SLOWEST_SECONDS + 0.1, None, id="too slow"),
        pytest.param(date(NOON), -1.0, None, id="our clock was set back"),
        pytest.param("", 0.0, None, id="no Date"),
        pytest.param("yesterday", 0.0, None, id="not a date"),
        pytest.param("Thu, 99 Foo 2025 08:53:20 GMT", 0.0, None, id="an impossible date"),
    ],
)
def test_one_answer_shows_how_far_the_server_is_ahead(
    text: str, took: float, want: float | None
) -> None:
    assert ahead(text, NOON, NOON + took) == want


@pytest.mark.parametrize(
    ("samples", "now", "want"),
    [
        pytest.param([], 0, 0.0, id="no answer"),
        pytest.param([(600, 0)], 0, 600, id="the first answer counts at once"),
        pytest.param([(-600, 0)], 0, -600, id="a negative offset"),
        pytest.param([(1.9, 0)], 0, 0.0, id="a small offset is ignored"),
        pytest.param([(-1.9, 0)], 0, 0.0, id="a small negative offset is ignored"),
        pytest.param([(2.5, 0)], 0, 2.5, id="a larger offset counts"),
        pytest.param([(0, 0), (0, 1), (600, 2)], 2, 0.0, id="one outlier is ignored"),
        pytest.param([(0, 0), (600, 1), (600, 2)], 2, 600, id="the majority counts"),
        pytest.param([(0, 0), (0, 1), (600, 100)], 100, 600, id="old samples do not count"),
        pytest.param([(0, 0), (600, 1)], 1e6, 600, id="without recent samples the last counts"),
    ],
)
def test_the_offset_is_the_median_of_recent_answers(
    samples: list[tuple[float, float]], now: float, want: float
) -> None:
    assert offset([Sample(*s) for s in samples], now) == want


def test_the_offset_follows_a_corrected_clock() -> None:
    clock = ServerClock()
    for second in range(SAMPLES):
        clock.observe(date(NOON), NOON + 600, NOON + 600, second)
    wrong = clock.offset
    for second in range(SAMPLES):
        clock.observe(date(NOON), NOON, NOON, second)

    assert (wrong, clock.offset) == (-599.5, 0.0)


def test_after_a_pause_the_offset_follows_a_corrected_clock_at_once() -> None:
    clock = ServerClock()
    for second in range(SAMPLES):
        clock.observe(date(NOON), NOON + 600, NOON + 600, second)
    clock.observe(date(NOON), NOON, NOON, SAMPLES + RECENT_SECONDS)

    assert clock.offset == 0.0


def test_now_is_the_time_of_the_server() -> None:
    clock = ServerClock()
    assert clock.now() == pytest.approx(time.time(), abs=1)

    now = time.time()
    clock.observe(date(now + 600), now, now, 0)

    assert clock.now() == pytest.approx(time.time() + 600, abs=2)
