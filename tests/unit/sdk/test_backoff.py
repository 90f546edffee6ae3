"""Pauses between retries."""

import pytest

from nanogrid.backoff import exponential


@pytest.mark.parametrize(("attempt", "seconds"), [(0, 0.5), (1, 1.0), (4, 8.0), (5, 10.0)])
def test_a_pause_doubles_up_to_the_longest(attempt: int, seconds: float) -> None:
    assert exponential(attempt, 0.5, 10.0) == seconds


def test_an_outage_of_days_does_not_overflow() -> None:
    assert exponential(100_000, 0.5, 10.0) == 10.0
