"""Who reaches whom through the security groups of the EKS package, computed from its templates."""

from pathlib import Path

import pytest

from nanogrid.metrics.server import PORT as METRICS_PORT
from support.eks_network import CLUSTER_GROUP, EKS, PORTS, Network, table

pytestmark = pytest.mark.security

FARGATE, EC2 = Network("Fargate"), Network("EC2")
BOTH = pytest.mark.parametrize("network", [FARGATE, EC2], ids=["Fargate", "EC2"])


@pytest.mark.parametrize(
    ("network", "want"),
    [
        # On Fargate the kubelet shares the pod's network: it needs the API server, ECR and logs.
        (FARGATE, {"API server", "DNS", "results", "AWS", "S3"}),
        (EC2, {"DNS", "results", "AWS", "S3"}),
    ],
    ids=["Fargate", "EC2"],
)
def test_a_sandbox_reaches_what_it_needs_and_nothing_else(network: Network, want: set[str]) -> None:
    assert network.reached("sandbox") == want


@BOTH
@pytest.mark.parametrize("port", sorted({port for _, port in PORTS.values()}))
def test_a_sandbox_reaches_no_other_sandbox(network: Network, port: int) -> None:
    for protocol in ("tcp", "udp"):
        assert not network.connects("sandbox", "another sandbox", port, protocol)
    # The control: the same ports are open to those that must reach a sandbox.
    assert network.connects("router", "another sandbox", 9080)


@BOTH
def test_dns_is_open_to_sandboxes_with_both_protocols_and_other_udp_is_not(
    network: Network,
) -> None:
    assert network.connects("sandbox", "CoreDNS", 53, "udp")
    assert network.connects("sandbox", "CoreDNS", 53, "tcp")
    assert not network.connects("sandbox", "CoreDNS", 54, "udp")


@BOTH
def test_only_operator_and_gateway_reach_redis(network: Network) -> None:
    clients = {name for name in network.places if network.connects(name, "Redis", 6379)}

    assert clients == {"operator", "gateway"}


def test_the_api_server_reaches_the_kubelet_of_a_sandbox_on_fargate_alone() -> None:
    assert FARGATE.connects("API server", "sandbox", 10250)
    assert not EC2.connects("API server", "sandbox", 10250), "there the kubelet is on the node"
    for outside in ("internet", "a server in the VPC", "another sandbox"):
        assert not FARGATE.connects(outside, "sandbox", 10250)


@BOTH
def test_the_platform_reaches_all_its_parts(network: Network) -> None:
    everywhere = {"API server", "DNS", "AWS", "S3", "session"}
    for source in ("operator", "gateway", "router"):
        assert everywhere <= network.reached(source), source
    assert network.connects("API server", "operator", 8080), "probes and webhooks of the node"
    assert network.connects("operator", "operator", 8080), "a standby forwards to the leader"


@BOTH
def test_prometheus_reaches_metrics_and_no_sandbox_does(network: Network) -> None:
    for component in ("operator", "gateway", "router"):
        # CoreDNS stands for a pod with the cluster's group alone, as Prometheus has.
        assert network.connects("CoreDNS", component, METRICS_PORT), component
        assert not network.connects("sandbox", component, METRICS_PORT), component
    assert PORTS["metrics"] == ("operator", METRICS_PORT)


@BOTH
def test_nothing_enters_a_sandbox_from_outside_the_cluster(network: Network) -> None:
    for outside in ("internet", "a server in the VPC", "interface endpoints", "Redis"):
        for port in {port for _, port in PORTS.values()}:
            assert not network.connects(outside, "sandbox", port), (outside, port)


@BOTH
def test_rules_of_sandboxes_name_groups_and_lists_and_never_networks(network: Network) -> None:
    (name,) = network.places["sandbox"].groups or ()
    peers = {rule.peer for rule in network.groups[name].ingress | network.groups[name].egress}

    assert name != CLUSTER_GROUP, "its members reach everything in the cluster"
    assert not [peer for peer in peers if "/" in peer]
    assert None not in {rule.port for rule in network.groups[name].egress}


def test_a_rule_is_needed_at_both_ends() -> None:
    for side in ("ingress", "egress"):
        network = Network("Fargate")
        ends = {"ingress": CLUSTER_GROUP, "egress": "SandboxSecurityGroup"}
        rules = getattr(network.groups[ends[side]], side)
        rules -= {each for each in rules if each.port == 53}
        assert not network.connects("sandbox", "CoreDNS", 53, "udp")


def test_a_redis_of_your_own_gets_no_group_here() -> None:
    assert "RedisSecurityGroup" not in Network("Fargate", RedisHost="redis.example.com").groups
    assert "RedisSecurityGroup" in FARGATE.groups


def test_the_document_has_the_matrix() -> None:
    assert table() in Path("docs/eks.md").read_text(), f"docs/eks.md needs:\n{table()}"


def test_sandboxes_on_fargate_have_the_group_and_no_other_file_gives_them_one() -> None:
    named = [path.name for path in EKS.glob("*.yaml") if "nanogrid-sandbox" in path.read_text()]

    assert "security-group.yaml" in named
    assert "SandboxSecurityGroup" not in (EKS / "namespace.yaml").read_text()
