"""The paths of all files: one cache directory, so that `rm -r` removes everything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parent

# The address of a unix socket has at most 108 bytes; the longest below the cache is
# docker/exec/containerd/containerd.sock.ttrpc.
SOCKET_LIMIT = 107


@dataclass(frozen=True)
class Paths:
    """The cache directory and the paths in it."""

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
        """One log file per step, from its latest run."""
        return self.root / "logs"

    @property
    def go(self) -> Path:
        """Go's module and build caches (and Go itself if the machine has none)."""
        return self.root / "go"

    @property
    def docker(self) -> Path:
        """Data root, exec root, socket and log of our dockerd."""
        return self.root / "docker"

    @property
    def state(self) -> Path:
        """The state of this cluster: how it was created, and its kubeconfig."""
        return self.root / "clusters" / self.cluster

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of our cluster; the user's ~/.kube/config is never changed."""
        return self.state / "kubeconfig"

    @property
    def docker_socket(self) -> Path:
        """Our dockerd's socket; /var/run/docker.sock may belong to another engine."""
        return self.docker / "docker.sock"

    @property
    def lock(self) -> Path:
        """The lock file, so that two runs do not change something at the same time."""
        return self.root / "lock"


def paths() -> Paths:
    """The paths of this process, from XDG_CACHE_HOME and NANOGRID_CLUSTER."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Paths(
        root=Path(base).absolute() / "nanogrid",
        cluster=os.environ.get("NANOGRID_CLUSTER") or "nanogrid",
    )
