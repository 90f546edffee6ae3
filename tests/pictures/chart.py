"""Panels as SVG and HTML. Pure."""

import html
import math
from datetime import UTC, datetime
from typing import Final

from nanogrid.types import Json
from pictures.answers import Series
from pictures.units import axis, shown
from support.prometheus_api import Span

COLORS: Final = (
    "#2563eb", "#16a34a", "#ea7a0b", "#dc2626", "#8b45d6", "#0891a5",
    "#b4841a", "#d6408f", "#64748b", "#65a30d", "#7c4a2d", "#4f46b8",
)  # fmt: skip
ROWS: Final = 6  # of a legend
ROW_PIXELS: Final = 17
TITLE_PIXELS: Final = 30
LEFT, RIGHT, TOP, BOTTOM = 78, 12, 6, 22  # around a chart, in pixels
TIMES_OF_AXIS: Final = 5
AREA_OPACITY: Final = 0.12


def panel(model: Json, series: list[Series], span: Span, width: int, height: int) -> str:
    """The HTML of a panel.

    Raises:
        ValueError: its type is not known.
    """
    kind, unit = model["type"], model["fieldConfig"]["defaults"]["unit"]
    series = [one for one in series if one.numbers]
    if kind not in ("timeseries", "stat"):
        raise ValueError(f"panel {model['title']!r}: type {kind} cannot be drawn")
    if not series:
        body = '<div class="empty">No data</div>'
    elif kind == "stat":
        body = _stat(series, unit)
    else:
        colored = [(COLORS[n % len(COLORS)], one) for n, one in enumerate(series)]
        rows = min(len(series), ROWS) + 1
        tall = height - TITLE_PIXELS - rows * ROW_PIXELS - 8
        body = _lines(colored, unit, span, width, tall) + _legend(colored, unit)
    return f"<h3>{html.escape(model['title'])}</h3>{body}"


def _stat(series: list[Series], unit: str) -> str:
    if len(series) == 1:
        return f'<div class="big">{shown(series[0].last, unit)}</div>'
    rows = "".join(
        f"<tr><td>{html.escape(one.legend)}</td><td>{shown(one.last, unit)}</td></tr>"
        for one in series
    )
    return f'<table class="several">{rows}</table>'


def _legend(colored: list[tuple[str, Series]], unit: str) -> str:
    """Name, last and greatest value; of too many series those with the greatest values."""
    more = len(colored) - ROWS
    if more > 0:
        colored = sorted(colored, key=lambda one: -one[1].highest)[: ROWS - 1]
    rows = [
        f'<tr><td><i style="background:{color}"></i>{html.escape(one.legend)}</td>'
        f"<td>{shown(one.last, unit)}</td><td>{shown(one.highest, unit)}</td></tr>"
        for color, one in colored
    ]
    if more > 0:
        rows.append(f"<tr><td>… {more + 1} more</td><td></td><td></td></tr>")
    head = "<tr><th></th><th>last</th><th>max</th></tr>"
    return f'<table class="legend">{head}{"".join(rows)}</table>'


def _lines(
    colored: list[tuple[str, Series]], unit: str, span: Span, width: int, height: int
) -> str:
    values = axis(max(one.highest for _, one in colored), unit)
    right, bottom = width - RIGHT, height - BOTTOM

    def x(at: float) -> float:
        return LEFT + (at - span.start) / (span.end - span.start) * (right - LEFT)

    def y(value: float) -> float:
        return bottom - max(value, 0) / values[-1] * (bottom - TOP)

    opacity = AREA_OPACITY / len(colored)  # areas of many series hide each other
    parts = [f'<svg width="{width}" height="{height}">']
    for value in values:
        parts.append(f'<path class="grid" d="M{LEFT} {y(value):.1f}H{right}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y(value) + 4:.1f}" text-anchor="end">'
                     f"{shown(value, unit)}</text>")  # fmt: skip
    for number in range(TIMES_OF_AXIS):
        at = span.start + (number + 0.5) * (span.end - span.start) / TIMES_OF_AXIS
        at = round(at / 60) * 60
        clock = datetime.fromtimestamp(at, UTC).strftime("%H:%M")
        parts.append(f'<path class="grid" d="M{x(at):.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{x(at):.1f}" y="{height - 6}" text-anchor="middle">{clock}</text>')
    for color, one in colored:
        for run in runs(one.points, span.step):
            places = [f"{x(at):.1f} {y(value):.1f}" for at, value in run]
            if len(run) == 1:
                parts.append(f'<circle cx="{x(run[0][0]):.1f}" cy="{y(run[0][1]):.1f}" r="2" '
                             f'fill="{color}"/>')  # fmt: skip
                continue
            line = "M" + "L".join(places)
            first, last = x(run[0][0]), x(run[-1][0])
            area = f"{line}L{last:.1f} {bottom}L{first:.1f} {bottom}Z"
            parts.append(f'<path d="{area}" fill="{color}" fill-opacity="{opacity:.3f}"/>')
            parts.append(f'<path class="line" d="{line}" stroke="{color}"/>')
    return "".join(parts) + "</svg>"


def runs(points: list[tuple[float, float]], step: float) -> list[list[tuple[float, float]]]:
    """The parts of a line: it ends where a point is missing or is no number."""
    found: list[list[tuple[float, float]]] = []
    before = -math.inf
    for at, value in points:
        if not math.isfinite(value):
            continue
        if at - before > 1.5 * step:
            found.append([])
        found[-1].append((at, value))
        before = at
    return found
