"""ServiceMonitor, PrometheusRule and dashboards as the chart renders them."""

import json
from typing import Any, Final

import pytest

from nanogrid.types import Json
from support.helm import CHART, DEV, helm, manifests, named, of_kind

KNOWN: Final = ("--api-versions", "monitoring.coreos.com/v1")
KINDS: Final = {"serviceMonitor": "ServiceMonitor", "prometheusRule": "PrometheusRule"}


def render(metrics: dict[str, Any], *args: str, **more: Any) -> list[Json]:
    return manifests("--namespace", "platform", *args, values={**DEV, **more, "metrics": metrics})


def test_nothing_is_rendered_by_default() -> None:
    documents = render({}, *KNOWN)
    assert not {d["kind"] for d in documents} & {*KINDS.values()}
    assert not [d for d in documents if "dashboard" in d["metadata"]["name"]]


@pytest.mark.parametrize("key", KINDS)
def test_render_modes(key: str) -> None:
    def kinds(mode: str, *args: str) -> set[str]:
        return {d["kind"] for d in render({key: {"enabled": True, "renderMode": mode}}, *args)}

    assert KINDS[key] in kinds("skipIfMissing", *KNOWN)
    assert KINDS[key] not in kinds("skipIfMissing")
    assert KINDS[key] in kinds("failIfMissing", *KNOWN)
    assert KINDS[key] in kinds("alwaysRender")
    refused = helm(
        "template", "nanogrid", CHART,
        values={**DEV, "metrics": {key: {"enabled": True, "renderMode": "failIfMissing"}}},
    )  # fmt: skip
    assert refused.returncode != 0
    assert f"metrics.{key}.renderMode is failIfMissing" in refused.stderr
    assert "install the CRDs of the Prometheus Operator" in refused.stderr


@pytest.mark.parametrize("key", KINDS)
def test_they_need_metrics(key: str) -> None:
    values = {**DEV, "metrics": {"enabled": False, key: {"enabled": True}}}
    refused = helm("template", "nanogrid", CHART, *KNOWN, values=values)
    assert refused.returncode != 0
    assert f"metrics.{key}.enabled=true requires metrics.enabled=true" in refused.stderr


@pytest.mark.parametrize(
    "metrics",
    [
        {"serviceMonitor": {"renderMode": "always"}},
        {"serviceMonitor": {"interval": "soon"}},
        {"prometheusRule": {"thresholds": {"gatewayErrorRatio": 5}}},
        {"prometheusRule": {"thresholds": {"poolMissRatio": 20}}},
        {"prometheusRule": {"thresholds": {"deliveryObjective": 1}}},
        {"prometheusRule": {"thresholds": {"unknown": 1}}},
        {"prometheusRule": {"runbookUrl": "https://wiki.example.com/a: b"}},
        {"prometheusRule": {"runbookUrl": "https://wiki.example.com/#page"}},
        {"prometheusRule": {"runbookUrl": "${installation}"}},
        {"grafanaDashboards": {"namespace": "Not_A_Namespace"}},
    ],
)
def test_the_schema_refuses_wrong_values(metrics: dict[str, Any]) -> None:
    refused = helm("template", "nanogrid", CHART, values={**DEV, "metrics": metrics})
    assert refused.returncode != 0
    assert "/metrics/" in refused.stderr or "metrics." in refused.stderr


def test_rules_with_a_missing_value_are_refused() -> None:
    rule = {
        "enabled": True,
        "renderMode": "alwaysRender",
        "thresholds": {"jobStuckSeconds": None},
    }
    refused = helm(
        "template", "nanogrid", CHART, values={**DEV, "metrics": {"prometheusRule": rule}}
    )
    assert refused.returncode != 0
    assert "metrics.prometheusRule has no value for ${" in refused.stderr
    assert "nil pointer" not in refused.stderr


def test_one_monitor_selects_the_metrics_of_the_release() -> None:
    monitor = {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "scrapeTimeout": "5s",
        "relabelings": [{"targetLabel": "cluster", "replacement": "one"}],
        "metricRelabelings": [{"action": "labeldrop", "regex": "pod"}],
    }
    documents = render({"serviceMonitor": monitor}, *KNOWN)
    found = named("ServiceMonitor", "nanogrid", documents)
    (endpoint,) = found["spec"]["endpoints"]

    assert found["metadata"]["labels"]["release"] == "prometheus"
    assert found["spec"]["namespaceSelector"] == {"matchNames": ["platform"]}
    assert found["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "nanogrid-operator",
        "app.kubernetes.io/instance": "nanogrid",
        "nanogrid.io/metrics": "true",
    }
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("30s", "5s")
    assert endpoint["honorLabels"] is True
    fixed = {one["targetLabel"]: one.get("replacement") for one in endpoint["relabelings"]}
    assert fixed == {"component": None, "installation": "platform/nanogrid", "cluster": "one"}
    assert endpoint["metricRelabelings"] == monitor["metricRelabelings"]


def test_a_dashboard_per_config_map() -> None:
    dashboards = {
        "enabled": True,
        "labels": {"grafana_dashboard": "1", "team": "platform"},
        "annotations": {"grafana_folder": "NanoGrid"},
        "namespace": "monitoring",
    }
    maps = [
        d
        for d in of_kind("ConfigMap", render({"grafanaDashboards": dashboards}))
        if "dashboard" in d["metadata"]["name"]
    ]
    assert len(maps) == 4
    for one in maps:
        ((name, text),) = one["data"].items()
        assert json.loads(text)["uid"] == f"nanogrid-{name.removesuffix('.json')}"
        assert one["metadata"]["namespace"] == "monitoring"
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert one["metadata"]["annotations"] == {"grafana_folder": "NanoGrid"}
        assert len(text) < 900_000  # a ConfigMap has up to 1 MiB


def test_notes_name_what_is_left_out() -> None:
    values = {**DEV, "metrics": {"serviceMonitor": {"enabled": True}}}
    done = helm("install", "nanogrid", CHART, "--dry-run=client", values=values)
    assert "metrics.serviceMonitor" in done.stdout, done.stderr
