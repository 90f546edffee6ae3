"""When a session ends by itself, with a fake clock."""

from typing import Any

import pytest

from nanogrid.reasons import Reason
from nanogrid.wire import SessionRules
from nanogrid_executor.session.timeouts import SessionTimeouts
from support.fake_clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def make_timeouts(clock: FakeClock, age: float = 0.0, **changes: Any) -> SessionTimeouts:
    values = {"idle_timeout_seconds": 60.0, "max_lifetime_seconds": 600.0, "max_executions": 0}
    rules = SessionRules(execution_timeout_seconds=10, **(values | changes))
    return SessionTimeouts(rules, clock, age)


def test_idle_time_starts_at_the_end_of_the_last_activity(clock: FakeClock) -> None:
    timeouts = make_timeouts(clock)
    clock.now += 59
    assert timeouts.reason_to_end(0, busy=False) is None
    with timeouts.activity():
        clock.now += 300
        assert timeouts.idle_seconds == 0
        assert timeouts.reason_to_end(1, busy=False) is None
    clock.now += 59
    assert timeouts.reason_to_end(1, busy=False) is None
    clock.now += 1
    assert timeouts.reason_to_end(1, busy=False) is Reason.IDLE_TIMEOUT


def test_overlapping_activities_all_count(clock: FakeClock) -> None:
    timeouts = make_timeouts(clock)
    timeouts.begin_activity()
    with timeouts.activity():
        pass
    clock.now += 100
    assert timeouts.reason_to_end(1, busy=False) is None
    timeouts.end_activity()
    clock.now += 60
    assert timeouts.reason_to_end(1, busy=False) is Reason.IDLE_TIMEOUT


def test_the_maximum_lifetime_ends_even_a_running_execution(clock: FakeClock) -> None:
    timeouts = make_timeouts(clock)
    timeouts.begin_activity()
    for seconds, reason in ((599, None), (1, Reason.LIFETIME_EXCEEDED)):
        clock.now += seconds
        assert timeouts.reason_to_end(1, busy=True) is reason


def test_a_restart_of_the_agent_does_not_extend_the_lifetime(clock: FakeClock) -> None:
    timeouts = make_timeouts(clock, age=550.0)
    assert timeouts.seconds_left() == 50
    clock.now += 50
    assert timeouts.reason_to_end(0, busy=False) is Reason.LIFETIME_EXCEEDED


def test_the_execution_limit_waits_for_the_end_of_the_last_execution(clock: FakeClock) -> None:
    timeouts = make_timeouts(clock, max_executions=3)
    assert timeouts.reason_to_end(2, busy=False) is None
    assert timeouts.reason_to_end(3, busy=True) is None
    assert timeouts.reason_to_end(3, busy=False) is Reason.EXECUTION_LIMIT
