"""A dashboard as one HTML page, laid out by the gridPos of its panels. Pure."""

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from nanogrid.types import Json
from pictures import chart
from pictures.answers import Series
from support.prometheus_api import Span

WIDTH: Final = 1280
COLUMNS: Final = 24
UNIT: Final = 34  # pixels of one row of the grid
GAP: Final = 8
HEAD: Final = 58
STYLE: Final = """
body { margin: 0; background: #f4f5f6; color: #1f2430; font: 12px "DejaVu Sans", sans-serif;
       position: relative; -webkit-font-smoothing: antialiased }
header { position: absolute; left: 16px; right: 16px; top: 14px; display: flex; gap: 18px;
         align-items: center }
h1 { font-size: 18px; margin: 0 auto 0 0 }
header span { color: #5b6472 } header b { color: #1f2430; font-weight: 600 }
h2 { font-size: 13px; margin: 9px 0 0 4px } h2::before { content: "▾ "; color: #5b6472 }
h3 { font-size: 12px; margin: 0; padding: 8px 10px; line-height: 14px; white-space: nowrap;
     overflow: hidden; text-overflow: ellipsis }
.place { position: absolute; overflow: hidden; box-sizing: border-box }
.panel { background: #fff; border: 1px solid #dfe2e6; border-radius: 4px }
.empty { text-align: center; color: #5b6472; padding-top: 24px; font-size: 13px }
.big { text-align: center; font-size: 34px; color: #15803d; padding-top: 16px }
table { border-spacing: 0; width: 100%; padding: 0 10px; table-layout: fixed }
td, th { line-height: 17px; padding: 0; overflow: hidden; white-space: nowrap;
         text-overflow: ellipsis; font-weight: normal }
td + td, th + th { text-align: right; width: 86px }
.legend { font-size: 11px } th { color: #2563c9 }
.several td { line-height: 22px; font-size: 13px } .several td + td { color: #15803d; width: 56px }
i { display: inline-block; width: 14px; height: 4px; border-radius: 2px; margin: 0 7px 3px 0 }
svg { display: block } text { font-size: 11px; fill: #5b6472 }
.grid { stroke: #e8eaed } .line { fill: none; stroke-width: 1.5; stroke-linejoin: round }
"""


class Place(NamedTuple):
    """Where a panel is on the page, in pixels."""

    left: int
    top: int
    width: int
    height: int


def place_of(grid: Mapping[str, int]) -> Place:
    """The place of a gridPos."""
    column = (WIDTH - GAP) / COLUMNS
    left, right = round(grid["x"] * column), round((grid["x"] + grid["w"]) * column)
    return Place(GAP + left, HEAD + grid["y"] * UNIT, right - left - GAP, grid["h"] * UNIT - GAP)


def height_of(dashboard: Json) -> int:
    """The height of the page."""
    return max(sum(place_of(one["gridPos"])[1::2]) for one in dashboard["panels"]) + GAP


def page(
    dashboard: Json, series: Mapping[int, list[Series]], values: Mapping[str, str], span: Span
) -> str:
    """The HTML of a dashboard.

    Args:
        dashboard: its JSON.
        series: those of each panel, by its id.
        values: of the variables.
        span: the time of the series.

    Raises:
        ValueError: a panel has a type that is not known.
    """
    parts = []
    for one in dashboard["panels"]:
        place = place_of(one["gridPos"])
        left, top, width, height = place
        at = f'style="left:{left}px;top:{top}px;width:{width}px;height:{height}px"'
        if one["type"] == "row":
            parts.append(f'<div class="place" {at}><h2>{html.escape(one["title"])}</h2></div>')
        else:
            drawn = chart.panel(one, series[one["id"]], span, width - 2, height - 2)
            parts.append(f'<div class="place panel" {at}>{drawn}</div>')
    return (
        f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>'
        f'<body style="width:{WIDTH}px;height:{height_of(dashboard)}px">'
        f"{_header(dashboard, values, span)}{''.join(parts)}"
    )


def _header(dashboard: Json, values: Mapping[str, str], span: Span) -> str:
    choices = "".join(
        f"<span>{html.escape(one['label'])} "
        f"<b>{html.escape('All' if one.get('allValue') else values[one['name']])}</b></span>"
        for one in dashboard["templating"]["list"]
        if one["type"] == "query"
    )
    begin, end = (
        datetime.fromtimestamp(at, UTC).strftime("%H:%M") for at in (span.start, span.end)
    )
    time = f"<span><b>{begin}–{end}</b> UTC</span>"
    return f"<header><h1>{html.escape(dashboard['title'])}</h1>{choices}{time}</header>"
