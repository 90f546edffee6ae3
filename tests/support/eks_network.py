"""The network that the files of examples/eks make: who is in which security groups.

The groups and rules come from the templates, the members of the groups from the
SecurityGroupPolicies.
"""

from pathlib import Path

import yaml

from scripts.eks import fill
from support.cloudformation import Stack
from support.security_groups import EVERYTHING, Group, Place, Rule, groups_of, reaches

EKS = Path("examples/eks")
CLUSTER_GROUP = "sg-cluster"
S3_LIST = "pl-0123"
PARAMETERS = {
    "OidcProvider": "oidc.eks.ap-northeast-2.amazonaws.com/id/EXAMPLE",
    "ClusterSecurityGroup": CLUSTER_GROUP,
    "S3PrefixList": S3_LIST,
    "CertificateArn": "arn:aws:acm:ap-northeast-2:123456789012:certificate/0",
    "GatewayHost": "functions.example.com",
    "SessionsHost": "sessions.example.com",
}
# Where clients connect: the place, and its port. Both protocols for DNS.
PORTS = {
    "API server": ("API server", 443),
    "DNS": ("CoreDNS", 53),
    "results": ("operator", 8080),
    "denied port": ("operator", 8081),
    "gateway": ("gateway", 8080),
    "router": ("router", 8080),
    "metrics": ("operator", 9464),
    "session": ("sandbox", 9080),
    "kubelet": ("sandbox", 10250),
    "Redis": ("Redis", 6379),
    "AWS": ("interface endpoints", 443),
    "S3": ("S3", 443),
    "VPC": ("a server in the VPC", 443),
    "internet": ("internet", 443),
}
SOURCES = ("API server", "operator", "gateway", "router", "sandbox", "a server in the VPC")


class Network:
    """Groups, rules and members for sandboxes on Fargate or, with their own group, on EC2."""

    def __init__(self, sandboxes: str, **parameters: str):
        base = Stack(EKS / "base.cfn.yaml", {"Ec2Nodes": str(sandboxes == "EC2").lower()}, {})
        given = PARAMETERS | {"Sandboxes": sandboxes} | parameters
        platform = Stack(EKS / "platform.cfn.yaml", given, base.outputs)
        tenant = Stack(EKS / "tenant.cfn.yaml", {"Namespace": "jobs-a"}, platform.outputs)
        self.groups = groups_of(base.resources | platform.resources)
        # EKS makes the cluster's group with these rules, which the template extends.
        cluster = self.groups.setdefault(CLUSTER_GROUP, Group())
        cluster.ingress.add(Rule(None, None, CLUSTER_GROUP))
        cluster.egress.add(Rule(None, None, EVERYTHING))
        own = {**_members("system.yaml", platform), **_members("security-group.yaml", tenant)}
        in_cluster = frozenset({CLUSTER_GROUP})
        self.places = {
            "API server": Place(in_cluster, "10.64.0.10"),
            "CoreDNS": Place(in_cluster, "10.64.0.11"),
            "router": Place(in_cluster, "10.64.0.12"),
            "operator": Place(own["operator"], "10.64.0.13"),
            "gateway": Place(own["gateway"], "10.64.0.14"),
            "sandbox": Place(own["nanogrid-sandbox"], "10.64.0.15"),
            "another sandbox": Place(own["nanogrid-sandbox"], "10.64.0.16"),
            "Redis": Place(frozenset({"RedisSecurityGroup"}), "10.64.0.17"),
            "interface endpoints": Place(frozenset({"InterfaceEndpoints"}), "10.64.128.1"),
            "S3": Place(None, "203.0.113.2", frozenset({S3_LIST})),
            "a server in the VPC": Place(None, "10.64.0.20"),
            "internet": Place(None, "203.0.113.1"),
        }

    def connects(self, source: str, target: str, port: int, protocol: str = "tcp") -> bool:
        """Whether a connection between two places opens."""
        return reaches(self.groups, self.places[source], self.places[target], protocol, port)

    def reached(self, source: str) -> set[str]:
        """The keys of :data:`PORTS` that a place reaches."""
        return {
            name
            for name, (target, port) in PORTS.items()
            if source != target
            and all(
                self.connects(source, target, port, protocol)
                for protocol in (("udp", "tcp") if name == "DNS" else ("tcp",))
            )
        }


def table() -> str:
    """The matrix as Markdown, for docs/eks.md."""
    heads = [f"{name} {port}" for name, (_, port) in PORTS.items()]
    lines = ["| from | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    rows = [(source, Network("Fargate")) for source in SOURCES]
    rows.append(("sandbox", Network("EC2")))
    ec2 = rows[-1][1]
    for source, network in rows:
        reached = network.reached(source)
        title = f"{source} on {'EC2' if network is ec2 else 'Fargate'}"
        cells = ["yes" if name in reached else "–" for name in PORTS]
        lines.append(f"| {title if source == 'sandbox' else source} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _members(file: str, stack: Stack) -> dict[str, frozenset[str]]:
    """The groups of the pods that a file's SecurityGroupPolicies select, by the label's value."""
    text = fill((EKS / file).read_text(), stack.outputs)
    found = {}
    for policy in yaml.safe_load_all(text):
        if policy["kind"] == "SecurityGroupPolicy":
            ((_, label),) = policy["spec"]["podSelector"]["matchLabels"].items()
            ids = policy["spec"]["securityGroups"]["groupIds"]
            found[label] = frozenset(each.removesuffix(".GroupId") for each in ids)
    return found
