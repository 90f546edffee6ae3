"""The pod network of the nodes we assembled: kind's own comes as an image nobody can pull."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from cluster.engine import Engine
from cluster.kubectl import Kubectl, Node
from cluster.steps import ClusterError, CommandFailed
from cluster.versions import POD_SUBNET

CIDR_SECONDS = 60
NODE_SECONDS = 30


def peers_of(node: Node, nodes: list[Node]) -> str:
    """The lines `configure-cni` reads: every other node and the addresses of its pods."""
    return "".join(f"{peer.name} {peer.pod_cidr}\n" for peer in nodes if peer != node)


def configure(engine: Engine, kubectl: Kubectl, count: int) -> None:
    """Gives every node its pod network; the nodes keep it over restarts by themselves."""
    nodes = _nodes_with_cidr(kubectl, count)

    def one(node: Node) -> None:
        words = ["exec", "--interactive", node.name, "configure-cni", node.pod_cidr, POD_SUBNET]
        deadline = time.monotonic() + NODE_SECONDS
        while True:
            try:
                engine.docker(*words, timeout=60, stdin=peers_of(node, nodes))
                return
            except CommandFailed:
                # A node just started again has no systemd to talk to for a moment.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        list(pool.map(one, nodes))


def _nodes_with_cidr(kubectl: Kubectl, count: int) -> list[Node]:
    """All nodes, once the controller manager has given each of them its addresses."""
    deadline = time.monotonic() + CIDR_SECONDS
    while True:
        try:
            nodes = kubectl.nodes()
            problem = f"nodes so far: {nodes}"
        except CommandFailed as error:
            # An API server that has just been started again.
            nodes, problem = [], str(error)
        if len(nodes) == count and all(node.pod_cidr for node in nodes):
            return nodes
        if time.monotonic() > deadline:
            raise ClusterError(f"nodes without pod addresses after {CIDR_SECONDS} s: {problem}")
        time.sleep(0.3)
