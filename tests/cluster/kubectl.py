"""Questions to a cluster."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from cluster.paths import paths
from cluster.steps import ClusterError, CommandFailed, capture, clean_environment


@dataclass(frozen=True)
class Node:
    """What a node says of itself."""

    name: str
    version: str
    ready: bool
    pod_cidr: str
    runtime: str


class Kubectl:
    """kubectl for the cluster of one kubeconfig."""

    def __init__(self, kubeconfig: str) -> None:
        own = paths().bin / "kubectl"
        found = str(own) if own.exists() else shutil.which("kubectl")
        self._command = found or "kubectl"
        self._env = clean_environment({"KUBECONFIG": kubeconfig})

    def __call__(self, *words: str, timeout: float = 20) -> str:
        """The output of one kubectl command."""
        command = [self._command, f"--request-timeout={max(1, int(timeout) - 1)}s", *words]
        return capture(command, timeout=timeout, env=self._env)

    def reachable(self) -> bool:
        """Whether the API server answers and lets us in."""
        try:
            self("get", "--raw", "/readyz", timeout=10)
        except CommandFailed:
            return False
        return True

    def nodes(self) -> list[Node]:
        """The cluster's nodes, by name."""
        return parse_nodes(self("get", "nodes", "--output", "json"))

    def dns_ready(self) -> bool:
        """Whether CoreDNS has a pod that answers."""
        path = "jsonpath={.status.availableReplicas}"
        text = self("get", "deployment", "coredns", "-n", "kube-system", "-o", path)
        return text.strip() not in ("", "0")

    def healthy(self, nodes: int) -> bool:
        """Whether the API, that many nodes and the cluster's DNS are all there."""
        try:
            found = self.nodes()
            return len(found) == nodes and all(n.ready for n in found) and self.dns_ready()
        except CommandFailed:
            return False

    def wait_healthy(self, nodes: int, timeout: float) -> None:
        """Waits for the same; says what is missing when time is up."""
        deadline = time.monotonic() + timeout
        while not self.healthy(nodes):
            if time.monotonic() > deadline:
                raise ClusterError(f"not ready after {timeout:.0f} s:\n{self._picture()}")
            time.sleep(0.5)

    def _picture(self) -> str:
        try:
            return self("get", "nodes,pods", "--all-namespaces", "-o", "wide")
        except CommandFailed as error:
            return str(error)


def parse_nodes(text: str) -> list[Node]:
    """The nodes in the answer of `kubectl get nodes -o json`."""
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


def given(kubeconfig: str | None, own: Path) -> str | None:
    """The user's KUBECONFIG; None if it is only ours, which `env` exported."""
    if not kubeconfig or Path(kubeconfig) == own:
        return None
    return kubeconfig
