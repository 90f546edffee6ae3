"""Each alert fires when it should, and does not when it nearly should: with promtool."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from nanogrid.types import Json
from support.dashboards import filled_in, panel_queries
from support.helm import DEV, manifests, named
from support.prometheus_tools import promtool, write_yaml

CASES: Final = Path("tests/chart/alert_cases.yaml")
RUNBOOKS: Final = Path("docs/observability.md")
INSTALLATION: Final = "platform/nanogrid"
RULE: Final = {"enabled": True, "renderMode": "alwaysRender"}
ALL_PARTS: Final = {"gateway": {"enabled": True}, "egressProxy": {"enabled": True}}


def groups(**values: Any) -> list[Json]:
    """The groups of the PrometheusRule with these values of the chart."""
    rule = {**RULE, **values.pop("rule", {})}
    known = {**DEV, **ALL_PARTS, **values, "metrics": {"prometheusRule": rule}}
    documents = manifests("--namespace", "platform", values=known)
    found: list[Json] = named("PrometheusRule", "nanogrid", documents)["spec"]["groups"]
    return found


def alerts(found: list[Json]) -> dict[str, Json]:
    """The alerts by name."""
    return {rule["alert"]: rule for group in found for rule in group["rules"] if "alert" in rule}


def cases() -> dict[str, Any]:
    """The cases by alert. All values are texts: 0x10 is a series of ten values, no number."""
    with CASES.open(encoding="utf-8") as file:
        found: dict[str, Any] = yaml.load(file, Loader=yaml.BaseLoader)
    return found


@pytest.fixture(scope="module")
def rules() -> list[Json]:
    return groups()


def as_test(name: str, alert: Json, case: Json) -> Json:
    """A case as promtool reads it."""
    own = f'installation="{INSTALLATION}"'
    expected = []
    for one in case.get("alerts", []):
        labels = {key: value for key, value in one.items() if key != "summary"}
        labels |= {"severity": alert["labels"]["severity"], "installation": INSTALLATION}
        expected.append({"exp_labels": labels, "exp_annotations": {"summary": one["summary"]}})
    return {
        "name": f"{name}: {case['about']}",
        "interval": "1m",
        "input_series": [
            {"series": re.sub(r"\bI\b", own, series), "values": values}
            for series, values in case["series"].items()
        ],
        "alert_rule_test": [{"eval_time": case["at"], "alertname": name, "exp_alerts": expected}],
    }


@pytest.mark.parametrize("name", sorted(cases()))
def test_an_alert_fires_and_does_not_fire_on_a_near_miss(
    name: str, rules: list[Json], tmp_path: Path
) -> None:
    known = alerts(rules)
    case = cases()[name]
    tests = [as_test(name, known[name], one) for one in (*case["fires"], *case["quiet"])]
    for alert in known.values():
        # A case names the summary; the other texts follow from the same labels.
        alert["annotations"] = {"summary": alert["annotations"]["summary"]}
    write_yaml(tmp_path / "rules.yaml", {"groups": rules})
    content = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
    done = promtool("test", "rules", write_yaml(tmp_path / "test.yaml", content))

    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_cases_a_runbook_and_a_severity(rules: list[Json]) -> None:
    known = alerts(groups())
    assert set(known) == set(cases())
    headings = re.findall(r"^### (\w+)$", RUNBOOKS.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in headings if name.startswith("NanoGrid")] == list(known)
    for name, case in cases().items():
        assert case["fires"], name
        assert case["quiet"], name
        assert all(one["alerts"] for one in case["fires"]), name
        assert not any(one.get("alerts") for one in case["quiet"]), name
    for name, alert in known.items():
        assert alert["for"], name
        assert alert["labels"]["severity"] in ("critical", "warning"), name
        assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}, name
        page = alert["annotations"]["runbook_url"]
        assert page.endswith(f"/docs/observability.md#{name.lower()}"), page
        assert page.startswith("https://")
        assert not re.search(r"\$\{", yaml.safe_dump(alert)), name


OWN_GROUP: Final = {
    "name": "team",
    "rules": [{"alert": "TeamJobs", "expr": "nanogrid_jobs > 5", "for": "1m"}],
}


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"gateway": {"enabled": False}, "sessions": {"enabled": False}},
        {"rule": {"additionalGroups": [OWN_GROUP], "runbookUrl": "https://wiki.example.com/ng"}},
        {
            "rule": {
                "thresholds": {
                    "jobStuckSeconds": 0.5,
                    "queueWaitSeconds": 100_000_000,
                    "platformFaultRatio": 0,
                    "platformFaultJobs": 1_000_000,
                    "poolMissRatio": 0,
                    "poolMissJobs": 1_000_000,
                    "deliveryObjective": 0.99999,
                    "gatewayErrorRatio": 1,
                }
            }
        },
    ],
    ids=["defaults", "fewer parts", "own groups", "thresholds"],
)
def test_promtool_accepts_the_rules(values: dict[str, Any], tmp_path: Path) -> None:
    file = write_yaml(tmp_path / "rules.yaml", {"groups": groups(**values)})
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_queries_of_dashboards(tmp_path: Path) -> None:
    values = {"installation": INSTALLATION, "namespace": "jobs", "function": "f"}
    values |= {"__range": "15m", "__rate_interval": "1m"}
    queries = [filled_in(one.expr, values) for one in panel_queries()]
    rules = [{"record": f"panel:{number}", "expr": e} for number, e in enumerate(queries)]
    file = write_yaml(tmp_path / "rules.yaml", {"groups": [{"name": "panels", "rules": rules}]})
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_refuses_wrong_rules(tmp_path: Path) -> None:
    wrong = {"name": "wrong", "rules": [{"alert": "Wrong", "expr": "rate(nanogrid_jobs) >"}]}
    file = write_yaml(tmp_path / "rules.yaml", {"groups": [*groups(), wrong]})
    assert promtool("check", "rules", file).returncode != 0


def test_parts_that_are_not_installed_have_no_alerts() -> None:
    without = {"gateway": {"enabled": False}, "sessions": {"enabled": False}}
    found = alerts(groups(**without, egressProxy={"enabled": False}))
    gone = set(alerts(groups())) - set(found)
    assert gone == {
        "NanoGridGatewayDown",
        "NanoGridGatewayErrors",
        "NanoGridRouterDown",
        "NanoGridRouterUpstreamErrors",
        "NanoGridEgressProxyDown",
    }


def test_thresholds_are_in_the_expressions() -> None:
    changed = groups(rule={"thresholds": {"queueWaitSeconds": 77, "deliveryObjective": 0.995}})
    known = alerts(changed)
    assert known["NanoGridQueueWaitLong"]["expr"].endswith("> 77")
    assert "(1 - 0.995)" in known["NanoGridDeliveryBudgetBurnsFast"]["expr"]
