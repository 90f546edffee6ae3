"""The API server's clock from the Date headers of its answers."""

from email.utils import formatdate

import pytest

from nanogrid_operator.servertime import (
    RECENT_SECONDS,
    SAMPLES,
    SLOWEST_SECONDS,
    Sample,
    ServerTime,
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
        pytest.param(date(NOON), 0.0, 0.5, id="the same second"),
        pytest.param(date(NOON + 600), 0.0, 600.5, id="we are behind"),
        pytest.param(date(NOON - 600), 0.0, -599.5, id="we are ahead"),
        pytest.param(date(NOON), 1.0, 0.0, id="written half way"),
        pytest.param(date(NOON), SLOWEST_SECONDS + 0.1, None, id="too slow to tell"),
        pytest.param(date(NOON), -1.0, None, id="our clock was set meanwhile"),
        pytest.param("", 0.0, None, id="no Date"),
        pytest.param("yesterday", 0.0, None, id="no date"),
        pytest.param("Thu, 99 Foo 2025 08:53:20 GMT", 0.0, None, id="an impossible one"),
    ],
)
def test_one_answer_tells_how_far_ahead_the_server_is(
    text: str, took: float, want: float | None
) -> None:
    assert ahead(text, NOON, NOON + took) == want


@pytest.mark.parametrize(
    ("seen", "now", "want"),
    [
        pytest.param([], 0, 0.0, id="nothing heard"),
        pytest.param([(600, 0)], 0, 600, id="the first answer counts at once"),
        pytest.param([(-600, 0)], 0, -600, id="either way"),
        pytest.param([(1.9, 0)], 0, 0.0, id="little is nothing"),
        pytest.param([(-1.9, 0)], 0, 0.0, id="either way little"),
        pytest.param([(2.5, 0)], 0, 2.5, id="more is not"),
        pytest.param([(0, 0), (0, 1), (600, 2)], 2, 0.0, id="one that differs is no clock set"),
        pytest.param([(0, 0), (600, 1), (600, 2)], 2, 600, id="two of three are"),
        pytest.param([(0, 0), (0, 1), (600, 100)], 100, 600, id="old ones do not count"),
        pytest.param([(0, 0), (600, 1)], 1e6, 600, id="but the last is better than none"),
    ],
)
def test_the_offset_is_what_recent_answers_agree_on(
    seen: list[tuple[float, float]], now: float, want: float
) -> None:
    assert offset([Sample(*s) for s in seen], now) == want


def test_a_clock_that_is_set_right_is_followed() -> None:
    heard = ServerTime()
    for second in range(SAMPLES):
        heard.heard(date(NOON), NOON + 600, NOON + 600, second)
    wrong = heard.offset
    for second in range(SAMPLES):
        heard.heard(date(NOON), NOON, NOON, second)

    assert (wrong, heard.offset) == (-599.5, 0.0)


def test_a_clock_that_is_set_right_in_a_pause_is_followed_at_once() -> None:
    heard = ServerTime()
    for second in range(SAMPLES):
        heard.heard(date(NOON), NOON + 600, NOON + 600, second)
    heard.heard(date(NOON), NOON, NOON, SAMPLES + RECENT_SECONDS)

    assert heard.offset == 0.0
