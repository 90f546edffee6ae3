"""The queue of executions: order, limits and policies."""

import pytest

from nanogrid.reasons import Reason
from nanogrid_executor.session.execution_queue import (
    BusyError,
    ClosedError,
    ExecutionQueue,
    QueueFullError,
)


def test_entries_run_in_the_order_of_their_arrival() -> None:
    queue = ExecutionQueue(serial=True)
    entries = [queue.enter(lambda n=n: n) for n in range(1, 5)]  # type: ignore[misc]

    order = []
    for _ in entries:
        granted = [entry for entry in entries if entry.wait(0)]
        order.append(granted[-1].number)
        assert queue.running == order[-1]
        queue.leave(granted[-1])

    assert order == [1, 2, 3, 4]
    assert queue.running is None
    assert not queue.busy


def test_an_entry_above_the_limit_is_refused_and_gets_no_number() -> None:
    queue = ExecutionQueue(serial=True, limit=2)
    numbers = iter(range(1, 10))
    first = queue.enter(lambda: next(numbers))
    queue.enter(lambda: next(numbers))
    queue.enter(lambda: next(numbers))

    with pytest.raises(QueueFullError):
        queue.enter(lambda: next(numbers))

    queue.leave(first)
    assert queue.enter(lambda: next(numbers)).number == 4


def test_reject_names_the_running_execution() -> None:
    queue = ExecutionQueue(serial=False)
    first = queue.enter(lambda: 7)

    with pytest.raises(BusyError, match="execution 7") as caught:
        queue.enter()
    assert caught.value.number == 7

    queue.leave(first)
    assert queue.enter(lambda: 8).wait(0)


def test_only_a_waiting_entry_can_be_cancelled() -> None:
    queue = ExecutionQueue(serial=True)
    first, second, third = (queue.enter() for _ in range(3))

    assert queue.cancel(second)
    assert not queue.cancel(first)
    assert not second.wait(0)
    queue.leave(second)  # does nothing: the first one still runs
    assert not third.wait(0)
    queue.leave(first)
    assert third.wait(0)


def test_closing_cancels_all_entries_except_the_running_one() -> None:
    queue = ExecutionQueue(serial=True)
    first, second = queue.enter(), queue.enter()

    queue.close(Reason.IDLE_TIMEOUT)

    assert not second.wait(0)
    assert second.cancelled
    assert first.wait(0)
    assert queue.busy
    with pytest.raises(ClosedError) as caught:
        queue.enter()
    assert caught.value.reason is queue.closed is Reason.IDLE_TIMEOUT
