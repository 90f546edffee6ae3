"""Creates, repairs and deletes the kind cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from cluster import cni, gobuild, networkpolicy
from cluster.engine import Engine
from cluster.kubectl import Kubectl, command
from cluster.paths import Paths
from cluster.progress import say
from cluster.steps import ClusterError, Log, step
from cluster.versions import WORKERS

NODES = 1 + WORKERS
# Other programs are still built while the cluster is created.
CREATE_SECONDS = 600
READY_SECONDS = 180
REPAIR_SECONDS = 90
# Kubernetes itself marks a node as not ready after this time.
LEASE_SECONDS = 40


def config(own_network: bool) -> str:
    """kind's configuration as JSON, which is valid YAML."""
    content: dict[str, object] = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane"}, *({"role": "worker"} for _ in range(WORKERS))],
    }
    if own_network:
        content["networking"] = {"disableDefaultCNI": True, "kubeProxyMode": "nftables"}
    return json.dumps(content, indent=2)


class KindCluster:
    """The cluster with one name in one Docker engine."""

    def __init__(self, here: Paths, engine: Engine, own_network: bool) -> None:
        self._here = here
        self._engine = engine
        self._own_network = own_network
        self.kubectl = Kubectl(str(here.kubeconfig))

    def _kind(self, *args: str) -> list[str]:
        name = ["--name", self._here.cluster]
        return [command(self._here, "kind"), *args, *name]

    def containers(self) -> dict[str, str]:
        """The node containers and their states ("running", "exited", ...)."""
        label = f"label=io.x-k8s.kind.cluster={self._here.cluster}"
        form = "{{.Names}} {{.State}}"
        out = self._engine.docker("ps", "--all", "--filter", label, "--format", form)
        return dict(line.split() for line in out.splitlines())

    def healthy(self) -> bool:
        """Whether all nodes run, Kubernetes is healthy and NetworkPolicies are enforced."""
        if not self._here.kubeconfig.exists() or not self._engine.answers():
            return False
        containers = self.containers()
        since = time.time() - LEASE_SECONDS
        running = list(containers.values()) == ["running"] * NODES
        return running and self.kubectl.healthy(NODES, since) and self._enforces(containers)

    def _enforces(self, nodes: Iterable[str]) -> bool:
        """Whether all nodes enforce NetworkPolicies; kind's own network does it by itself."""
        return not self._own_network or not any(networkpolicy.state(self._engine, nodes).values())

    def create(self, image: str) -> None:
        """Creates the cluster; first removes the rest of an unfinished run."""
        if self.containers():
            self.delete()
        self._here.state.mkdir(parents=True, exist_ok=True)
        settings = self._here.state / "kind.json"
        settings.write_text(config(self._own_network))
        with step("kind-create", f"create the cluster {self._here.cluster}, {NODES} nodes") as log:
            args = self._kind("create", "cluster", "--image", image, "--config", str(settings))
            args += ["--kubeconfig", str(self._here.kubeconfig), "--verbosity", "1"]
            log.run(args, timeout=CREATE_SECONDS, env=self._engine.env)
        self._finish(since=0, timeout=READY_SECONDS)

    def _finish(self, since: float, timeout: float) -> None:
        """Makes a created or started cluster usable: network, its policies, then readiness."""
        if self._own_network:
            with step("cni", "configure the pod network"):
                cni.configure(self._engine, self.kubectl, NODES)
            self._enforce_policies()
        with step("ready", "wait for the nodes and the cluster's DNS"):
            self.kubectl.wait_healthy(NODES, since, timeout)

    def _enforce_policies(self) -> None:
        kube_router = gobuild.build(gobuild.KUBE_ROUTER) / gobuild.KUBE_ROUTER.name
        with step("network-policy", "start the NetworkPolicy engine"):
            nodes = sorted(self.containers())
            networkpolicy.configure(self._engine, self.kubectl, nodes, kube_router)

    def complete(self) -> bool:
        """Whether the cluster was created once and all its nodes exist."""
        return self._here.kubeconfig.exists() and len(self.containers()) == NODES

    def repair(self) -> bool:
        """Starts the stopped nodes of a complete cluster; False if this does not help."""
        containers = self.containers()
        stopped = [name for name, state in containers.items() if state != "running"]
        since = time.time()
        try:
            if stopped:
                with step("repair", f"restart the nodes: {', '.join(stopped)}"):
                    # The control plane first: the workers need it when they start.
                    for name in sorted(stopped, key=lambda name: "control-plane" not in name):
                        self._engine.docker("start", name, timeout=60)
            self._finish(since, REPAIR_SECONDS)
        except ClusterError as error:
            say(f"{error}\n    the cluster cannot be repaired and is created again")
            return False
        return True

    def delete(self) -> None:
        """Removes the cluster's containers and its kubeconfig."""
        with step("kind-delete", f"delete the cluster {self._here.cluster}") as log:
            self._delete(log)

    def _delete(self, log: Log) -> None:
        # kind also edits a kubeconfig: ours, not ~/.kube/config.
        args = self._kind("delete", "cluster", "--kubeconfig", str(self._here.kubeconfig))
        log.run(args, timeout=120, env=self._engine.env)
        self._here.kubeconfig.unlink(missing_ok=True)

    def load(self, images: Sequence[str]) -> None:
        """Copies the images that the nodes do not have from the engine to the nodes."""
        ids = {image: self._engine.image_id(image) for image in images}
        absent = [image for image, digest in ids.items() if digest is None]
        if absent:
            raise ClusterError(f"not in the Docker engine; build them first: {', '.join(absent)}")
        listings = self._listings()
        missing = []
        for image, digest in ids.items():
            if all(holds(listing, image, digest or "") for listing in listings):
                say(f"    {image}: already on the nodes")
            else:
                missing.append(image)
        if missing:
            with step("load", f"load into the nodes: {', '.join(missing)}") as log:
                args = self._kind("load", "docker-image", *missing)
                log.run(args, timeout=600, env=self._engine.env)

    def _listings(self) -> list[str]:
        """The image lists of containerd on all nodes."""
        args = ["ctr", "-n", "k8s.io", "images", "ls"]
        nodes = sorted(self.containers())
        with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
            return list(pool.map(lambda node: self._engine.docker("exec", node, *args), nodes))


def holds(listing: str, image: str, digest: str) -> bool:
    """Whether containerd's list has this name for the image with this id.

    containerd lists an image under its name and under its id (the digest that Docker shows), both
    with the digest of the manifest. The name is current if these two digests are equal.
    """
    targets = {}
    for line in listing.splitlines()[1:]:
        columns = line.split()
        if len(columns) >= 3:
            targets[columns[0]] = columns[2]
    return digest in targets and targets.get(full_name(image)) == targets[digest]


def full_name(image: str) -> str:
    """An image's name as in containerd: with registry and tag."""
    first, _, rest = image.partition("/")
    if not rest:
        image = f"docker.io/library/{image}"
    elif "." not in first and ":" not in first and first != "localhost":
        image = f"docker.io/{image}"
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"
