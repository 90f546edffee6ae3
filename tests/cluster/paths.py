"""Where things live: all of it under one cache directory, so clean-up is one `rm -r`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parent

# A unix socket's address holds 108 bytes; the deepest one below the cache is
# docker/exec/containerd/containerd.sock.ttrpc.
SOCKET_LIMIT = 107


@dataclass(frozen=True)
class Paths:
    """The cache directory and the places in it."""

    root: Path
    cluster: str

    @property
    def bin(self) -> Path:
        """Commands for the user's PATH: kind, helm, kubectl."""
        return self.root / "bin"

    @property
    def artifacts(self) -> Path:
        """Finished outputs of the long steps, one directory per step and key."""
        return self.root / "artifacts"

    @property
    def logs(self) -> Path:
        """One log file per step, of its latest run."""
        return self.root / "logs"

    @property
    def go(self) -> Path:
        """Go's module and build caches (and Go itself where the machine has none)."""
        return self.root / "go"

    @property
    def docker(self) -> Path:
        """Data root, exec root, socket and log of the dockerd we start."""
        return self.root / "docker"

    @property
    def state(self) -> Path:
        """What is known of this cluster: how it was made and its kubeconfig."""
        return self.root / "clusters" / self.cluster

    @property
    def kubeconfig(self) -> Path:
        """Credentials of our own cluster; the user's ~/.kube/config is never touched."""
        return self.state / "kubeconfig"

    @property
    def docker_socket(self) -> Path:
        """Not /var/run/docker.sock: that one may belong to another engine."""
        return self.docker / "docker.sock"

    @property
    def lock(self) -> Path:
        """Held by whoever changes something, so that two runs do not collide."""
        return self.root / "lock"


def paths() -> Paths:
    """The paths of this process, from XDG_CACHE_HOME and NANOGRID_CLUSTER."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Paths(
        root=Path(base).absolute() / "nanogrid",
        cluster=os.environ.get("NANOGRID_CLUSTER") or "nanogrid",
    )
