"""Dashboards and alerts use what the code declares, and each panel explains itself."""

import re
from typing import Any, Final

import pytest

from nanogrid.metrics.registry import all_declared
from support.dashboards import dashboards, panel_queries, panels, rules, variable_queries
from support.promql import base_name, used

# Of all targets. `namespace` is not one of them: it is that of the jobs.
TARGET_LABELS: Final = {"installation", "component", "pod"}
# Of Prometheus itself, and of the client library.
OTHER_METRICS: Final = {
    "up": set[str](),
    "process_cpu_seconds_total": set[str](),
    "process_resident_memory_bytes": set[str](),
    "process_open_fds": set[str](),
}
UNITS: Final = {"s", "bytes", "Bps", "percentunit", "short", "ops", "reqps"}
NAMES: Final = ("function", "operator", "overview", "sessions")


def declared() -> dict[str, set[str]]:
    """The labels of each declared metric; a histogram also has `le`."""
    found = dict(OTHER_METRICS)
    for metrics in all_declared():
        for one in metrics.described:
            more = {"le"} if one.type == "histogram" else set()
            found[one.name] = {*one.labels, *more}
    return found


def histograms() -> set[str]:
    return {one.name for m in all_declared() for one in m.described if one.type == "histogram"}


def recorded() -> dict[str, set[str]]:
    """The labels of each recorded series."""
    return {r["record"]: used(r["expr"]).groupings for r in rules() if "record" in r}


def mistakes(query: str) -> list[str]:
    """The metrics and labels of a query that nothing declares."""
    known, found = {**declared(), **recorded()}, used(query)
    wrong = [] if found.metrics else ["no metric"]
    grouped: set[str] = set(TARGET_LABELS)
    for metric, labels in found.metrics.items():
        name = base_name(metric, histograms())
        if name not in known:
            wrong.append(metric)
            continue
        grouped |= known[name]
        wrong += [f"{metric}.{label}" for label in labels - known[name] - TARGET_LABELS]
    return wrong + sorted(found.groupings - grouped)


@pytest.mark.parametrize("query", list(panel_queries()), ids=lambda q: f"{q.dashboard} {q.panel}")
def test_a_panel_uses_declared_metrics_and_labels(query: Any) -> None:
    assert not mistakes(query.expr)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_uses_declared_metrics_and_labels(rule: Any) -> None:
    assert not mistakes(rule["expr"])
    texts = " ".join(rule.get("annotations", {}).values())
    labels = set(re.findall(r"\$labels\.(\w+)", texts))
    found = used(rule["expr"])
    kept = [recorded()[name] for name in found.metrics if name in recorded()]
    assert labels <= found.groupings.union(*kept)


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_values_of_declared_labels(name: str) -> None:
    found = variable_queries(dashboards()[name])
    assert "installation" in found
    for series, label in found.values():
        query = series if "{" in series else f"{series}{{}}"
        assert not mistakes(query)
        (metric,) = used(query).metrics
        assert label in declared()[metric] | TARGET_LABELS


@pytest.mark.parametrize(
    "query",
    [
        "sum(nanogrid_unknown{})",
        'sum(nanogrid_leader{reason="x"})',
        "sum by (reason) (nanogrid_leader{})",
        'sum(nanogrid_job_total_seconds_count{namespace="x"})',
        "sum(1)",
    ],
)
def test_the_check_finds_mistakes(query: str) -> None:
    assert mistakes(query)


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_can_be_read(name: str) -> None:
    board = dashboards()[name]
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert len({one["id"] for one in board["panels"]}) == len(board["panels"])
    assert len({one["title"] for one in panels(board)}) == len(panels(board))
    for panel in panels(board):
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert len(panel["description"].split()) >= 3, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"], panel["title"]
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["showLegend"], panel["title"]
        for target in panel["targets"]:
            used_names = set(re.findall(r"\$(\w+)", target["expr"]))
            assert used_names <= {*variables, "__rate_interval", "__range"}, panel["title"]
            assert target["legendFormat"], panel["title"]


@pytest.mark.parametrize("name", NAMES)
def test_panels_do_not_overlap(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboards()[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} and {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_the_dashboards_are_these_with_unique_uids() -> None:
    boards = dashboards()
    assert tuple(boards) == NAMES
    assert len({board["uid"] for board in boards.values()}) == len(NAMES)
    assert len({board["title"] for board in boards.values()}) == len(NAMES)
