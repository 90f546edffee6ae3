"""The nodes of a kind cluster as containers in its Docker engine: stop, pause, kill processes.

``make cluster-env`` prints where the engine is. This works only with a cluster on this machine: for
other clusters these containers do not exist, and the tests that need them are skipped.
"""

import json
import subprocess
from dataclasses import dataclass

from nanogrid.types import Json
from support.kubectl import eventually, kubectl, kubectl_json

READY_SECONDS = 120


class DockerError(Exception):
    """docker exited with an error; the message is its stderr."""


def docker(*args: str, timeout: float = 120) -> str:
    """Run docker and return its stdout."""
    done = subprocess.run(["docker", *args], capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise DockerError(done.stderr.strip())
    return done.stdout


def gateway() -> str:
    """This machine's address in the cluster's network; pods can reach it."""
    configs = json.loads(docker("network", "inspect", "kind", "-f", "{{json .IPAM.Config}}"))
    return next(str(c["Gateway"]) for c in configs if "." in c["Gateway"])


@dataclass(frozen=True)
class Node:
    """One node, which is a container with the same name."""

    name: str

    def exists(self) -> bool:
        """Whether the node is a running container in the engine that docker uses."""
        try:
            state = docker("inspect", "-f", "{{.State.Running}}", self.name)
        except (DockerError, FileNotFoundError):
            return False
        return state.strip() == "true"

    def run(self, *args: str, timeout: float = 120) -> str:
        """Run a program in the node, as root."""
        return docker("exec", self.name, *args, timeout=timeout)

    def stop(self) -> None:
        """Power off: no warning to the processes; the disk stays."""
        docker("kill", self.name)

    def pause(self) -> None:
        """Freeze every process, as a stalled host or a node without network."""
        docker("pause", self.name)

    def resume(self) -> None:
        """Undo a stop or a pause; returns when the node is Ready."""
        state = json.loads(docker("inspect", "-f", "{{json .State}}", self.name))
        if state["Paused"]:
            docker("unpause", self.name)
        elif not state["Running"]:
            docker("start", self.name)
        eventually(f"{self.name} is Ready", self.ready, READY_SECONDS)

    def ready(self) -> bool:
        """Whether the node's condition Ready is True."""
        conditions = kubectl_json("get", "node", self.name)["status"]["conditions"]
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def restart_runtime(self) -> None:
        """Restart containerd; containers have their own shims and continue."""
        self.run("systemctl", "restart", "containerd")

    def pid(self, container_id: str) -> int:
        """The process id, in the node's namespace, of a running container's PID 1.

        Raises:
            LookupError: no such container runs.
        """
        for line in self.run("ctr", "-n", "k8s.io", "tasks", "ls").splitlines():
            columns = line.split()
            if columns[0] == container_id:
                return int(columns[1])
        raise LookupError(f"no task of container {container_id} on {self.name}")

    def signal(self, container_id: str, name: str) -> None:
        """Send a signal to a container's PID 1 from the node, as the kernel does."""
        self.run("kill", f"-{name}", str(self.pid(container_id)))


def container_id(pod: Json, name: str) -> str:
    """The id of a pod's container; empty while it does not run."""
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


def rebuild_services() -> None:
    """Make kube-proxy rewrite the rules of all Services.

    Kernel 6.18 was seen to lose most elements of its nftables map when one was deleted and added
    after many Services had been created and deleted; a new table does not have this history.
    """
    table = "table ip kube-proxy"
    for entry in kubectl_json("get", "nodes")["items"]:
        node = Node(entry["metadata"]["name"])
        if table not in node.run("sh", "-c", "nft list tables || true"):
            return  # this kube-proxy does not write nftables
        node.run("nft", "delete", *table.split())
    args = ("-n", "kube-system", "rollout")
    kubectl(*args, "restart", "ds/kube-proxy")
    kubectl(*args, "status", "ds/kube-proxy", "--timeout=180s")


def move_release_away(node: Node) -> None:
    """Move the pods of the release and of cluster DNS to other nodes."""
    kubectl("cordon", node.name)
    for namespace, selector in (
        ("nanogrid-system", "app.kubernetes.io/part-of=nanogrid"),
        ("kube-system", "k8s-app=kube-dns"),
    ):
        args = ("-n", namespace, "-l", selector)
        field = f"--field-selector=spec.nodeName={node.name}"
        kubectl("delete", "pods", *args, field, "--wait=true", "--timeout=180s")
    kubectl("-n", "nanogrid-system", "wait", "deploy", "--all", "--for=condition=Available",
            "--timeout=180s")  # fmt: skip
    kubectl("-n", "kube-system", "rollout", "status", "deploy/coredns", "--timeout=180s")
    kubectl("uncordon", node.name)
