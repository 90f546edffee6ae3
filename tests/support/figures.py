"""Figures of measurements: medians, ratios of pairs of one round, and tables. Pure."""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95
SEED: Final = 1  # the same values give the same interval


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of ratios, and the bootstrap interval of this median."""

    median: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f}, {self.pairs} pairs)"


@dataclass(frozen=True, slots=True)
class Interval:
    """The median of values, and its bootstrap interval; ``count`` values."""

    median: float
    low: float
    high: float
    count: int


def median_interval(values: Sequence[float]) -> Interval:
    """The median, with an interval that has the median of the population in 95 % of all samples.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no median of 0 values")
    source = random.Random(SEED)
    medians = sorted(
        statistics.median(source.choices(values, k=len(values))) for _ in range(RESAMPLES)
    )
    cut = int(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Interval(statistics.median(values), medians[cut], medians[-1 - cut], len(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share (0 to 1) of all values do not exceed.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no percentile of 0 values")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def paired_ratio(values: Sequence[float], others: Sequence[float]) -> Ratio:
    """The ratio of each value to the other one of its round.

    Load that lasts longer than a round affects both values of a pair, so it cancels out.

    Raises:
        ValueError: there is no pair, the lengths differ, or a divisor is not positive.
    """
    if not values or len(values) != len(others):
        raise ValueError(f"no pairs of {len(values)} and {len(others)} values")
    if min(others) <= 0:
        raise ValueError(f"a divisor is not positive: {min(others)}")
    ratios = [value / other for value, other in zip(values, others, strict=True)]
    found = median_interval(ratios)
    return Ratio(found.median, found.low, found.high, found.count)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median, minimum and maximum as one cell; "-" without values."""
    if not values:
        return "-"
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def table(head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Rows by their name, in columns as wide as their widest cell; the first one to the left."""
    lines = [list(head)] + [[name, *cells] for name, cells in rows.items()]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
