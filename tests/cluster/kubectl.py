"""Queries to a cluster."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cluster.paths import Paths, paths
from cluster.steps import ClusterError, CommandFailed, capture, clean_environment


def command(here: Paths, name: str) -> str:
    """The path of kind, helm or kubectl: ours if there is one, else the user's."""
    own = here.bin / name
    return str(own) if own.exists() else (shutil.which(name) or name)


@dataclass(frozen=True)
class Node:
    """The reported state of a node."""

    name: str
    version: str
    ready: bool
    pod_cidr: str
    runtime: str


class Kubectl:
    """kubectl for the cluster in one kubeconfig."""

    def __init__(self, kubeconfig: str) -> None:
        self._command = command(paths(), "kubectl")
        self._env = clean_environment({"KUBECONFIG": kubeconfig})

    def __call__(self, *args: str, timeout: float = 20) -> str:
        """The stdout of one kubectl command."""
        command = [self._command, f"--request-timeout={max(1, int(timeout) - 1)}s", *args]
        return capture(command, timeout=timeout, env=self._env)

    def reachable(self) -> bool:
        """Whether the API server answers and accepts the credentials."""
        try:
            self("get", "--raw", "/readyz", timeout=10)
        except CommandFailed:
            return False
        return True

    def nodes(self) -> list[Node]:
        """The cluster's nodes, ordered by name."""
        return parse_nodes(self("get", "nodes", "--output", "json"))

    def live_nodes(self, since: float) -> int:
        """The number of nodes that have renewed their lease since this time.

        A node that died keeps the condition Ready for almost a minute.
        """
        return len(renewed(self("get", "leases", "-n", "kube-node-lease", "-o", "json"), since))

    def dns_answers(self) -> bool:
        """Whether every CoreDNS pod answers a request over the pod network.

        Its status alone may be older than a restart.
        """
        names = "jsonpath={.items[*].metadata.name}"
        pods = self("get", "pods", "-n", "kube-system", "-l", "k8s-app=kube-dns", "-o", names)
        for pod in pods.split():
            self("get", "--raw", f"/api/v1/namespaces/kube-system/pods/{pod}:8181/proxy/ready")
        return bool(pods.split())

    def routes_services(self, node: Node) -> bool:
        """Whether the node's kube-proxy answers and has configured the Services."""
        answer = self("get", "--raw", f"/api/v1/nodes/{node.name}:10256/proxy/healthz")
        return bool(json.loads(answer)["healthy"])

    def healthy(self, nodes: int, since: float) -> bool:
        """Whether the API, this number of live nodes, and the cluster's DNS work."""
        try:
            found = self.nodes()
            ready = len(found) == nodes and all(node.ready for node in found)
            alive = ready and self.live_nodes(since) == nodes
            return alive and all(map(self.routes_services, found)) and self.dns_answers()
        except CommandFailed:
            return False

    def wait_healthy(self, nodes: int, since: float, timeout: float) -> None:
        """Waits until :meth:`healthy` is true.

        Raises:
            ClusterError: shows nodes and pods after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while not self.healthy(nodes, since):
            if time.monotonic() > deadline:
                raise ClusterError(f"not ready after {timeout:.0f} s:\n{self._overview()}")
            time.sleep(0.5)

    def _overview(self) -> str:
        try:
            return self("get", "nodes,pods", "--all-namespaces", "-o", "wide")
        except CommandFailed as error:
            return str(error)


def parse_nodes(text: str) -> list[Node]:
    """The nodes in the output of `kubectl get nodes -o json`."""
    found = []
    for item in json.loads(text)["items"]:
        conditions = {c["type"]: c["status"] for c in item["status"].get("conditions", [])}
        info = item["status"]["nodeInfo"]
        found.append(
            Node(
                name=item["metadata"]["name"],
                version=info["kubeletVersion"],
                ready=conditions.get("Ready") == "True",
                pod_cidr=item["spec"].get("podCIDR", ""),
                runtime=info["containerRuntimeVersion"],
            )
        )
    return sorted(found, key=lambda node: node.name)


def renewed(text: str, since: float) -> list[str]:
    """The names of the leases that were renewed since this time (seconds since the epoch)."""
    leases = [(item["metadata"]["name"], item["spec"]) for item in json.loads(text)["items"]]
    return [
        name
        for name, spec in leases
        if "renewTime" in spec and datetime.fromisoformat(spec["renewTime"]).timestamp() >= since
    ]


def users_kubeconfig(kubeconfig: str | None, own: Path) -> str | None:
    """The user's KUBECONFIG; None if it is ours, exported by `env`."""
    if not kubeconfig or Path(kubeconfig) == own:
        return None
    return kubeconfig
