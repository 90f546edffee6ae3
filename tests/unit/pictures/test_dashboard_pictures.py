"""Pictures of dashboards: variables, answers of Prometheus, the page, and those in the docs."""

import itertools
import json
import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nanogrid.api.job import Spec
from nanogrid.api.tenant import TenantSpec
from nanogrid.types import Json
from pictures import chart, page
from pictures.answers import PanelError, Series, legend_of, series_of, span_of, times_of
from pictures.draw import MOST_BYTES, fewer_colors, variable
from pictures.traffic import TEAMS, TENANTS, batch
from support.dashboards import chosen, dashboards, filled_in, panels
from support.kubectl import Namespace
from support.prometheus_api import Prometheus, PrometheusError, Span

SPAN = Span(0, 600, 15)
BOARD = dashboards()["function"]
VALUES = {"installation": ".*", "namespace": "jobs", "function": "f"}


@dataclass(frozen=True)
class FakePrometheus(Prometheus):
    """Answers each request with the same data, or refuses it; keeps what it is asked."""

    url: str = ""
    data: Any = None
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def get(self, path: str, **parameters: str) -> Any:
        self.asked.append((path, parameters))
        if isinstance(self.data, Exception):
            raise self.data
        return self.data


def matrix(*series: tuple[dict[str, str], list[str]]) -> Json:
    return {
        "result": [
            {"metric": labels, "values": [[15 * n, value] for n, value in enumerate(values)]}
            for labels, values in series
        ]
    }


def a_panel(kind: str = "timeseries", unit: str = "s", legend: str = "{{pod}}") -> Json:
    expr = 'up{x=~"$namespace"}[$__rate_interval]'
    target = {"expr": expr, "legendFormat": legend, "instant": kind == "stat"}
    return {
        "id": 1,
        "title": "A <panel>",
        "type": kind,
        "fieldConfig": {"defaults": {"unit": unit}},
        "gridPos": {"x": 8, "y": 1, "w": 8, "h": 8},
        "targets": [target],
    }


def line(legend: str, *values: float) -> Series:
    return Series(legend, [(15.0 * n, value) for n, value in enumerate(values)])


def test_a_dashboard_opens_with_all_values_or_the_first_one() -> None:
    asked = []

    def label_values(series: str, label: str) -> list[str]:
        asked.append(series)
        return {"namespace": ["jobs", "other"]}.get(label, ["f", "g"])

    assert chosen(BOARD, label_values, {}) == VALUES
    assert any('namespace="jobs"' in series for series in asked)
    assert not any("$" in series for series in asked)
    wished = chosen(BOARD, label_values, {"namespace": "other", "function": "g"})
    assert wished == {"installation": ".*", "namespace": "other", "function": "g"}


@pytest.mark.parametrize(
    ("values", "wishes", "message"),
    [([], {}, "variable installation: no value"), (["a"], {"function": "z"}, "no value 'z' in")],
)
def test_a_variable_without_its_value_is_named(
    values: list[str], wishes: dict[str, str], message: str
) -> None:
    with pytest.raises(LookupError, match=message):
        chosen(BOARD, lambda *_: values, wishes)


def test_a_longer_name_of_a_variable_is_not_taken_for_a_shorter_one() -> None:
    assert filled_in("$a $ab", {"a": "1", "ab": "2"}) == "1 2"
    with pytest.raises(KeyError, match="unknown"):
        filled_in("$unknown", {})


@pytest.mark.parametrize("name", sorted(dashboards()))
def test_each_query_has_values_for_its_variables(name: str) -> None:
    for panel in panels(dashboards()[name]):
        for target in panel["targets"]:
            assert "$" not in filled_in(target["expr"], {**VALUES, **times_of(SPAN)})


@pytest.mark.parametrize(
    ("minutes", "step", "rate"), [(10, 15, "60s"), (180, 27, "60s"), (1440, 216, "231s")]
)
def test_times_are_those_of_grafana(minutes: float, step: int, rate: str) -> None:
    span = span_of(1_000_000_007, minutes)
    assert span.step == step
    assert span.end % step == span.start % step == 0
    assert times_of(span)["__rate_interval"] == rate


