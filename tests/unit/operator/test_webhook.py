"""Which URLs are allowed, what an answer means, and when the next request follows."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid_operator.decision.webhook import (
    LONGEST_PAUSE_SECONDS,
    LONGEST_RETRY_AFTER_SECONDS,
    Answer,
    Record,
    allowed,
    next_record,
    pause,
    worth_writing,
)
from nanogrid_operator.delivery.webhook_client import retry_after

pytestmark = pytest.mark.security

PREFIXES = ["https://hooks.example.com/team", "http://10.0.0.7:8080"]


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com/team",
        "https://hooks.example.com:443/team/a?b=c",
        "https://HOOKS.example.com/team/",
        "http://10.0.0.7:8080/anything",
    ],
)
def test_urls_below_a_prefix_are_allowed(url: str) -> None:
    assert allowed(url, PREFIXES)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/team",
        "https://hooks.example.com/teams",
        "https://hooks.example.com/",
        "https://hooks.example.com:8443/team",
        "https://hooks.example.com.evil.example/team",
        "https://hooks.example.com@evil.example/team",
        "https://evil.example/https://hooks.example.com/team",
        "https://hooks.example.com/team/../admin",
        "https://hooks.example.com/team/%2e%2e/admin",
        "https://hooks.example.com/team/..%2fadmin",
        "https://hooks.example.com/team/..\\admin",
        "https://hooks.example.com/team/..;/admin",
        "https://hooks.example.com/team/..;x=1/admin",
        "https://hooks.example.com/team/..%3B/admin",
        "https://hooks.example.com/team/%252e%252e/admin",
        "http://10.0.0.7/anything",
        "http://10.0.0.71:8080/",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:8080/",
        "ftp://hooks.example.com/team",
        "https://hooks.example.com:x/team",
        "//hooks.example.com/team",
        "",
    ],
)
def test_all_other_urls_are_refused(url: str) -> None:
    assert not allowed(url, PREFIXES)


def test_no_url_is_allowed_by_default() -> None:
    assert not allowed("https://hooks.example.com/team", [])


@pytest.mark.parametrize(
    ("code", "age", "state"),
    [
        (200, 0, "Delivered"), (204, 90_000, "Delivered"), (301, 0, "Refused"),
        (400, 0, "Refused"), (410, 0, "Refused"), (408, 0, "Pending"), (425, 0, "Pending"),
        (429, 0, "Pending"), (500, 86_399, "Pending"), (503, 86_400, "GivenUp"),
        (None, 0, "Pending"), (None, 86_400, "GivenUp"),
    ],
)  # fmt: skip
def test_an_answer_decides_the_next_record(code: int | None, age: float, state: str) -> None:
    after = next_record(Record(attempts=3), Answer(code), age, 86_400)

    assert (after.state, after.attempts, after.last_status) == (state, 4, code)


@given(st.integers(1, 10_000), st.floats(0.8, 1.2))
def test_pauses_grow_and_are_bounded(attempts: int, jitter: float) -> None:
    seconds = pause(Record(attempts=attempts), Answer(503), jitter)

    assert 0.8 <= seconds <= 1.2 * LONGEST_PAUSE_SECONDS


@given(st.floats(0, 1e9), st.floats(0.8, 1.2))
def test_a_pause_is_at_least_retry_after_and_bounded(asked: float, jitter: float) -> None:
    seconds = pause(Record(attempts=1), Answer(429, "", asked), jitter)

    assert seconds >= min(asked, LONGEST_RETRY_AFTER_SECONDS)
    assert seconds <= 1.2 * LONGEST_RETRY_AFTER_SECONDS


def test_a_day_of_failures_costs_a_few_writes() -> None:
    record, writes = Record(), 0
    for _ in range(300):
        after = next_record(record, Answer(503), 0, 86_400)
        writes += worth_writing(record, after)
        record = after

    assert writes == 9  # the first, then one each time the attempts double


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (None, None), ("120", 120.0), (" 7 ", 7.0), ("soon", None), ("-3", None),
        ("Thu, 09 Oct 2025 08:54:20 GMT", 60.0), ("Thu, 09 Oct 2025 08:00:00 GMT", 0.0),
        ("Thu, 09 Oct 2025 08:54:20 -0000", 60.0), ("Thu, 09 Oct 2025 10:54:20 +0200", 60.0),
        ("Thu, 09 Oct 2025 08:54:20 +" + "9" * 500, None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(text: str | None, want: float | None) -> None:
    now = datetime(2025, 10, 9, 8, 53, 20, tzinfo=UTC).timestamp()

    assert retry_after(text, now) == want
