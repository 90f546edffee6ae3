"""Creating, repairing, deleting the kind cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from cluster import cni
from cluster.engine import Engine
from cluster.kubectl import Kubectl
from cluster.paths import Paths
from cluster.steps import ClusterError, Log, say, step
from cluster.versions import WORKERS

NODES = 1 + WORKERS
CREATE_SECONDS = 300
READY_SECONDS = 180
REPAIR_SECONDS = 90
# The time after which Kubernetes itself doubts a node.
LEASE_SECONDS = 40


def config(own_network: bool) -> str:
    """kind's configuration; JSON is YAML."""
    content: dict[str, object] = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane"}, *({"role": "worker"} for _ in range(WORKERS))],
    }
    if own_network:
        content["networking"] = {"disableDefaultCNI": True, "kubeProxyMode": "nftables"}
    return json.dumps(content, indent=2)


class KindCluster:
    """The cluster of one name in one Docker engine."""

    def __init__(self, here: Paths, engine: Engine, own_network: bool) -> None:
        self._here = here
        self._engine = engine
        self._own_network = own_network
        self.kubectl = Kubectl(str(here.kubeconfig))

    def _kind(self, *words: str) -> list[str]:
        name = ["--name", self._here.cluster]
        return [str(self._here.bin / "kind"), *words, *name]

    def containers(self) -> dict[str, str]:
        """The node containers and their states ("running", "exited", ...)."""
        label = f"label=io.x-k8s.kind.cluster={self._here.cluster}"
        form = "{{.Names}} {{.State}}"
        out = self._engine.docker("ps", "--all", "--filter", label, "--format", form)
        return dict(line.split() for line in out.splitlines())

    def healthy(self) -> bool:
        """Whether it can be used as it is."""
        if not self._here.kubeconfig.exists() or not self._engine.answers():
            return False
        states = list(self.containers().values())
        since = time.time() - LEASE_SECONDS
        return states == ["running"] * NODES and self.kubectl.healthy(NODES, since)

    def create(self, image: str) -> None:
        """Makes the cluster, after removing what an unfinished run left of it."""
        if self.containers():
            self.delete()
        self._here.state.mkdir(parents=True, exist_ok=True)
        settings = self._here.state / "kind.json"
        settings.write_text(config(self._own_network))
        with step("kind-create", f"create the cluster {self._here.cluster}, {NODES} nodes") as log:
            words = self._kind("create", "cluster", "--image", image, "--config", str(settings))
            words += ["--kubeconfig", str(self._here.kubeconfig), "--verbosity", "1"]
            log.run(words, timeout=CREATE_SECONDS, env=self._engine.env)
        self._finish(since=0, timeout=READY_SECONDS)

    def _finish(self, since: float, timeout: float) -> None:
        """From created (or started) to usable."""
        if self._own_network:
            with step("cni", "configure the pod network"):
                cni.configure(self._engine, self.kubectl, NODES)
        with step("ready", "wait for the nodes and the cluster's DNS"):
            self.kubectl.wait_healthy(NODES, since, timeout)

    def repair(self) -> bool:
        """Starts the nodes of a cluster that was whole; False if that does not help."""
        containers = self.containers()
        if not self._here.kubeconfig.exists() or len(containers) != NODES:
            return False
        stopped = [name for name, state in containers.items() if state != "running"]
        since = time.time()
        try:
            if stopped:
                with step("repair", f"start the nodes again: {', '.join(stopped)}"):
                    # The control plane first: the others look for it when they start.
                    for name in sorted(stopped, key=lambda name: "control-plane" not in name):
                        self._engine.docker("start", name, timeout=60)
            self._finish(since, REPAIR_SECONDS)
        except ClusterError as error:
            say(f"{error}\n    it cannot be repaired, so it is made anew")
            return False
        return True

    def delete(self) -> None:
        """Removes the cluster's containers and its kubeconfig."""
        with step("kind-delete", f"delete the cluster {self._here.cluster}") as log:
            self._delete(log)

    def _delete(self, log: Log) -> None:
        # kind's own delete also edits a kubeconfig: give it ours, not ~/.kube/config.
        words = self._kind("delete", "cluster", "--kubeconfig", str(self._here.kubeconfig))
        log.run(words, timeout=120, env=self._engine.env)
        self._here.kubeconfig.unlink(missing_ok=True)

    def load(self, images: Sequence[str]) -> None:
        """Copies images from the engine into the nodes, those that are not there yet."""
        ids = {image: self._engine.image_id(image) for image in images}
        absent = [image for image, digest in ids.items() if digest is None]
        if absent:
            raise ClusterError(f"not in the Docker engine, build first: {', '.join(absent)}")
        listings = self._listings()
        missing = []
        for image, digest in ids.items():
            if all(holds(listing, image, digest or "") for listing in listings):
                say(f"    {image}: already on the nodes")
            else:
                missing.append(image)
        if missing:
            with step("load", f"load into the nodes: {', '.join(missing)}") as log:
                words = self._kind("load", "docker-image", *missing)
                log.run(words, timeout=600, env=self._engine.env)

    def _listings(self) -> list[str]:
        """What containerd holds, on every node."""
        words = ["ctr", "-n", "k8s.io", "images", "ls"]
        nodes = sorted(self.containers())
        with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
            return list(pool.map(lambda node: self._engine.docker("exec", node, *words), nodes))


def holds(listing: str, image: str, digest: str) -> bool:
    """Whether containerd's list has this name for the image with this id.

    containerd lists an image under its name and under its id (the digest Docker shows),
    both with the digest of the manifest: the name is current if those two are the same.
    """
    targets = {}
    for line in listing.splitlines()[1:]:
        columns = line.split()
        if len(columns) >= 3:
            targets[columns[0]] = columns[2]
    return digest in targets and targets.get(full_name(image)) == targets[digest]


def full_name(image: str) -> str:
    """An image's name as containerd keeps it: with registry and tag."""
    first, _, rest = image.partition("/")
    if not rest:
        image = f"docker.io/library/{image}"
    elif "." not in first and ":" not in first and first != "localhost":
        image = f"docker.io/{image}"
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"