@pytest.mark.parametrize(
    ("template", "labels", "name"),
    [
        ("{{pod}} {{ verb }}", {"pod": "a", "verb": "GET"}, "a GET"),
        ("{{pod}} {{verb}}", {"verb": "GET"}, "GET"),
        ("p99", {"pod": "a"}, "p99"),
        ("", {"b": "2", "a": "1"}, "a=1, b=2"),
    ],
)
def test_a_legend_has_the_values_of_labels(
    template: str, labels: dict[str, str], name: str
) -> None:
    assert legend_of(template, labels) == name


def test_the_series_of_a_panel_are_asked_over_time() -> None:
    prometheus = FakePrometheus(
        data=matrix(({"pod": "a"}, ["1", "NaN", "3"]), ({"pod": "b"}, ["NaN"]))
    )
    first, second = series_of(prometheus, a_panel(), VALUES, SPAN)
    ((path, asked),) = prometheus.asked
    assert path == "query_range"
    assert asked["query"] == 'up{x=~"jobs"}[60s]'
    assert (asked["start"], asked["end"], asked["step"]) == ("0.000", "600.000", "15")
    assert (first.legend, first.last, first.highest) == ("a", 3, 3)
    assert math.isnan(second.last)
    assert math.isnan(second.highest)


def test_a_stat_is_asked_at_the_end() -> None:
    prometheus = FakePrometheus(data={"result": [{"metric": {}, "value": [600, "7"]}]})
    (only,) = series_of(prometheus, a_panel("stat", legend="now"), VALUES, SPAN)
    assert prometheus.asked[0][0] == "query"
    assert prometheus.asked[0][1]["time"] == "600.000"
    assert (only.legend, only.last) == ("now", 7)


def test_an_error_names_the_panel_and_its_query() -> None:
    refused = FakePrometheus(data=PrometheusError("parse error"))
    with pytest.raises(PanelError, match=r"panel 'A <panel>': parse error\nquery: up\{x=~\"jobs\""):
        series_of(refused, a_panel(), VALUES, SPAN)


def test_a_prometheus_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(PrometheusError, match=re.escape("no answer from http://127.0.0.1:9")):
        Prometheus("http://127.0.0.1:9").query("up")


@pytest.mark.parametrize(
    ("values", "lengths"),
    [
        ([1.0, 2.0, 3.0], [3]),
        ([1.0, math.nan, 3.0, 4.0], [1, 2]),
        ([math.nan, math.inf], []),
        ([], []),
    ],
)
def test_a_line_ends_where_there_is_no_number(values: list[float], lengths: list[int]) -> None:
    assert [len(run) for run in chart.runs(line("x", *values).points, 15)] == lengths
    missing = [(0.0, 1.0), (60.0, 1.0)]
    assert [len(run) for run in chart.runs(missing, 15)] == [1, 1]


@pytest.mark.parametrize("series", [[], [line("a", math.nan)]], ids=["none", "NaN"])
@pytest.mark.parametrize("kind", ["timeseries", "stat"])
def test_a_panel_without_a_number_says_so(kind: str, series: list[Series]) -> None:
    assert "No data" in chart.panel(a_panel(kind), series, SPAN, 400, 260)


def test_a_panel_has_title_unit_lines_and_legend() -> None:
    drawn = chart.panel(a_panel(), [line("pod <1>", 0.1, 0.3, 0.2)], SPAN, 400, 260)
    assert "A &lt;panel&gt;" in drawn
    assert "<td>200 ms</td><td>300 ms</td>" in drawn
    assert "pod &lt;1&gt;" in drawn
    assert drawn.count('class="line"') == 1
    assert "00:05" in drawn


