"""Bars and plots: sizes, axes and escaped text."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from nanogrid_gateway.web import formatting, plots
from nanogrid_gateway.web.plots import Part, Point, ceiling
from support.web_world import HOSTILE


class Svg(HTMLParser):
    """The tags of an SVG with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_parts_fill_the_bar_and_the_smallest_is_visible() -> None:
    drawn = Svg(plots.bar([Part("a", 1, "a"), Part("b", 99_999, "b"), Part("c", 0, "c")], "t"))

    widths = [float(str(r["width"]).rstrip("%")) for r in drawn.all("rect")]
    assert len(widths) == 2
    assert sum(widths) == pytest.approx(100, abs=0.1)
    assert widths[0] > 0.5
    assert Svg(plots.bar([], "t")).all("rect") == []


def test_a_share_above_the_whole_fills_the_bar() -> None:
    (rect,) = Svg(plots.share(300, 200, "bad", "t")).all("rect")

    assert rect["width"] == "100.00%"


@given(
    values=st.lists(
        st.one_of(st.none(), st.floats(0, 1e15, allow_nan=False)), min_size=1, max_size=60
    ),
    limit=st.one_of(st.none(), st.floats(1, 1e12)),
)
def test_every_point_of_a_plot_lies_inside_it(
    values: list[float | None], limit: float | None
) -> None:
    points = [Point(value, "good", "x", "/x", limit) for value in values]

    drawn = Svg(plots.plot(points, "t", str))

    dots = [re.fullmatch(r"M([\d.]+) ([\d.]+)h0", str(dot["d"])) for dot in drawn.all("path")]
    assert len(dots) == sum(value is not None for value in values)
    for dot in dots:
        assert dot is not None
        assert 0 <= float(dot[1]) <= plots.WIDTH
        assert plots.MARGIN - 1 <= float(dot[2]) <= plots.HEIGHT - plots.MARGIN + 1


@given(st.floats(1e-6, 1e18))
def test_the_axis_ends_at_or_above_the_highest_value(value: float) -> None:
    assert value <= ceiling(value) * (1 + 1e-9)
    assert ceiling(value) <= value * 1.7


def test_the_memory_axis_has_round_binary_numbers() -> None:
    drawn = plots.plot([Point(300 << 20, "good", "x", "/")], "t", formatting.size, formatting.MIB)

    assert drawn.index(">300Mi<") < drawn.index(">150Mi<") < drawn.index(">0B<")


def test_hostile_text_in_plots_is_escaped() -> None:
    point = Point(1.0, HOSTILE, HOSTILE, f"/x?{HOSTILE}")
    for drawn in (
        plots.plot([point], HOSTILE, lambda value: HOSTILE),
        plots.sparkline([point], HOSTILE),
        plots.bar([Part(HOSTILE, 1, HOSTILE)], HOSTILE),
        plots.share(1, 2, HOSTILE, HOSTILE),
    ):
        assert isinstance(drawn, Markup)
        allowed = {"div", "span", "svg", "a", "line", "path", "title", "rect"}
        assert {tag for tag, _ in Svg(drawn).tags} <= allowed
