"""Which member of which security groups reaches which other one, computed from the rules.

Rules are those of AWS: they only allow, they are stateful, and a member of several groups has the
rules of all of them. A connection needs a rule at both ends.
https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network

from nanogrid.types import Json

EVERYTHING = "0.0.0.0/0"


@dataclass(frozen=True)
class Rule:
    """One rule: protocol and port (None: all), and the peer: a group, network or prefix list."""

    protocol: str | None
    port: int | None
    peer: str


@dataclass
class Group:
    """The rules of one group."""

    ingress: set[Rule] = field(default_factory=set)
    egress: set[Rule] = field(default_factory=set)


@dataclass(frozen=True)
class Place:
    """An end of a connection: its groups (None: no rules apply to it), address and prefix lists."""

    groups: frozenset[str] | None
    address: str
    lists: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """The groups, networks and lists by which a rule can name this place."""
        return (self.groups or frozenset()) | self.lists | {self.address}


def rule(given: Json) -> Rule:
    """The rule of CloudFormation's properties; a rule has one port here."""
    assert given["FromPort"] == given["ToPort"]
    peers = [
        given[key]
        for side in ("Source", "Destination")
        for key in (f"{side}SecurityGroupId", f"{side}PrefixListId")
        if key in given
    ] + [given[key] for key in ("CidrIp",) if key in given]
    (peer,) = peers
    return Rule(given["IpProtocol"], given["FromPort"], peer.removesuffix(".GroupId"))


def groups_of(resources: dict[str, Json]) -> dict[str, Group]:
    """The groups of resolved CloudFormation resources, and of others that their rules extend."""
    found: dict[str, Group] = {}
    for name, resource in resources.items():
        given = resource["Properties"]
        if resource["Type"] == "AWS::EC2::SecurityGroup":
            group = found.setdefault(name, Group())
            group.ingress |= {rule(each) for each in given.get("SecurityGroupIngress", [])}
            # Without egress rules CloudFormation leaves the one that allows everything.
            listed = given.get("SecurityGroupEgress")
            everything = {Rule(None, None, EVERYTHING)}
            group.egress |= {rule(each) for each in listed} if listed else everything
        elif resource["Type"] == "AWS::EC2::SecurityGroupIngress":
            target = given["GroupId"].removesuffix(".GroupId")
            found.setdefault(target, Group()).ingress.add(rule(given))
    return found


def reaches(
    groups: dict[str, Group], source: Place, target: Place, protocol: str, port: int
) -> bool:
    """Whether a connection opens: egress at the source, ingress at the target if it has groups."""
    out = (each for name in source.groups or () for each in groups[name].egress)
    leaves = source.groups is None or _allows(out, target, protocol, port)
    into = (each for name in target.groups or () for each in groups[name].ingress)
    return leaves and (target.groups is None or _allows(into, source, protocol, port))


def _allows(rules: Iterable[Rule], peer: Place, protocol: str, port: int) -> bool:
    return any(
        each.protocol in (None, protocol)
        and each.port in (None, port)
        and any(_names(each.peer, name) for name in peer.names)
        for each in rules
    )


def _names(rule_peer: str, name: str) -> bool:
    """Whether the peer of a rule is this group or list, or a network around this address."""
    if rule_peer == name:
        return True
    try:
        return ip_network(name).subnet_of(ip_network(rule_peer))  # type: ignore[arg-type]
    except ValueError:
        return False
