"""Figures of measurements: ratios of pairs, cells and tables."""

import pytest

from support.figures import (
    Interval,
    Ratio,
    median_interval,
    paired_ratio,
    percentile,
    spread,
    table,
)


def test_a_ratio_is_that_of_pairs_and_not_of_medians() -> None:
    # Load doubles both values of a round, so each pair has the ratio 2.
    found = paired_ratio([2.0, 40.0, 6.0], [1.0, 20.0, 3.0])

    assert found == Ratio(2.0, 2.0, 2.0, 3)


def test_the_interval_contains_the_median_and_lies_within_the_ratios() -> None:
    ours = [1.0, 1.2, 0.9, 1.1, 3.0, 1.0, 0.8, 1.3]
    found = paired_ratio(ours, [1.0] * len(ours))

    assert found.median == pytest.approx(1.05)
    assert min(ours) <= found.low < found.median < found.high <= max(ours)
    assert found.high < 3.0  # one slow round does not reach the interval


def test_the_same_values_give_the_same_interval() -> None:
    values, others = [1.0, 5.0, 2.0, 4.0], [1.0, 2.0, 3.0, 4.0]

    assert paired_ratio(values, others) == paired_ratio(values, others)


def test_one_pair_has_an_interval_of_one_point() -> None:
    assert str(paired_ratio([3.0], [2.0])) == "1.50 (1.50-1.50, 1 pairs)"


@pytest.mark.parametrize(
    ("values", "others", "message"),
    [
        ([], [], "no pairs of 0 and 0"),
        ([1.0, 2.0], [1.0], "no pairs of 2 and 1"),
        ([1.0], [0.0], "not positive: 0.0"),
        ([1.0, 1.0], [2.0, -1.0], "not positive: -1.0"),
    ],
)
def test_values_that_are_no_pairs_are_refused(
    values: list[float], others: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        paired_ratio(values, others)


def test_a_cell_has_median_minimum_and_maximum() -> None:
    assert spread([10.0, 30.0, 20.4]) == "20 (10-30)"
    assert spread([1.25, 0.5], 2) == "0.88 (0.50-1.25)"
    assert spread([]) == "-"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    text = table(("ms", "a", "long head"), {"a long name": ("1", "2"), "b": ("333", "-")})

    assert text.splitlines() == [
        "ms             a  long head",
        "a long name    1          2",
        "b            333          -",
    ]


def test_a_row_with_a_missing_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        table(("ms", "a", "b"), {"row": ("1",)})


def test_the_interval_of_a_median_ignores_one_outlier() -> None:
    found = median_interval([10.0, 11.0, 9.0, 10.0, 12.0, 10.0, 11.0, 900.0])

    assert found.median == 10.5
    assert found.count == 8
    assert 9.0 <= found.low <= 10.5 <= found.high < 900.0


def test_one_value_is_its_own_interval_and_none_is_refused() -> None:
    assert median_interval([7.0]) == Interval(7.0, 7.0, 7.0, 1)
    with pytest.raises(ValueError, match="0 values"):
        median_interval([])


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 5.0), (0.51, 6.0), (0.9, 9.0), (0.99, 10.0)]
)
def test_a_percentile_is_a_value_of_the_sample(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(10, 0, -1)], share) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="0 values"):
        percentile([], 0.5)
