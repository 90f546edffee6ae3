"""NetworkPolicies of sandbox pods, and the network access that a job may ask for."""

import copy
import json
from typing import Any

import pytest

from nanogrid import names
from nanogrid.api.job import Spec
from nanogrid.kube.conventions import KubeError
from nanogrid.types import Json
from nanogrid_operator.kube.network_policies import NetworkPolicies
from nanogrid_operator.manifests.network import check_network, job_policy, namespace_policies
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.tenant import Tenants
from support.builders import INLINE, JOB_UID, a_job_body, some_settings, tenant_of
from support.pod_manifests import built

pytestmark = pytest.mark.security

DNS = {"to": [{"podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]}
SANDBOXES = [
    {"key": names.LABEL_JOB_UID, "operator": "Exists"},
    {"key": names.LABEL_CONTROLLER_CLASS, "operator": "DoesNotExist"},
]
ROUTER = {"podSelector": {"matchLabels": {"app": "router"}}}
WITH_PEERS = some_settings(
    sandbox_egress=json.dumps([DNS]), session_ingress=json.dumps([ROUTER]), network_policies=True
)


def policies() -> dict[str, Json]:
    return {p["metadata"]["name"]: p["spec"] for p in namespace_policies(WITH_PEERS)}


def test_each_policy_is_about_one_direction() -> None:
    for name, spec in policies().items():
        (direction,) = spec["policyTypes"]
        other = {"Ingress": "egress", "Egress": "ingress"}[direction]
        assert other not in spec, name


def test_every_sandbox_pod_is_denied_and_reaches_what_the_chart_names() -> None:
    every = {"matchExpressions": SANDBOXES}
    found = policies()
    assert found["nanogrid-sandbox-ingress"] == {"podSelector": every, "policyTypes": ["Ingress"]}
    assert found["nanogrid-sandbox-egress"] == {
        "podSelector": every,
        "policyTypes": ["Egress"],
        "egress": [DNS],
    }


def test_only_the_router_reaches_a_session_unless_it_is_exposed() -> None:
    found = policies()
    (rule,) = found["nanogrid-sandbox-router"]["ingress"]
    assert (rule["from"], [p["port"] for p in rule["ports"]]) == ([ROUTER], [names.SESSION_PORT])
    exposed = found["nanogrid-sandbox-exposed"]
    assert exposed["podSelector"]["matchLabels"][names.LABEL_EXPOSED] == "true"
    assert "from" not in exposed["ingress"][0]


def test_internet_is_every_public_address() -> None:
    (rule,) = policies()["nanogrid-sandbox-internet"]["egress"]
    blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"]["except"] for peer in rule["to"]}
    assert {"10.0.0.0/8", "169.254.0.0/16"} <= set(blocks["0.0.0.0/0"])
    assert {"fc00::/7", "fe80::/10"} <= set(blocks["::/0"])


def test_public_addresses_of_the_cluster_are_not_the_internet() -> None:
    own = ["203.0.113.0/24", "2001:db8:1::/56"]
    settings = some_settings(cluster_cidrs=", ".join(own))
    found = {p["metadata"]["name"]: p["spec"] for p in namespace_policies(settings)}
    (rule,) = found["nanogrid-sandbox-internet"]["egress"]
    blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"]["except"] for peer in rule["to"]}
    assert (blocks["0.0.0.0/0"][-1], blocks["::/0"][-1]) == tuple(own)

    tenant = Tenants(some_settings(tenant_defaults=json.dumps({"network": OPEN}))).of("team-a")
    for cidr in ("203.0.113.7/32", "2001:db8:1:2::/64", "2001:db8::/32"):
        spec = Spec.model_validate(network(egress="Allowlist", cidrs=[cidr]))
        with pytest.raises(InvalidSpecError, match="not within cidrs"):
            check_network(spec, tenant, settings)
    outside = Spec.model_validate(network(egress="Allowlist", cidrs=["2001:db8:2::/64"]))
    check_network(outside, tenant, settings)


def network(**fields: Any) -> Json:
    return {"code": INLINE, "network": fields}


@pytest.mark.parametrize(
    ("spec", "label"),
    [({}, "Deny"), (network(egress="Internet"), "Internet")],
    ids=["default", "internet"],
)
def test_the_pod_has_a_label_that_policies_select(spec: Json, label: str) -> None:
    assert built(**spec)["metadata"]["labels"][names.LABEL_EGRESS] == label


def test_an_allow_list_is_a_policy_of_the_job() -> None:
    spec = network(egress="Allowlist", cidrs=["203.0.113.0/24", "169.0.0.0/8"])
    found = job_policy(job_facts(a_job_body(**spec)))
    assert found is not None
    assert found["metadata"]["ownerReferences"][0]["uid"] == JOB_UID
    assert found["spec"]["podSelector"] == {"matchLabels": {names.LABEL_JOB_UID: JOB_UID}}
    first, second = (peer["ipBlock"] for peer in found["spec"]["egress"][0]["to"])
    assert first == {"cidr": "203.0.113.0/24"}
    assert second == {"cidr": "169.0.0.0/8", "except": ["169.254.0.0/16"]}


@pytest.mark.parametrize("spec", [{}, network(egress="Internet"), network(egress="Deny")])
def test_other_jobs_have_no_policy_of_their_own(spec: Json) -> None:
    assert job_policy(job_facts(a_job_body(**spec))) is None


def check(ceiling: Json, wanted: Json, proxy: str = "") -> None:
    settings = some_settings(
        tenant_defaults=json.dumps({"network": ceiling}), egress_proxy_url=proxy
    )
    tenant = Tenants(settings).of("team-a")
    check_network(Spec.model_validate(network(**wanted)), tenant, settings)


LISTED = {"egress": "Allowlist", "cidrs": ["203.0.113.0/24"], "hosts": ["*.example.com"]}
OPEN = {"egress": "Internet", "cidrs": ["10.1.0.0/16"]}
CARRIER = {"egress": "Allowlist", "cidrs": ["100.64.0.0/10", "192.0.0.0/24", "fd00::/8"]}


@pytest.mark.parametrize(
    ("ceiling", "wanted"),
    [
        ({}, {}),
        (LISTED, {"egress": "Allowlist", "cidrs": ["203.0.113.7/32"]}),
        (LISTED, {"egress": "Allowlist", "hosts": ["api.example.com", "*.a.example.com"]}),
        (OPEN, {"egress": "Internet"}),
        (OPEN, {"egress": "Allowlist", "cidrs": ["8.8.8.8/32", "10.1.2.0/24"]}),
        (OPEN, {"egress": "Allowlist", "hosts": ["anything.example.org"]}),
        (LISTED, {"egress": "Deny"}),
    ],
)
def test_access_within_the_ceiling_is_allowed(ceiling: Json, wanted: Json) -> None:
    check(ceiling, wanted, proxy="http://proxy:3128")


@pytest.mark.parametrize(
    ("ceiling", "wanted", "text"),
    [
        ({}, {"egress": "Internet"}, "Internet exceeds Deny.*raise egress"),
        ({}, {"egress": "Allowlist", "cidrs": ["8.8.8.8/32"]}, "exceeds Deny"),
        (LISTED, {"egress": "Internet"}, "exceeds Allowlist"),
        (LISTED, {"egress": "Allowlist", "cidrs": ["203.0.112.0/23"]}, "not within cidrs"),
        (LISTED, {"egress": "Allowlist", "cidrs": ["2001:db8::/64"]}, "not within cidrs"),
        (LISTED, {"egress": "Allowlist", "hosts": ["example.com"]}, "not within hosts"),
        (LISTED, {"egress": "Allowlist", "hosts": ["*.com"]}, "not within hosts"),
        (LISTED, {"egress": "Allowlist", "hosts": ["evilexample.com"]}, "not within hosts"),
        (OPEN, {"egress": "Allowlist", "cidrs": ["10.0.0.0/8"]}, "not within cidrs"),
        (OPEN, {"egress": "Allowlist", "cidrs": ["0.0.0.0/0"]}, "not within cidrs"),
        (OPEN, {"egress": "Allowlist", "cidrs": ["169.254.169.254/32"]}, "metadata"),
        (OPEN, {"egress": "Allowlist", "cidrs": ["fd00:ec2::254/128"]}, "metadata"),
        (OPEN, {"egress": "Allowlist", "cidrs": ["203.0.113.7/24"]}, "host bits set"),
        (OPEN, {"egress": "Allowlist", "cidrs": ["168.63.129.16/32"]}, "metadata"),
        (CARRIER, {"egress": "Allowlist", "cidrs": ["100.100.100.200/32"]}, "metadata"),
        (CARRIER, {"egress": "Allowlist", "cidrs": ["192.0.0.192/32"]}, "metadata"),
        (CARRIER, {"egress": "Allowlist", "cidrs": ["fd20:ce::254/128"]}, "metadata"),
        (OPEN, {"egress": "Allowlist", "hosts": ["8.8.8.8"]}, "no full DNS name"),
        (OPEN, {"egress": "Allowlist", "hosts": ["redis"]}, "no full DNS name"),
    ],
)
def test_access_beyond_the_ceiling_is_refused(ceiling: Json, wanted: Json, text: str) -> None:
    with pytest.raises(InvalidSpecError, match=text):
        check(ceiling, wanted, proxy="http://proxy:3128")


def test_hosts_need_the_proxy() -> None:
    with pytest.raises(InvalidSpecError, match=r"egressProxy\.enabled"):
        check(LISTED, {"egress": "Allowlist", "hosts": ["api.example.com"]})


def test_a_namespace_without_a_tenant_object_reaches_nothing() -> None:
    assert tenant_of(namespace="team-b").network.egress == "Deny"


class Api:
    """An API server with policies by name."""

    def __init__(self, **existing: Json) -> None:
        self.objects = existing
        self.writes: list[str] = []
        self.error: KubeError | None = None

    async def create(self, _: str, body: Json) -> None:
        if self.error is not None:
            raise self.error
        name = body["metadata"]["name"]
        if name in self.objects:
            raise KubeError(409, "AlreadyExists", "")
        self.writes.append(f"create {name}")
        self.objects[name] = copy.deepcopy(body)

    async def get(self, _: str, name: str) -> Json:
        found = self.objects[name]
        return {**found, "metadata": {**found["metadata"], "resourceVersion": "7"}}

    async def replace(self, _: str, name: str, body: Json) -> None:
        assert body["metadata"]["resourceVersion"] == "7"
        self.writes.append(f"replace {name}")
        self.objects[name] = body


async def test_policies_are_created_once_and_put_right_later() -> None:
    api, now = Api(), [0.0]
    policies = NetworkPolicies(api, namespace_policies(WITH_PEERS), lambda: now[0])  # type: ignore[arg-type]
    await policies.ensure("team-a")
    await policies.ensure("team-a")
    assert [write.split()[0] for write in api.writes] == ["create"] * 5
    api.objects["nanogrid-sandbox-egress"]["spec"] = {"podSelector": {}, "egress": [{}]}
    api.writes.clear()
    now[0] = 31.0
    await policies.ensure("team-a")
    assert api.writes == ["replace nanogrid-sandbox-egress"]
    assert api.objects["nanogrid-sandbox-egress"]["spec"]["egress"] == [DNS]


async def test_no_pod_starts_without_its_policies() -> None:
    api = Api()
    api.error = KubeError(403, "Forbidden", "no")
    policies = NetworkPolicies(api, namespace_policies(WITH_PEERS))  # type: ignore[arg-type]
    with pytest.raises(KubeError, match="403"):
        await policies.ensure("team-a")
