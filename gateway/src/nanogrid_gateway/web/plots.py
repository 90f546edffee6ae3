"""Bars and plots as SVG: numbers in attributes, colours by class, all text escaped. Pure.

Style attributes would need a weaker Content-Security-Policy; therefore widths are SVG attributes.
A plot is stretched to the width of its place. Its labels are HTML next to it, so that they are
neither stretched nor cut, and its dots are lines without length, whose round ends stay round.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from markupsafe import Markup

WIDTH: Final = 640
HEIGHT: Final = 150
MARGIN: Final = 8  # half the height of a label's line in page.css, above and below
MIN_WIDTH: Final = 0.6  # per cent: even the smallest part is visible
_STEPS: Final = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a bar: its CSS class, its size in any unit, and its label."""

    css_class: str
    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Point:
    """One run in a plot; ``value`` is None without a measurement, ``limit`` in the same unit."""

    value: float | None
    css_class: str
    label: str
    href: str
    limit: float | None = None


def bar(parts: Sequence[Part], title: str) -> Markup:
    """The parts of a whole as one bar."""
    shown = [part for part in parts if part.value > 0]
    total = sum(part.value for part in shown)
    widths = [max(MIN_WIDTH, 100 * part.value / total) for part in shown]
    scale = 100 / sum(widths) if widths else 1.0
    drawn, at = [], 0.0
    for part, width in zip(shown, widths, strict=True):
        drawn.append(_rect(part.css_class, at, width * scale, part.label))
        at += width * scale
    return _svg("bar", title, Markup("").join(drawn))


def share(value: float, whole: float, css_class: str, title: str) -> Markup:
    """The used share of a whole as a bar; more than the whole fills it."""
    width = min(100.0, max(MIN_WIDTH, 100 * value / whole)) if whole > 0 else 0.0
    return _svg("bar", title, _rect(css_class, 0, width, title))


def plot(
    points: Sequence[Point], title: str, text: Callable[[float], str], unit: float = 1.0
) -> Markup:
    """Runs from oldest to newest, each as a dot with a link; limits as a line.

    Args:
        points: the runs; without any measured value the plot is empty.
        title: the plot's accessible name.
        text: formats a value for the axis.
        unit: the axis ends at a round number of this unit.
    """
    values = [point.value for point in points if point.value is not None]
    if not values:
        return Markup("")
    limits = [point.limit for point in points if point.limit]
    top = unit * ceiling(max([*values, *limits]) / unit)
    step = WIDTH / max(1, len(points))

    def height(value: float) -> float:
        return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value / top, 1)

    parts = (1.0, 0.5, 0.0)
    drawn = [_axis(height(top * part)) for part in parts]
    for number, point in enumerate(points):
        middle = round(step * (number + 0.5), 1)
        if point.value is not None:
            drawn.append(_dot(point, middle, height(point.value), height(0)))
    # One line for equal limits, so that its dashes have the same length everywhere.
    at = 0
    for limit, group in groupby(points, key=lambda point: point.limit):
        end = at + len(list(group))
        if limit:
            drawn.append(_limit(step * at, step * end, height(limit)))
        at = end
    box = Markup(
        '<div class="plot-box"><div class="plot-labels" aria-hidden="true">{}</div>'
        '<svg class="plot" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg></div>'
    )
    labels = Markup("").join(Markup("<span>{}</span>").format(text(top * part)) for part in parts)
    return box.format(labels, WIDTH, HEIGHT, title, Markup("").join(drawn))


def sparkline(points: Sequence[Point], title: str) -> Markup:
    """The runs as small bars, oldest first; empty without any measured value."""
    top = max((point.value for point in points if point.value is not None), default=0)
    if not top:
        return Markup("")
    drawn = []
    for number, point in enumerate(points):
        height = round(max(1.0, 20 * (point.value or 0) / top), 1)
        rect = Markup('<rect class="{}" x="{}" y="{}" width="2" height="{}"/>')
        drawn.append(rect.format(point.css_class, 3 * number, 20 - height, height))
    box = Markup('<svg class="sparkline" viewBox="0 0 150 20" role="img" aria-label="{}">{}</svg>')
    return box.format(title, Markup("").join(drawn))


def ceiling(value: float) -> float:
    """The next round number, for the top of an axis; 1 for values up to 0."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return power * next(step for step in _STEPS if power * step >= value or step == _STEPS[-1])


def _svg(css_class: str, title: str, inner: Markup) -> Markup:
    text = Markup('<svg class="{}" role="img" aria-label="{}">{}</svg>')
    return text.format(css_class, title, inner)


def _rect(css_class: str, at: float, width: float, label: str) -> Markup:
    text = Markup(
        '<rect class="{}" x="{:.2f}%" y="0" width="{:.2f}%" height="100%"><title>{}</title></rect>'
    )
    return text.format(css_class, at, width, label)


def _axis(y: float) -> Markup:
    return Markup('<line class="axis" x1="0" x2="{}" y1="{}" y2="{}"/>').format(WIDTH, y, y)


def _limit(x1: float, x2: float, y: float) -> Markup:
    text = Markup('<line class="limit" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>')
    return text.format(x1, x2, y, y)


def _dot(point: Point, x: float, y: float, floor: float) -> Markup:
    text = Markup(
        '<a href="{}" tabindex="-1"><line class="stem" x1="{}" x2="{}" y1="{}" y2="{}"/>'
        '<path class="dot {}" d="M{} {}h0"/><title>{}</title></a>'
    )
    return text.format(point.href, x, x, floor, y, point.css_class, x, y, point.label)
