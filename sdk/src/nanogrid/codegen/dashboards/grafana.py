"""The JSON model of a dashboard of Grafana.

https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/
view-dashboard-json-model/
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

SCHEMA_VERSION: Final = 39  # Grafana 10.2 and later read it
COLUMNS: Final = 24
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
TAG: Final = "nanogrid"


class Query(NamedTuple):
    """One query of a panel, and the text of its series; {{label}} is a label's value."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """One panel.

    Attributes:
        unit: As Grafana names it: s, bytes, percentunit, ops, reqps, Bps, short.
        about: What it shows, and what is unusual.
        kind: timeseries (over time) or stat (the last value of each query).
    """

    title: str
    unit: str
    about: str
    queries: Sequence[Query]
    kind: str = "timeseries"


class Row(NamedTuple):
    """A row with a title, and its panels."""

    title: str
    panels: Sequence[Panel]


class Variable(NamedTuple):
    """A choice above the dashboard: the values of a label."""

    name: str
    title: str
    query: str
    multiple: bool = True


class Dashboard(NamedTuple):
    """A dashboard; ``name`` is that of its file and, with a prefix, its uid."""

    name: str
    title: str
    about: str
    variables: Sequence[Variable]
    rows: Sequence[Row]


def dashboard_json(dashboard: Dashboard) -> str:
    """The file of a dashboard."""
    panels = list(_panels(dashboard.rows))
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    model = {
        "uid": f"nanogrid-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "title": "NanoGrid",
                "type": "dashboards",
                "tags": [TAG],
                "asDropdown": True,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [_datasource(), *map(_variable, dashboard.variables)]},
        "annotations": {"list": []},
        "panels": panels,
    }
    return json.dumps(model, indent=1) + "\n"


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
        "current": {},
    }


def _variable(variable: Variable) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": variable.name,
        "label": variable.title,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        "refresh": 2,
        "sort": 1,
        "hide": 0,
        "multi": variable.multiple,
        "includeAll": variable.multiple,
    }
    if variable.multiple:
        # Also for series without the label.
        found |= {"allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return found


def _panels(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    top = 0
    for row in rows:
        yield {
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        top += 1
        left, height = 0, 0
        for panel in row.panels:
            width, tall = (4, 4) if panel.kind == "stat" else (8, 8)
            if left + width > COLUMNS:
                top, left, height = top + height, 0, 0
            height = max(height, tall)
            place = {"x": left, "y": top, "w": width, "h": tall}
            yield _panel(panel, place)
            left += width
        top += height


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    stat = panel.kind == "stat"
    defaults: dict[str, Any] = {"unit": panel.unit}
    if not stat:
        defaults |= {"min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}}
    legend = {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name"}
        if stat
        else {"legend": {**legend, "showLegend": True}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": stat,
                "range": not stat,
            }
            for number, query in enumerate(panel.queries)
        ],
    }
