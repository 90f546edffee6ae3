"""Parallel work until a deadline; the tests control the clock and the threads."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid_executor.clock import Deadline, DeadlineError, endless
from nanogrid_executor.storage.parallel import each, join_threads

WAIT_SECONDS = 20  # for threads of a busy machine; no test waits this long


class FakeClock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class EndsAt(Deadline):
    """A deadline that comes when an event is set, and not by time."""

    def __init__(self, end: threading.Event) -> None:
        super().__init__(60)
        self._end = end

    def wait(self, event: threading.Event, late_seconds: float = 0.0) -> bool:
        assert self._end.wait(WAIT_SECONDS)
        return event.is_set()


@given(st.lists(st.integers(), max_size=50), st.integers(1, 8))
def test_results_are_in_order(items: list[int], workers: int) -> None:
    assert each(lambda item: item + 1, items, workers, endless()) == [i + 1 for i in items]


def test_the_number_of_threads_is_limited() -> None:
    four = threading.Barrier(4)  # never complete with fewer than four threads
    running = threading.BoundedSemaphore(4)

    def work(item: int) -> int:
        assert running.acquire(blocking=False), "a fifth thread"
        four.wait(WAIT_SECONDS)
        running.release()
        four.wait(WAIT_SECONDS)
        return item

    assert each(work, range(20), 4, endless()) == list(range(20))


def test_the_first_failure_ends_the_work() -> None:
    release = threading.Event()
    done: list[int] = []

    def work(item: int) -> None:
        if item == 3:
            raise KeyError(item)
        if item > 3:
            release.wait(WAIT_SECONDS)
        done.append(item)

    with pytest.raises(KeyError):
        each(work, range(1000), 4, endless(), name="failing")
    release.set()
    join("failing")
    assert len(done) <= 3 + 3, "the items before, and one for each other thread"


def join(name: str) -> None:
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(WAIT_SECONDS)


def test_results_of_late_work_are_missing() -> None:
    begun, release = threading.Event(), threading.Event()

    def work(item: int) -> int:
        if item == 2:
            begun.set()  # the thread of item 0 has stored its result
        if item:
            release.wait(WAIT_SECONDS)
        return item + 1

    assert each(work, [0, 1, 2], 2, EndsAt(begun)) == [1, None, None]
    release.set()


def test_a_deadline_follows_its_clock() -> None:
    clock = FakeClock()
    deadline = Deadline(60, clock)
    deadline.check()
    clock.now += 20
    assert deadline.remaining() == 40
    deadline.shorten(100)
    assert deadline.remaining() == 40
    deadline.shorten(10)
    assert deadline.remaining() == 10
    clock.now += 10
    assert deadline.remaining() == 0
    with pytest.raises(DeadlineError, match="after 60 s"):
        deadline.check()
    clock.now += 10
    assert deadline.remaining() == 0


def test_a_deadline_waits_for_an_event() -> None:
    event = threading.Event()
    assert not Deadline(0).wait(event)
    event.set()
    assert Deadline(0).wait(event)
    assert endless().wait(event)
    endless().check()


def test_threads_that_outlive_their_deadline_can_be_awaited() -> None:
    over, release = threading.Event(), threading.Event()
    over.set()
    each(lambda item: release.wait(WAIT_SECONDS), [0], 1, EndsAt(over), name="late")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        release.set()
        join("late")

    assert not join_threads("late", 0.0, lambda: False, pause), "the time is over"
    assert not join_threads("late", 10.0, lambda: True, pause), "asked to stop"
    assert pauses == []
    assert join_threads("late", 10.0, lambda: False, pause)
    assert pauses == [0.1]
