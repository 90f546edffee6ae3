"""Whose turn it is: order, bounds and policies; and how long a session lives, by a fake clock."""

import pytest

from nanogrid.reasons import Reason
from nanogrid.wire import SessionRules
from nanogrid_executor.session.life import Life
from nanogrid_executor.session.turns import BusyError, ClosedError, QueueFullError, Turns


def test_turns_come_in_the_order_of_asking() -> None:
    turns = Turns(serial=True)
    tickets = [turns.take(lambda n=n: n) for n in range(1, 5)]  # type: ignore[misc]

    order = []
    for _ in tickets:
        called = [t for t in tickets if t.wait(0)]
        order.append(called[-1].number)
        assert turns.running == order[-1]
        turns.leave(called[-1])

    assert order == [1, 2, 3, 4]
    assert turns.running is None
    assert not turns.busy


def test_one_more_than_the_limit_is_refused_and_gets_no_number() -> None:
    turns = Turns(serial=True, limit=2)
    numbers = iter(range(1, 10))
    first = turns.take(lambda: next(numbers))
    turns.take(lambda: next(numbers))
    turns.take(lambda: next(numbers))

    with pytest.raises(QueueFullError):
        turns.take(lambda: next(numbers))

    turns.leave(first)
    assert turns.take(lambda: next(numbers)).number == 4


def test_reject_names_who_is_running() -> None:
    turns = Turns(serial=False)
    first = turns.take(lambda: 7)

    with pytest.raises(BusyError, match="execution 7") as caught:
        turns.take()
    assert caught.value.number == 7

    turns.leave(first)
    assert turns.take(lambda: 8).wait(0)


def test_a_waiting_ticket_can_be_cancelled_and_a_called_one_cannot() -> None:
    turns = Turns(serial=True)
    first, second, third = (turns.take() for _ in range(3))

    assert turns.cancel(second)
    assert not turns.cancel(first)
    assert not second.wait(0)
    turns.leave(second)  # gives nothing away: the first still has the turn
    assert not third.wait(0)
    turns.leave(first)
    assert third.wait(0)


def test_a_closed_queue_sends_everybody_away_but_the_holder() -> None:
    turns = Turns(serial=True)
    first, second = turns.take(), turns.take()

    turns.close()

    assert not second.wait(0)
    assert second.cancelled
    assert first.wait(0)
    assert turns.busy
    with pytest.raises(ClosedError):
        turns.take()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_life(clock: Clock, age: float = 0.0, **changes: float) -> Life:
    values = {"idle_timeout_seconds": 60.0, "max_lifetime_seconds": 600.0, "max_executions": 0}
    rules = SessionRules(execution_timeout_seconds=10, **(values | changes))  # type: ignore[arg-type]
    return Life(rules, clock, age)


def test_idle_time_counts_from_the_end_of_the_last_activity() -> None:
    clock = Clock()
    life = make_life(clock)
    clock.now += 59
    assert life.due(0, busy=False) is None
    with life.activity():
        clock.now += 300
        assert life.idle_seconds == 0
        assert life.due(1, busy=False) is None
    clock.now += 59
    assert life.due(1, busy=False) is None
    clock.now += 1
    assert life.due(1, busy=False) is Reason.IDLE_TIMEOUT


def test_activities_that_overlap_are_all_waited_for() -> None:
    clock = Clock()
    life = make_life(clock)
    life.enter()
    life.enter()
    life.leave()
    clock.now += 100
    assert life.due(1, busy=False) is None
    life.leave()
    clock.now += 60
    assert life.due(1, busy=False) is Reason.IDLE_TIMEOUT


def test_the_longest_life_ends_even_what_runs() -> None:
    clock = Clock()
    life = make_life(clock)
    life.enter()
    clock.now += 599
    assert life.due(1, busy=True) is None
    clock.now += 1
    assert life.due(1, busy=True) is Reason.LIFETIME_EXCEEDED


def test_a_restart_of_the_agent_gives_no_second_life() -> None:
    clock = Clock()
    life = make_life(clock, age=550.0)
    assert life.next_seconds() == 50
    clock.now += 50
    assert life.due(0, busy=False) is Reason.LIFETIME_EXCEEDED


def test_the_last_execution_may_end_before_the_limit_does_the_session() -> None:
    life = make_life(Clock(), max_executions=3)
    assert life.due(2, busy=False) is None
    assert life.due(3, busy=True) is None
    assert life.due(3, busy=False) is Reason.EXECUTION_LIMIT
