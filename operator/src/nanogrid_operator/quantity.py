"""Kubernetes quantities as numbers. Pure."""

from decimal import Decimal

_SUFFIXES = {
    "m": Decimal("0.001"), "": Decimal(1),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip


def quantity(text: str | int) -> Decimal:
    """The value of a Kubernetes quantity: bytes for memory, cores for cpu.

    Raises:
        ValueError: the text is no quantity.
    """
    word = str(text)
    digits = word.rstrip("mkMGTi")
    try:
        return Decimal(digits) * _SUFFIXES[word[len(digits) :]]
    except (ArithmeticError, KeyError):
        raise ValueError(f"{word!r} is no quantity such as 256Mi or 500m") from None
