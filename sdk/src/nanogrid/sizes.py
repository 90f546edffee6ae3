"""Sizes in bytes as text, in one form everywhere: 900B, 12Ki, 256Mi, 2Gi. Pure."""

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
MOST_MIB: Final = 10_000  # up to here a size that is not whole is shown in Mi
_UNITS: Final = ("Mi", "Gi", "Ti", "Pi")


def size_text(count: float) -> str:
    """Bytes as in a manifest: 900B, 12Ki, 41Mi, 1536Mi, 2Gi, 19.6Gi.

    Whole Mi are exact. Other sizes are rounded up: a limit of the shown size is enough.
    """
    if count < KIB:
        return f"{_up(count, 1)}B"
    if count <= MIB - KIB:
        return f"{_up(count, KIB)}Ki"
    whole = _up(count, MIB)
    power = 0
    if whole * MIB == count or whole <= MOST_MIB:
        while whole % 1024 == 0 and power < len(_UNITS) - 1:
            whole, power = whole // 1024, power + 1
        return f"{whole}{_UNITS[power]}"
    while count >= MIB << 10 * (power + 1) and power < len(_UNITS) - 1:
        power += 1
    tenths = _up(count * 10, MIB << 10 * power)
    return f"{tenths // 10}{f'.{tenths % 10}' if tenths % 10 else ''}{_UNITS[power]}"


def _up(count: float, unit: int) -> int:
    """The number of units, rounded up."""
    return int(-(-count // unit))
