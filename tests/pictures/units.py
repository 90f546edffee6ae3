"""Values with the units of panels, as Grafana names them, and the steps of an axis. Pure."""

import math
from typing import Final

# Per unit of Grafana: from which value on, what it is divided by, and the text that follows.
_SI: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))
_SCALES: Final[dict[str, tuple[tuple[float, str], ...]]] = {
    "short": tuple((size, f" {prefix}".rstrip()) for size, prefix in _SI),
    "ops": tuple((size, f" {prefix}ops/s") for size, prefix in _SI),
    "reqps": tuple((size, f" {prefix}req/s") for size, prefix in _SI),
    "Bps": tuple((size, f" {prefix}B/s") for size, prefix in _SI),
    "bytes": ((1 << 30, " GiB"), (1 << 20, " MiB"), (1 << 10, " KiB"), (1, " B")),
    "s": ((3600, " h"), (60, " min"), (1, " s"), (1e-3, " ms"), (1e-6, " µs")),
    "percentunit": ((0.01, "%"),),
}
_TIME_STEPS: Final = (15, 30, 60, 120, 300, 600, 900, 1800, 3600)
STEPS_OF_AXIS: Final = 4


def shown(value: float, unit: str) -> str:
    """A value with three digits and its unit; "–" for no number.

    Raises:
        KeyError: the unit is not known.
    """
    scales = _SCALES[unit]
    if not math.isfinite(value):
        return "–"
    # 0 has the unit without a prefix.
    size, text = next((one for one in scales if abs(value) >= one[0]), scales[-1])
    if value == 0 and unit == "s":
        size, text = 1, " s"
    scaled = value / size
    digits = 2 - math.floor(math.log10(abs(scaled))) if scaled else 0
    # 99.99 % is not 100 %, and a rate below 1 has no smaller unit.
    digits = min(max(digits, 2 if unit == "percentunit" else 0), 6)
    number = f"{scaled:.{digits}f}"
    return (number.rstrip("0").rstrip(".") if digits else number) + text


def axis(highest: float, unit: str) -> list[float]:
    """The values with lines on an axis from 0: the last one is at least ``highest``."""
    if not math.isfinite(highest) or highest <= 0:
        highest = 1.0
    raw = highest / STEPS_OF_AXIS
    if unit == "bytes":
        step = 2.0 ** math.ceil(math.log2(raw))
    elif unit == "s" and raw > 10:
        step = next((one for one in _TIME_STEPS if one >= raw), math.ceil(raw / 3600) * 3600.0)
    else:
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(one * power for one in (1, 2, 2.5, 5, 10) if one * power >= raw * (1 - 1e-9))
    count = math.ceil(highest / step * (1 - 1e-9))
    return [number * step for number in range(count + 1)]
