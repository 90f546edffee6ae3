"""The kind cluster enforces NetworkPolicies: each denial has its positive control.

These tests check the project's own cluster, not the product. Another cluster may enforce nothing.
"""

import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from scripts.devaccess import PortForward
from support.kubectl import Namespace, eventually, kubectl
from support.network_pods import (
    OTHER_PORT,
    PORT,
    address,
    connect,
    listener,
    peer,
    policy,
)
from support.nodes import Node, workers

pytestmark = [pytest.mark.alone, pytest.mark.security]

DIRECTIONS = pytest.mark.parametrize("direction", ["Egress", "Ingress"])


@dataclass(frozen=True)
class World:
    """A client on each of two nodes, and a listener in another namespace on the first node."""

    image: str
    nodes: list[Node]
    clients: Namespace
    servers: Namespace
    target: str

    def outcomes(self, port: int = PORT) -> list[str]:
        """What new connections from the same node and from another node get."""
        names = [f"client-{index}" for index in range(len(self.nodes))]
        return [connect(self.clients, name, self.target, port) for name in names]

    def all_get(self, outcome: str, port: int = PORT) -> bool:
        """Whether both clients get this outcome."""
        return set(self.outcomes(port)) == {outcome}


@pytest.fixture(scope="module")
def nodes(cluster: None) -> list[Node]:
    """Two nodes of the project's kind cluster."""
    found = workers()
    if len(found) < 2 or not all(node.exists() for node in found):
        pytest.skip("needs the project's kind cluster")
    return found[:2]


@pytest.fixture(scope="module")
def world(nodes: list[Node], python_image: str) -> Iterator[World]:
    """The pods, which stay for all tests; each test has its own policies."""
    suffix = uuid.uuid4().hex[:8]
    clients, servers = Namespace(f"e2e-clients-{suffix}"), Namespace(f"e2e-servers-{suffix}")
    try:
        for namespace in (clients, servers):
            kubectl("create", "namespace", namespace.name)
            level = "pod-security.kubernetes.io/enforce=restricted"
            kubectl("label", "namespace", namespace.name, level)
            namespace.wait_for_account()
        servers.apply(listener("server", python_image, nodes[0].name))
        for index, node in enumerate(nodes):
            clients.apply(listener(f"client-{index}", python_image, node.name))
        for index in range(len(nodes)):
            address(clients, f"client-{index}")
        yield World(python_image, nodes, clients, servers, address(servers, "server"))
    finally:
        names = (clients.name, servers.name)
        kubectl("delete", "namespace", *names, "--wait=false", "--ignore-not-found")


@pytest.fixture(autouse=True)
def no_policies(world: World) -> Iterator[None]:
    """The positive control before each test: without policies every connection is open."""
    eventually("open without a policy", lambda: world.all_get("open"))
    yield
    for namespace in (world.clients, world.servers):
        namespace.kubectl("delete", "networkpolicy", "--all")


@DIRECTIONS
def test_a_policy_denies_and_another_allows_on_the_same_node_and_across_nodes(
    world: World, direction: str
) -> None:
    inside, outside = world.clients, world.servers
    if direction == "Ingress":
        inside, outside = outside, inside

    inside.apply(policy("deny", direction))
    eventually(f"{direction} is denied", lambda: world.all_get("denied"))

    inside.apply(policy("allow", direction, peer(direction, outside, PORT)))
    eventually(f"{direction} to one port is allowed", lambda: world.all_get("open"))
    assert world.all_get("denied", OTHER_PORT)


def test_probes_exec_logs_and_port_forward_work_while_all_is_denied(world: World) -> None:
    servers = world.servers
    servers.apply(policy("deny-in", "Ingress"), policy("deny-out", "Egress"))
    eventually("ingress is denied", lambda: world.all_get("denied"))

    # The kubelet's probe makes the pod ready; connect uses exec.
    servers.apply(listener("probed", world.image, world.nodes[1].name))
    probed = address(servers, "probed")
    assert connect(servers, "probed", "127.0.0.1") == "open"
    assert connect(servers, "probed", world.target) == "denied"
    assert connect(world.clients, "client-1", probed) == "denied"
    assert "listening" in servers.kubectl("logs", "probed")
    with PortForward(servers.name, "pod/probed", PORT) as forward:
        url = f"{forward.wait_url()}/"
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert answer.read() == b"ok"
