"""The pod network of nodes that we built: the image of kind's own network cannot be pulled."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from cluster.engine import Engine
from cluster.kubectl import Kubectl, Node
from cluster.steps import ClusterError, CommandFailed
from cluster.versions import POD_SUBNET

# Other programs may still be built in these seconds.
CIDR_SECONDS = 180
NODE_SECONDS = 90


def peers_of(node: Node, nodes: list[Node]) -> str:
    """The input of `configure-cni`: a line with name and pod CIDR for every other node."""
    return "".join(f"{peer.name} {peer.pod_cidr}\n" for peer in nodes if peer != node)


def configure(engine: Engine, kubectl: Kubectl, count: int) -> None:
    """Configures the pod network of every node; it survives restarts of the nodes."""
    nodes = _nodes_with_cidr(kubectl, count)

    def one(node: Node) -> None:
        args = ["exec", "--interactive", node.name, "configure-cni", node.pod_cidr, POD_SUBNET]
        deadline = time.monotonic() + NODE_SECONDS
        while True:
            try:
                engine.docker(*args, timeout=60, stdin=peers_of(node, nodes))
                return
            except CommandFailed:
                # A node that was just restarted has no systemd for a moment.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        list(pool.map(one, nodes))


def _nodes_with_cidr(kubectl: Kubectl, count: int) -> list[Node]:
    """All nodes, once the controller manager has assigned each a pod CIDR."""
    deadline = time.monotonic() + CIDR_SECONDS
    while True:
        try:
            nodes = kubectl.nodes()
            problem = f"nodes so far: {nodes}"
        except CommandFailed as error:
            # The API server has just been restarted.
            nodes, problem = [], str(error)
        if len(nodes) == count and all(node.pod_cidr for node in nodes):
            return nodes
        if time.monotonic() > deadline:
            raise ClusterError(f"nodes without a pod CIDR after {CIDR_SECONDS} s: {problem}")
        time.sleep(0.3)
