"""Doing many things at once, and ending in time."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid_executor.clock import Deadline, DeadlineError, endless
from nanogrid_executor.pool import each, settle


@given(st.lists(st.integers(), max_size=50), st.integers(1, 8))
def test_results_are_in_order(items: list[int], workers: int) -> None:
    assert each(lambda item: item + 1, items, workers, endless()) == [i + 1 for i in items]


def test_no_more_threads_than_asked_for() -> None:
    lock = threading.Lock()
    now = most = 0

    def work(item: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1

    each(work, range(20), 4, endless())
    assert most == 4


def test_the_first_failure_ends_it() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise KeyError(item)
        done.append(item)
        time.sleep(0.002)

    with pytest.raises(KeyError):
        each(work, range(1000), 4, endless())
    assert len(done) < 900


def test_what_is_late_is_missing() -> None:
    release = threading.Event()

    def work(item: int) -> int:
        if item:
            release.wait(20)
        return item + 1

    assert each(work, [0, 1, 2], 3, Deadline(0.1)) == [1, None, None]
    release.set()


def test_a_deadline() -> None:
    deadline = Deadline(60)
    deadline.check()
    assert 59 < deadline.remaining() <= 60
    deadline.shorten(100)
    assert deadline.remaining() <= 60
    deadline.shorten(0)
    assert deadline.remaining() == 0
    with pytest.raises(DeadlineError, match="after 60 s"):
        deadline.check()
    endless().check()


def test_what_outlives_its_deadline_can_be_waited_for() -> None:
    release = threading.Event()
    each(lambda item: release.wait(10), [0], 1, Deadline(0), name="late")
    assert not settle("late", 0.0, lambda: False), "its time is over"
    assert not settle("late", 10.0, lambda: True), "told to stop"
    release.set()
    assert settle("late", 10.0, lambda: False)
