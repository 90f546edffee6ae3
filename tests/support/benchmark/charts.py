"""Charts as SVG: bars with intervals, and how many of a burst have ended over time. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 860
LABEL: Final = 330  # pixels for the names of the rows
MARGIN: Final = 24
BAR: Final = 11
GAP: Final = 10
# Distinct for the colour-blind (Okabe and Ito).
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
FONT: Final = "font-family='system-ui, sans-serif' font-size='12'"


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: which of the series, its length and its interval."""

    series: int
    value: float
    low: float
    high: float


def nice_step(most: float, steps: int = 6) -> float:
    """The distance of ticks: 1, 2 or 5 times a power of ten."""
    step = 1e-6
    while True:
        for factor in (1, 2, 5):
            if most / (step * factor) <= steps:
                return step * factor
        step *= 10


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "#222") -> str:
    place = f"x='{x:.0f}' y='{y:.0f}' text-anchor='{anchor}' fill='{colour}'"
    return f"<text {place}>{escape(text)}</text>"


def _frame(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height:.0f}' "
        f"width='{WIDTH}' height='{height:.0f}' role='img' {FONT}>"
        f"<title>{escape(title)}</title><rect width='100%' height='100%' fill='white'/>"
    )
    name = f"<text x='{MARGIN}' y='22' font-size='15' fill='#111'>{escape(title)}</text>"
    return "\n".join([head, name, *parts, "</svg>"]) + "\n"


def _legend(names: Sequence[str], y: float) -> list[str]:
    parts, x = [], float(MARGIN)
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f"<rect x='{x:.0f}' y='{y - 10:.0f}' width='11' height='11' fill='{colour}'/>")
        parts.append(_text(x + 16, y, name))
        x += 34 + 6.8 * len(name)
    return parts


def _ticks(most: float, left: float, scale: float, top: float, bottom: float) -> list[str]:
    step, parts, value = nice_step(most), [], 0.0
    while value <= most * 1.0001:
        x = left + value * scale
        parts.append(
            f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{top:.0f}' y2='{bottom:.0f}' stroke='#ddd'/>"
        )
        parts.append(_text(x, bottom + 15, f"{value:,.10g}", "middle", "#555"))
        value += step
    return parts


def bars(title: str, series: Sequence[str], rows: Mapping[str, Sequence[Bar]], unit: str) -> str:
    """Horizontal bars, grouped by row; a thin line shows each interval.

    Raises:
        ValueError: there is no bar.
    """
    most = max((bar.high for row in rows.values() for bar in row), default=0.0)
    if most <= 0:
        raise ValueError("there is no bar to draw")
    scale = (WIDTH - LABEL - 3 * MARGIN) / most
    top = y = 58.0
    parts: list[str] = []
    for name, row in rows.items():
        middle = y + (BAR * max(1, len(row))) / 2 + 4
        parts.append(_text(LABEL - 8, middle, name, "end"))
        for bar in row:
            colour = COLOURS[bar.series % len(COLOURS)]
            width = max(1.0, bar.value * scale)
            parts.append(
                f"<rect x='{LABEL}' y='{y:.1f}' width='{width:.1f}' height='{BAR - 1}' "
                f"fill='{colour}'/>"
            )
            at = y + (BAR - 1) / 2
            low, high = LABEL + bar.low * scale, LABEL + bar.high * scale
            parts.append(
                f"<line x1='{low:.1f}' x2='{high:.1f}' y1='{at:.1f}' y2='{at:.1f}' stroke='#222'/>"
            )
            y += BAR
        y += GAP
    ticks = _ticks(most, LABEL, scale, top - 6, y)
    parts = [
        *_legend(series, 44),
        *ticks,
        *parts,
        _text(WIDTH - MARGIN, y + 32, unit, "end", "#555"),
    ]
    return _frame(title, y + 44, parts)


def stacked(
    title: str, series: Sequence[str], rows: Mapping[str, Sequence[tuple[int, float]]], unit: str
) -> str:
    """One bar for each row, of parts in a line: the series of each part, and its length.

    Raises:
        ValueError: there is no part with a length.
    """
    most = max((sum(length for _, length in row) for row in rows.values()), default=0.0)
    if most <= 0:
        raise ValueError("there is no bar to draw")
    scale = (WIDTH - LABEL - 3 * MARGIN) / most
    top = 52.0 + 18 * len(series)
    parts = [
        line
        for number, name in enumerate(series)
        for line in _legend_line(name, COLOURS[number % len(COLOURS)], 44 + 18 * number)
    ]
    y = top
    bars_of: list[str] = []
    for name, row in rows.items():
        bars_of.append(_text(LABEL - 8, y + BAR, name, "end"))
        x = float(LABEL)
        for number, length in row:
            colour = COLOURS[number % len(COLOURS)]
            bars_of.append(
                f"<rect x='{x:.1f}' y='{y:.1f}' width='{length * scale:.1f}' height='{BAR + 4}' "
                f"fill='{colour}'/>"
            )
            x += length * scale
        y += BAR + 4 + GAP
    parts += [*_ticks(most, LABEL, scale, top - 6, y), *bars_of]
    parts.append(_text(WIDTH - MARGIN, y + 32, unit, "end", "#555"))
    return _frame(title, y + 44, parts)


def curves(title: str, series: Mapping[str, Sequence[float]], unit: str) -> str:
    """For each series, how many of its values are not above a value: a line with steps.

    Raises:
        ValueError: there is no value.
    """
    most = max((max(values) for values in series.values() if values), default=0.0)
    if most <= 0:
        raise ValueError("there is no value to draw")
    count = max(len(values) for values in series.values())
    left, top, bottom = 60.0, 58.0 + 18 * len(series), 58.0 + 18 * len(series) + 260
    scale, rise = (WIDTH - left - 2 * MARGIN) / most, (bottom - top) / count
    parts = _ticks(most, left, scale, top, bottom)
    for share in (0, 0.5, 1):
        y = bottom - share * count * rise
        parts.append(_text(left - 8, y + 4, f"{share * count:.0f}", "end", "#555"))
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts += _legend_line(name, colour, 44 + 18 * number)
        points = [f"M{left:.1f} {bottom:.1f}"]
        for ended, value in enumerate(sorted(values), 1):
            points.append(f"H{left + value * scale:.1f}V{bottom - ended * rise:.1f}")
        path = "".join(points)
        parts.append(f"<path d='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
    parts.append(_text(WIDTH - MARGIN, bottom + 32, unit, "end", "#555"))
    return _frame(title, bottom + 44, parts)


def _legend_line(name: str, colour: str, y: float) -> list[str]:
    box = f"<rect x='{MARGIN}' y='{y - 10:.0f}' width='11' height='11' fill='{colour}'/>"
    return [box, _text(MARGIN + 16, y, name)]
