"""The metrics of the components: a port of their own, a Service for each, and who reaches it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nanogrid.metrics.registry import ENV_VERSION
from nanogrid.metrics.server import ENV, PORT
from nanogrid.types import Json
from support.helm import CHART, REAL, helm, manifests, named, of_kind, pod_spec

pytestmark = pytest.mark.security

ALL = REAL | {"egressProxy": {"enabled": True}}
COMPONENTS = {
    "operator": "nanogrid",
    "gateway": "nanogrid-gateway",
    "router": "nanogrid-router",
    "egress": "nanogrid-egress",
}
LABEL = "nanogrid.io/metrics"
SANDBOX = {"nanogrid.io/job-uid": "0b9c2f6e", "nanogrid.io/mode": "Batch"}
EVERY = pytest.mark.parametrize("component", COMPONENTS)


def render(values: Json | None = None, **metrics: Any) -> list[Json]:
    return manifests("--namespace", "platform", values=(values or ALL) | {"metrics": metrics})


def container_of(component: str, documents: list[Json]) -> Json:
    (found,) = pod_spec(named("Deployment", COMPONENTS[component], documents))["containers"]
    return dict(found)


def variables(container: Json) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container["env"]}


def app_version() -> str:
    chart: Json = yaml.safe_load((Path(CHART) / "Chart.yaml").read_text(encoding="utf-8"))
    return str(chart["appVersion"])


def metrics_services(documents: list[Json]) -> list[Json]:
    return [s for s in of_kind("Service", documents) if LABEL in s["metadata"]["labels"]]


@EVERY
def test_each_component_serves_metrics_on_its_own_port(component: str) -> None:
    container = container_of(component, render())

    assert {"name": "metrics", "containerPort": PORT} in container["ports"]
    assert variables(container)[ENV] == str(PORT)
    assert variables(container)[ENV_VERSION] == app_version()
    others = [p["containerPort"] for p in container["ports"] if p["name"] != "metrics"]
    assert PORT not in others


@EVERY
def test_each_component_has_a_headless_service_for_its_pods(component: str) -> None:
    documents = render(port=9999)
    name = COMPONENTS[component]
    service = named("Service", f"{name}-metrics", documents)
    pods = named("Deployment", name, documents)["spec"]["template"]["metadata"]["labels"]

    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["ports"] == [{"name": "metrics", "port": 9999, "targetPort": "metrics"}]
    assert service["metadata"]["labels"][LABEL] == "true"
    assert service["metadata"]["labels"]["app.kubernetes.io/component"] == component
    assert service["spec"]["selector"].items() <= pods.items()
    assert variables(container_of(component, documents))[ENV] == "9999"


def test_only_installed_components_have_services() -> None:
    values = REAL | {"gateway": {"enabled": False}, "sessions": {"enabled": False}}

    found = metrics_services(render(values))

    assert [s["metadata"]["name"] for s in found] == ["nanogrid-metrics"]


def test_without_metrics_nothing_is_served_and_nothing_is_open() -> None:
    documents = render(enabled=False)

    assert metrics_services(documents) == []
    for component in COMPONENTS:
        container = container_of(component, documents)
        assert "metrics" not in [p["name"] for p in container["ports"]]
        assert variables(container)[ENV] == "0"
    policies = [p["metadata"]["name"] for p in of_kind("NetworkPolicy", documents)]
    assert not [name for name in policies if name.endswith("-metrics")]


def test_no_way_from_outside_leads_to_the_port() -> None:
    values = ALL | {
        "gateway": {"ingress": {"enabled": True}},
        "router": {"ingress": {"enabled": True}, "targetGroupARN": "arn:aws:x"},
    }
    documents = render(values)
    ways = [d for d in documents if d["kind"] in ("Ingress", "HTTPRoute", "TargetGroupBinding")]

    assert len(ways) == 3
    assert str(PORT) not in str(ways)
    assert "metrics" not in str(ways)


# Network policies.


def selects(selector: Json, labels: dict[str, str]) -> bool:
    """Whether a selector with expressions only, all of them DoesNotExist, selects a pod."""
    expressions = selector["matchExpressions"]
    assert {one["operator"] for one in expressions} == {"DoesNotExist"}
    assert selector.keys() == {"matchExpressions"}
    return not labels.keys() & {one["key"] for one in expressions}


def metrics_rule(component: str, documents: list[Json]) -> Json:
    policy = named("NetworkPolicy", f"{COMPONENTS[component]}-metrics", documents)
    (rule,) = policy["spec"]["ingress"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component
    return dict(rule)


@EVERY
def test_all_pods_but_sandboxes_reach_the_port(component: str) -> None:
    rule = metrics_rule(component, render())
    (peer,) = rule["from"]

    assert rule["ports"] == [{"protocol": "TCP", "port": PORT}]
    assert peer["namespaceSelector"] == {}
    assert not selects(peer["podSelector"], SANDBOX)
    assert not selects(peer["podSelector"], {"nanogrid.io/probe": "denied"})
    assert selects(peer["podSelector"], {"app": "prometheus"})


@EVERY
def test_only_the_given_peers_reach_the_port(component: str) -> None:
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]

    rule = metrics_rule(component, render(networkPolicy={"from": peers}))

    assert rule["from"] == peers


def test_no_other_policy_opens_the_port_and_no_sandbox_may_connect_to_it() -> None:
    documents = render()
    opens = {
        policy["metadata"]["name"]
        for policy in of_kind("NetworkPolicy", documents)
        for rule in policy["spec"].get("ingress") or []
        if not rule.get("ports") or PORT in [p["port"] for p in rule["ports"]]
    }

    assert opens == {f"{name}-metrics" for name in COMPONENTS.values()}
    assert (
        str(PORT) not in variables(container_of("operator", documents))["NANOGRID_SANDBOX_EGRESS"]
    )


def test_without_network_policies_there_is_none_for_metrics() -> None:
    assert of_kind("NetworkPolicy", render(ALL | {"network": {"policies": False}})) == []


@pytest.mark.parametrize("port", [80, 8080, 8081, 3128, 65536, "9464"])
def test_a_port_that_cannot_work_is_refused(port: Any) -> None:
    done = helm("template", "nanogrid", CHART, values=ALL | {"metrics": {"port": port}})

    assert done.returncode != 0
    assert "metrics" in done.stderr
    assert "port" in done.stderr
