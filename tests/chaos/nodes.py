"""The nodes of a kind cluster as containers of its Docker engine: stop, freeze, kill inside them.

``make cluster-env`` says where the engine is. All this is for clusters of this machine only: with
another cluster there is no such container, and the tests that need one say so and are skipped.
"""

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from e2e.support import eventually, kubectl, kubectl_json

Json = dict[str, Any]
READY_SECONDS = 120


class DockerError(Exception):
    """docker ended with an error; the message is its stderr."""


def docker(*words: str, timeout: float = 60) -> str:
    """Run docker and return what it printed."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise DockerError(done.stderr.strip())
    return done.stdout


def gateway() -> str:
    """This machine's address in the cluster's network, which pods can reach."""
    configs = json.loads(docker("network", "inspect", "kind", "-f", "{{json .IPAM.Config}}"))
    return next(str(c["Gateway"]) for c in configs if "." in c["Gateway"])


@dataclass(frozen=True)
class Node:
    """One node, which is a container of the same name."""

    name: str

    def exists(self) -> bool:
        """Whether the node is a running container of the engine that docker talks to."""
        try:
            state = docker("inspect", "-f", "{{.State.Running}}", self.name)
        except (DockerError, FileNotFoundError):
            return False
        return state.strip() == "true"

    def run(self, *words: str, timeout: float = 60) -> str:
        """Run a program in the node, as root."""
        return docker("exec", self.name, *words, timeout=timeout)

    def stop(self) -> None:
        """Power off: no warning to what runs there, the disk stays."""
        docker("kill", self.name)

    def pause(self) -> None:
        """Freeze every process: a node behind a dead network, or a host that stalls."""
        docker("pause", self.name)

    def resume(self) -> None:
        """Undo whatever was done to the node; returns when Kubernetes calls it Ready."""
        state = json.loads(docker("inspect", "-f", "{{json .State}}", self.name))
        if state["Paused"]:
            docker("unpause", self.name)
        elif not state["Running"]:
            docker("start", self.name)
        eventually(f"{self.name} is Ready", self.ready, READY_SECONDS)

    def ready(self) -> bool:
        """Whether Kubernetes calls the node Ready."""
        conditions = kubectl_json("get", "node", self.name)["status"]["conditions"]
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def restart_runtime(self) -> None:
        """Restart containerd; containers have shims of their own and should not notice."""
        self.run("systemctl", "restart", "containerd")

    def pid(self, container_id: str) -> int:
        """The process, in the node's numbering, that is PID 1 of a running container."""
        for line in self.run("ctr", "-n", "k8s.io", "tasks", "ls").splitlines():
            words = line.split()
            if words[0] == container_id:
                return int(words[1])
        raise LookupError(f"no task of container {container_id} on {self.name}")

    def signal(self, container_id: str, name: str) -> None:
        """Send a signal to a container's PID 1 from outside, as the kernel would."""
        self.run("kill", f"-{name}", str(self.pid(container_id)))


def container_id(pod: Json, name: str) -> str:
    """The id of a pod's container once it runs; empty before."""
    status = pod.get("status", {})
    every = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
    for container in every:
        if container["name"] == name and "running" in container["state"]:
            return str(container["containerID"].rpartition("/")[2])
    return ""


def signal_container(pod: Json, name: str, signal: str = "KILL") -> None:
    """Send a signal to PID 1 of one of a pod's containers."""
    Node(pod["spec"]["nodeName"]).signal(container_id(pod, name), signal)


def workers() -> list[Node]:
    """The nodes that run ordinary pods."""
    nodes = kubectl_json("get", "nodes", "-l", "!node-role.kubernetes.io/control-plane")["items"]
    return [Node(n["metadata"]["name"]) for n in nodes]


def renew_services() -> None:
    """Have kube-proxy write the rules of all Services anew.

    Kernel 6.18 was seen to lose most elements of its nftables map when one was deleted and added
    after many Services had come and gone; a new table has none of that past.
    """
    table = "table ip kube-proxy"
    for entry in kubectl_json("get", "nodes")["items"]:
        node = Node(entry["metadata"]["name"])
        if table not in node.run("sh", "-c", "nft list tables || true"):
            return  # this kube-proxy does not write nftables
        node.run("nft", "delete", *table.split())
    words = ("-n", "kube-system", "rollout")
    kubectl(*words, "restart", "ds/kube-proxy")
    kubectl(*words, "status", "ds/kube-proxy", "--timeout=90s")


def move_away(node: Node) -> None:
    """Have the release's and the cluster's own Deployments run on other nodes."""
    kubectl("cordon", node.name)
    for namespace, selector in (
        ("nanogrid-system", "app.kubernetes.io/part-of=nanogrid"),
        ("kube-system", "k8s-app=kube-dns"),
    ):
        words = ("-n", namespace, "-l", selector)
        field = f"--field-selector=spec.nodeName={node.name}"
        kubectl("delete", "pods", *words, field, "--wait=true", "--timeout=90s")
    kubectl("-n", "nanogrid-system", "wait", "deploy", "--all", "--for=condition=Available",
            "--timeout=90s")  # fmt: skip
    kubectl("-n", "kube-system", "rollout", "status", "deploy/coredns", "--timeout=90s")
    kubectl("uncordon", node.name)
