"""The dashboards and rules in the chart's files."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from nanogrid.types import Json

FILES: Final = Path("helm/nanogrid-operator/files/monitoring")
DASHBOARDS: Final = sorted((FILES / "dashboards").glob("*.json"))
_LABEL_VALUES: Final = re.compile(r"label_values\((.*), (\w+)\)")


class PanelQuery(NamedTuple):
    """A query of a panel."""

    dashboard: str
    panel: str
    expr: str


def dashboards() -> dict[str, Json]:
    """The dashboards by the name of their file."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS}


def panels(dashboard: Json) -> list[Json]:
    """The panels of a dashboard without its rows."""
    return [one for one in dashboard["panels"] if one["type"] != "row"]


def panel_queries() -> Iterator[PanelQuery]:
    """The queries of all panels."""
    for name, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield PanelQuery(name, panel["title"], target["expr"])


def variable_queries(dashboard: Json) -> dict[str, tuple[str, str]]:
    """The series and the label that each variable of a dashboard takes its values from."""
    found = {}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            match = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert match, variable
            found[variable["name"]] = (match[1], match[2])
    return found


def filled_in(query: str, installation: str, namespace: str, function: str) -> str:
    """A query of a dashboard with values for its variables; several namespaces mean all."""
    values = {
        "$__rate_interval": "10m",
        "$__range": "15m",
        "$installation": installation,
        "$function": function,
        # The dashboard of a function has one namespace.
        'namespace="$namespace"': f'namespace="{namespace}"',
        "$namespace": ".*",
    }
    for name, value in values.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


def rules() -> list[Json]:
    """The rules of the chart, with their placeholders."""
    content = yaml.safe_load((FILES / "rules.yaml").read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]
