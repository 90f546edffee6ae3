"""Values with units, and the steps of an axis."""

import math
from typing import Any

import pytest

from pictures.units import axis, shown
from support.dashboards import dashboards, panels


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0 s"),
        (0.25, "s", "250 ms"),
        (0.00042, "s", "420 µs"),
        (1.234, "s", "1.23 s"),
        (90, "s", "1.5 min"),
        (5400, "s", "1.5 h"),
        (0, "bytes", "0 B"),
        (64 << 20, "bytes", "64 MiB"),
        (1500, "Bps", "1.5 kB/s"),
        (0.991, "percentunit", "99.1%"),
        (1, "percentunit", "100%"),
        (0.9999, "percentunit", "99.99%"),
        (0, "percentunit", "0%"),
        (0.125, "ops", "0.125 ops/s"),
        (0.0333333, "ops", "0.0333 ops/s"),
        (1e-9, "short", "0"),
        (-2.5, "s", "-2.5 s"),
        (999.9, "s", "16.7 min"),
        (2, "reqps", "2 req/s"),
        (12345, "short", "12.3 k"),
        (100, "short", "100"),
        (math.nan, "s", "–"),
        (math.inf, "s", "–"),
    ],
)
def test_a_value_has_three_digits_and_its_unit(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


def test_each_unit_of_the_dashboards_is_known() -> None:
    units = {p["fieldConfig"]["defaults"]["unit"] for d in dashboards().values() for p in panels(d)}
    assert len(units) > 3
    for unit in units:
        assert shown(1, unit)
    with pytest.raises(KeyError):
        shown(1, "furlongs")


@pytest.mark.parametrize(
    ("highest", "unit", "values"),
    [
        (4, "short", [0, 1, 2, 3, 4]),
        (0.9, "ops", [0, 0.25, 0.5, 0.75, 1]),
        (0, "short", [0, 0.25, 0.5, 0.75, 1]),
        (math.nan, "short", [0, 0.25, 0.5, 0.75, 1]),
        (100 << 20, "bytes", [n * (32 << 20) for n in range(5)]),
        (70, "s", [0, 30, 60, 90]),
        (170, "s", [0, 60, 120, 180]),
    ],
)
def test_an_axis_has_even_steps(highest: float, unit: str, values: list[Any]) -> None:
    assert axis(highest, unit) == pytest.approx(values)


@pytest.mark.parametrize("unit", ["short", "s", "bytes"])
@pytest.mark.parametrize("highest", [3e-7, 0.02, 1, 7.3, 59, 61, 999, 86_400, 3.3e9])
def test_an_axis_ends_above_the_greatest_value_in_few_steps(highest: float, unit: str) -> None:
    values = axis(highest, unit)
    assert values[-1] >= highest * (1 - 1e-6)
    assert 2 <= len(values) <= 6
