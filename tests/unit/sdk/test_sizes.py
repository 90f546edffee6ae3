"""Sizes have one form everywhere: that of a manifest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.quantity import quantity
from nanogrid.sizes import KIB, MIB, size_text


@pytest.mark.parametrize(
    ("count", "want"),
    [
        (0, "0B"),
        (900, "900B"),
        (1023.4, "1024B"),
        (1024, "1Ki"),
        (12_345, "13Ki"),
        (MIB - 1, "1Mi"),
        (41 * MIB, "41Mi"),
        (41 * MIB + 1, "42Mi"),
        (1536 * MIB, "1536Mi"),
        (1 << 30, "1Gi"),
        (5 << 29, "2560Mi"),
        (20_001 * MIB, "20001Mi"),
        (21_000_000_000, "19.6Gi"),
        (1025 << 30, "1025Gi"),
        ((1 << 40) + 1, "1.1Ti"),
        (3 << 50, "3Pi"),
    ],
)
def test_sizes_are_readable(count: float, want: str) -> None:
    assert size_text(count) == want


@given(st.integers(KIB, 1 << 52))
def test_a_limit_of_the_shown_size_is_enough(count: int) -> None:
    assert quantity(size_text(count)) >= count


@given(st.integers(1, 1 << 32))
def test_whole_mebibytes_are_exact(count: int) -> None:
    assert quantity(size_text(count * MIB)) == count * MIB