def test_a_legend_that_is_too_long_has_the_greatest_series() -> None:
    series = [line(f"pod-{n}", n) for n in range(9)]
    drawn = chart.panel(a_panel(), series, SPAN, 400, 260)
    assert re.findall(r"pod-\d", drawn) == ["pod-8", "pod-7", "pod-6", "pod-5", "pod-4"]
    assert "… 4 more" in drawn
    assert drawn.count("<circle") == 9


def test_a_stat_has_one_value_or_names_them() -> None:
    one = chart.panel(a_panel("stat", "percentunit"), [line("ratio", 0.5)], SPAN, 200, 120)
    assert ">50%<" in one
    assert "ratio" not in one
    two = chart.panel(a_panel("stat", "short"), [line("s3", 1), line("redis", 0)], SPAN, 200, 120)
    assert "<td>s3</td><td>1</td>" in two
    assert "<td>redis</td><td>0</td>" in two


def test_a_panel_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="type heatmap cannot be drawn"):
        chart.panel(a_panel("heatmap"), [line("a", 1)], SPAN, 400, 260)


@pytest.mark.parametrize("name", sorted(dashboards()))
def test_a_page_has_all_panels_side_by_side(name: str) -> None:
    board = dashboards()[name]
    series = {one["id"]: [line("a", 1, 2)] for one in panels(board)}
    drawn = page.page(board, series, VALUES, SPAN)
    assert drawn.count('class="place panel"') == len(panels(board))
    places = [page.place_of(one["gridPos"]) for one in board["panels"]]
    for number, one in enumerate(places):
        assert one.left >= 0
        assert one.left + one.width <= page.WIDTH
        assert one.top + one.height <= page.height_of(board)
        for other in places[number + 1 :]:
            apart = one.left + one.width <= other.left or other.left + other.width <= one.left
            below = one.top + one.height <= other.top or other.top + other.height <= one.top
            assert apart or below


def test_a_choice_of_the_command_line_has_a_name_and_a_value() -> None:
    assert variable("function=a=b") == ("function", "a=b")
    for wrong in ("function", "=b", "function="):
        with pytest.raises(Exception, match="NAME=VALUE"):
            variable(wrong)


def test_the_work_is_valid_and_some_of_it_fails_for_each_reason() -> None:
    seen = {}
    for team, number in itertools.product(TEAMS, range(12)):
        for one in batch(Namespace(team), number):
            Spec.model_validate(one["spec"])
            if one["metadata"]["name"].startswith("fails"):
                seen[json.dumps(one["spec"], sort_keys=True).replace(team, "")] = one
    assert len(seen) == 4
    for spec in TENANTS.values():
        TenantSpec.model_validate(spec)
    with pytest.raises(ValueError, match="limits"):
        TenantSpec.model_validate({"limits": {"jobs": 0}})


def test_a_picture_with_fewer_colors_keeps_the_frequent_ones() -> None:
    picture = Image.new("RGB", (200, 3), "#f4f5f6")
    for n in range(200):
        picture.putpixel((n, 0), (n, 0, 0))
        picture.putpixel((n, 1), (0, n, 99))
    picture.putpixel((0, 2), (37, 99, 235))
    picture.putpixel((1, 2), (37, 99, 235))
    fewer = fewer_colors(picture)
    assert fewer.mode == "P"
    shown = fewer.convert("RGB")
    assert len(shown.getcolors() or []) <= 256
    assert [shown.getpixel((x, 2)) for x in (0, 2)] == [(37, 99, 235), (0xF4, 0xF5, 0xF6)]


def test_the_docs_show_a_picture_of_each_dashboard() -> None:
    docs = Path("docs/observability.md").read_text(encoding="utf-8")
    found = re.findall(r"!\[.+\]\((images/dashboard-(\w+)\.png)\)", docs)
    assert sorted(name for _, name in found) == sorted(dashboards())
    for path, _ in found:
        content = (Path("docs") / path).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) <= MOST_BYTES
        assert struct.unpack(">I", content[16:20])[0] == page.WIDTH
