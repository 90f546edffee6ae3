"""Kubernetes quantities become numbers, and other text is refused."""

from decimal import Decimal

import pytest

from nanogrid.quantity import quantity


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("256Mi", 256 * 2**20),
        ("512Ki", 512 * 2**10),
        ("1.5Gi", 3 * 2**29),
        ("2Ti", 2**41),
        ("1k", 1000),
        ("128M", 128_000_000),
        ("3G", 3_000_000_000),
        ("1T", 10**12),
        ("500m", Decimal("0.5")),
        ("0.25", Decimal("0.25")),
        ("1", 1),
        (2, 2),
        ("0", 0),
    ],
)
def test_a_quantity_has_its_value_in_kubernetes(text: str | int, want: int | Decimal) -> None:
    assert quantity(text) == want


@pytest.mark.parametrize(
    ("text", "want"), [("1Pi", 2**50), ("2E", 2 * 10**18), ("100u", Decimal("0.0001"))]
)
def test_canonical_forms_of_the_api_server_are_accepted(text: str, want: int | Decimal) -> None:
    assert quantity(text) == want


@pytest.mark.parametrize("text", ["", "Mi", "lots", "1MiB", "1mi", "--1", "1Mi1"])
def test_other_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity such as 256Mi or 500m"):
        quantity(text)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1_000", "٣", "1 Mi"])
def test_numbers_of_python_that_are_not_quantities_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        quantity(text)
