"""The egress proxy as the chart renders it."""

import json
from typing import Any

import pytest

from nanogrid.public_addresses import PRIVATE_V4, PRIVATE_V6
from nanogrid.types import Json
from support.helm import CHART, helm, manifests, named, of_kind, pod_spec

DEV: dict[str, Any] = {"devServices": {"enabled": True}}
NAME = "nanogrid-egress"


def with_proxy(**values: Any) -> dict[str, Any]:
    return DEV | {"egressProxy": {"enabled": True, **values}}


def render(values: dict[str, Any]) -> list[Json]:
    return manifests("--namespace", "platform", values=values)


def env_of(deployment: Json) -> dict[str, Any]:
    (container,) = pod_spec(deployment)["containers"]
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}


def test_the_proxy_is_off_by_default() -> None:
    documents = render(DEV)
    assert not [d for d in documents if d["metadata"]["name"].startswith(NAME)]
    assert not [n for n in env_of(named("Deployment", "nanogrid", documents)) if "EGRESS_" in n]


def test_operator_and_proxy_share_the_key_and_the_address() -> None:
    documents = render(with_proxy())
    operator = env_of(named("Deployment", "nanogrid", documents))
    proxy = env_of(named("Deployment", NAME, documents))
    key = {"name": "nanogrid-egress-key", "key": "key"}

    assert proxy["NANOGRID_EGRESS_KEY"] == {"secretKeyRef": key}
    # The operator creates the Secret if it is absent.
    assert operator["NANOGRID_EGRESS_KEY"] == {"secretKeyRef": key | {"optional": True}}
    assert "nanogrid-egress-key" in json.loads(operator["NANOGRID_KEY_SECRETS"]).values()
    assert operator["NANOGRID_EGRESS_PROXY_URL"] == "http://nanogrid-egress.platform.svc:3128"
    assert "nanogrid-egress-key" in operator["NANOGRID_RESERVED_SECRETS"].split(",")
    (port,) = named("Service", NAME, documents)["spec"]["ports"]
    assert port["port"] == 3128

    own = render(with_proxy(existingKeySecret="mine"))
    mine = {"secretKeyRef": {"name": "mine", "key": "key"}}
    operator = env_of(named("Deployment", "nanogrid", own))
    assert env_of(named("Deployment", NAME, own))["NANOGRID_EGRESS_KEY"] == mine
    assert operator["NANOGRID_EGRESS_KEY"] == mine
    assert "NANOGRID_EGRESS_KEY" not in json.loads(operator["NANOGRID_KEY_SECRETS"])


def test_the_proxy_has_no_rights_and_no_root() -> None:
    documents = render(with_proxy())
    deployment = named("Deployment", NAME, documents)
    spec = pod_spec(deployment)
    (container,) = spec["containers"]

    assert (deployment["spec"]["replicas"], spec["automountServiceAccountToken"]) == (2, False)
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["command"] == ["python3", "-m", "nanogrid_gateway.egress"]
    assert named("PodDisruptionBudget", NAME, documents)
    single = of_kind("PodDisruptionBudget", render(with_proxy(replicas=1)))
    assert NAME not in [budget["metadata"]["name"] for budget in single]


