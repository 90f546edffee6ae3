"""Foreign load of the rounds of `make bench`."""

import pytest

from support.benchmark.load import Ticks, marked, parse_ticks, shares

LINE = "cpu  100 5 45 800 10 1 4 35 90 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"


def test_guest_time_is_not_counted_twice() -> None:
    assert parse_ticks(LINE) == Ticks(busy=155, steal=35, total=1000)


@pytest.mark.parametrize("text", ["", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3"])
def test_another_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not the CPU time"):
        parse_ticks(text)


def test_shares_are_of_all_processors_between_two_reads() -> None:
    assert shares(Ticks(100, 10, 1000), Ticks(150, 12, 1200)) == (0.25, 0.01)


def test_a_round_is_marked_when_it_is_busier_than_the_quietest_or_loses_time() -> None:
    assert marked([0.15, 0.20, 0.40, 0.16], [0.0, 0.0, 0.0, 0.05]) == [False, False, True, True]


def test_a_machine_that_is_always_as_busy_has_no_mark() -> None:
    assert marked([0.5, 0.55], [0.0, 0.0]) == [False, False]


def test_no_rounds_have_no_marks() -> None:
    assert marked([], []) == []
