"""The dashboards and rules in the chart's files."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from nanogrid.types import Json

FILES: Final = Path("helm/nanogrid-operator/files/monitoring")
DASHBOARDS: Final = sorted((FILES / "dashboards").glob("*.json"))
_VARIABLE: Final = re.compile(r"\$(\w+)")
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


def chosen(
    dashboard: Json, label_values: Callable[[str, str], list[str]], wishes: Mapping[str, str]
) -> dict[str, str]:
    """The values of a dashboard's variables when it opens: all, or the first one if it has one.

    Args:
        dashboard: its JSON.
        label_values: the sorted values of a label in the series that a selector matches.
        wishes: values of variables that have one value, instead of the first.

    Raises:
        LookupError: a variable has no value, or not the one that is wished.
    """
    found: dict[str, str] = {}
    multiple = {one["name"]: one.get("allValue") for one in dashboard["templating"]["list"]}
    for name, (series, label) in variable_queries(dashboard).items():
        selector = filled_in(series, found)
        values = label_values(selector, label)
        wish = multiple[name] or wishes.get(name) or next(iter(values), "")
        if not values or (not multiple[name] and wish not in values):
            raise LookupError(
                f"{dashboard['title']}: variable {name}: no value {wish!r} in {values} "
                f"(label {label} of {selector})"
            )
        found[name] = wish
    return found


def filled_in(query: str, values: Mapping[str, str]) -> str:
    """A query of a dashboard with values for its variables.

    Raises:
        KeyError: a variable has no value.
    """
    return _VARIABLE.sub(lambda match: values[match[1]], query)


def rules() -> list[Json]:
    """The rules of the chart, with their placeholders."""
    content = yaml.safe_load((FILES / "rules.yaml").read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]