def test_only_pods_with_an_allow_list_reach_the_proxy() -> None:
    spec = named("NetworkPolicy", NAME, render(with_proxy()))["spec"]
    (rule,) = spec["ingress"]
    (peer,) = rule["from"]

    assert spec["policyTypes"] == ["Ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 3128}]
    assert peer["namespaceSelector"] == {}
    assert peer["podSelector"]["matchLabels"] == {"nanogrid.io/egress": "Allowlist"}
    assert peer["podSelector"]["matchExpressions"] == [
        {"key": "nanogrid.io/job-uid", "operator": "Exists"}
    ]


def test_the_proxy_reaches_dns_and_public_addresses() -> None:
    denied = ["203.0.113.0/24", "2001:db8::/32"]
    documents = render(with_proxy(deniedCidrs=denied))
    spec = named("NetworkPolicy", f"{NAME}-out", documents)["spec"]
    dns, public = spec["egress"]
    v4, v6 = (peer["ipBlock"] for peer in public["to"])

    assert spec["policyTypes"] == ["Egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert public["ports"] == [{"protocol": "TCP", "port": 443}]
    assert v4 == {"cidr": "0.0.0.0/0", "except": [*PRIVATE_V4, denied[0]]}
    assert v6 == {"cidr": "::/0", "except": [*PRIVATE_V6, denied[1]]}
    env = env_of(named("Deployment", NAME, documents))
    assert env["NANOGRID_DENIED_CIDRS"] == ",".join(denied)


def test_public_addresses_of_the_cluster_are_denied_to_all_jobs() -> None:
    own = ["198.51.100.0/24", "2001:db8:1::/56"]
    values = with_proxy(deniedCidrs=["203.0.113.0/24"]) | {"network": {"clusterCidrs": own}}
    documents = render(values)
    proxy = env_of(named("Deployment", NAME, documents))
    assert proxy["NANOGRID_DENIED_CIDRS"] == ",".join(["203.0.113.0/24", *own])
    operator = env_of(named("Deployment", "nanogrid", documents))
    assert operator["NANOGRID_CLUSTER_CIDRS"] == ",".join(own)
    public = named("NetworkPolicy", f"{NAME}-out", documents)["spec"]["egress"][1]
    v4, v6 = (peer["ipBlock"]["except"] for peer in public["to"])
    assert (v4[-2:], v6[-1]) == (["203.0.113.0/24", own[0]], own[1])


@pytest.mark.parametrize("policy", ["PreferDualStack", "SingleStack", ""])
def test_all_services_have_the_same_ip_families(policy: str) -> None:
    documents = render(with_proxy() | {"ipFamilyPolicy": policy})
    headless, services = [], []
    for one in of_kind("Service", documents):
        (headless if one["spec"].get("clusterIP") == "None" else services).append(one)
    assert len(services) == 6
    assert {s["spec"].get("ipFamilyPolicy", "") for s in services} == {policy}
    # Those of metrics have one: a pod is one target of Prometheus.
    assert {s["spec"]["ipFamilyPolicy"] for s in headless} == {"SingleStack"}
    operator = env_of(named("Deployment", "nanogrid", documents))
    assert operator["NANOGRID_IP_FAMILY_POLICY"] == policy
    assert operator["NANOGRID_POD_IPS"] == {"fieldRef": {"fieldPath": "status.podIPs"}}


def selects(selector: Json, labels: dict[str, str]) -> bool:
    """Whether a pod selector of these policies matches; they use matchLabels and NotIn."""
    wanted = selector.get("matchLabels", {})
    excluded = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "NotIn" for expression in excluded)
    return wanted.items() <= labels.items() and not any(
        labels.get(expression["key"]) in expression["values"] for expression in excluded
    )


def test_no_other_policy_widens_the_egress_of_the_proxy() -> None:
    documents = render(with_proxy())
    labels = named("Deployment", NAME, documents)["spec"]["template"]["metadata"]["labels"]
    found = [
        policy["metadata"]["name"]
        for policy in of_kind("NetworkPolicy", documents)
        if "Egress" in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], labels)
    ]
    assert found == [f"{NAME}-out"]


def test_the_operator_opens_the_way_to_the_proxy() -> None:
    documents = render(with_proxy())
    peers = env_of(named("Deployment", "nanogrid", documents))["NANOGRID_EGRESS_PROXY_PEERS"]
    assert '"app.kubernetes.io/component":"egress"' in peers
    assert '"kubernetes.io/metadata.name":"platform"' in peers

    without = render(with_proxy() | {"network": {"policies": False}})
    assert "NANOGRID_EGRESS_PROXY_PEERS" not in env_of(named("Deployment", "nanogrid", without))
    assert of_kind("NetworkPolicy", without) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"deniedCidrs": ["example.com"]}, "deniedCidrs"),
        ({"tunnelsPerJob": 0}, "tunnelsPerJob"),
        ({"enable": True}, "enable"),
    ],
)
def test_invalid_values_are_rejected(values: dict[str, Any], message: str) -> None:
    done = helm("template", "nanogrid", CHART, values=with_proxy(**values))
    assert done.returncode != 0
    assert message in done.stderr
    assert helm("lint", "--strict", CHART, values=with_proxy()).returncode == 0
