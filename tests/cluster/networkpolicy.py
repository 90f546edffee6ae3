"""The NetworkPolicy engine of nodes that we built: kube-router's firewall, a service per node.

The pod network of these nodes (see ``cni``) enforces nothing. kind's own network, which the
published node image has, needs no engine from us. The engine is copied into the running nodes, so
that a cluster of an older checkout gets it too, and no node image is built again for it.
"""

from __future__ import annotations

import base64
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster import gobuild
from cluster.cache import key_of
from cluster.engine import Engine
from cluster.kubectl import Kubectl
from cluster.paths import SOURCE
from cluster.steps import ClusterError, CommandFailed

FILES = SOURCE / "networkpolicy"
UNIT = "kube-router.service"
_UNIT_DIRECTORY = "etc/systemd/system"
TARGETS = {
    "configure-network-policy": "usr/local/sbin",
    "wait-for-address": "usr/local/sbin",
    UNIT: _UNIT_DIRECTORY,
}
VERSION_FILE = "etc/nanogrid/network-policy.version"

# Other programs may still be built in these seconds.
TOKEN_SECONDS = 90
START_SECONDS = 180


def version() -> str:
    """The version of the engine and its files; the nodes have it in a file."""
    return key_of(gobuild.KUBE_ROUTER.key, FILES)


def fill(root: Path, kube_router: Path) -> None:
    """Fills a directory with what a node needs: the engine, its service and scripts."""
    for name, directory in TARGETS.items():
        (root / directory).mkdir(parents=True, exist_ok=True)
        shutil.copy(FILES / name, root / directory)
    (root / "usr/local/bin").mkdir(parents=True)
    shutil.copy(kube_router, root / "usr/local/bin")
    (root / VERSION_FILE).parent.mkdir(parents=True)
    (root / VERSION_FILE).write_text(version())
    root.chmod(0o755)
    # The modes of the checkout are not reliable.
    for path in root.rglob("*"):
        executable = path.is_dir() or path.parent.name in ("bin", "sbin")
        path.chmod(0o755 if executable else 0o644)
    # This link is what `systemctl enable` creates.
    wants = root / _UNIT_DIRECTORY / "multi-user.target.wants"
    wants.mkdir()
    (wants / UNIT).symlink_to(f"../{UNIT}")


def configure(engine: Engine, kubectl: Kubectl, nodes: Iterable[str], kube_router: Path) -> None:
    """Installs and starts the engine on every node; it survives restarts of the nodes.

    Raises:
        ClusterError: a node does not enforce NetworkPolicies in time.
    """
    names = list(nodes)
    kubectl("apply", "--filename", str(FILES / "rbac.yaml"))
    token = _token(kubectl)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        fill(root, kube_router)

        def install(node: str) -> None:
            engine.docker("cp", f"{root}/.", f"{node}:/", timeout=120)
            command = ["exec", "--interactive", node, "configure-network-policy"]
            engine.docker(*command, timeout=60, stdin=token)

        _on_each(names, install)
    _wait(engine, names)


def _wait(engine: Engine, nodes: list[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        problems = {node: problem for node, problem in state(engine, nodes).items() if problem}
        if not problems:
            return
        if time.monotonic() > deadline:
            raise ClusterError(f"no NetworkPolicy engine after {START_SECONDS} s: {problems}")
        time.sleep(0.5)


def _token(kubectl: Kubectl) -> str:
    """The engine's token, once the controller manager has issued it."""
    query = ("-n", "kube-system", "get", "secret", "kube-router", "-o", "jsonpath={.data.token}")
    deadline = time.monotonic() + TOKEN_SECONDS
    while not (token := kubectl(*query)):
        if time.monotonic() > deadline:
            raise ClusterError(f"no token for the NetworkPolicy engine after {TOKEN_SECONDS} s")
        time.sleep(0.3)
    return base64.b64decode(token).decode()


def state(engine: Engine, nodes: Iterable[str]) -> dict[str, str | None]:
    """Why each node does not enforce NetworkPolicies; None if it does."""
    script = (FILES / "check").read_text()

    def check(node: str) -> str | None:
        command = ["exec", "--interactive", node, "sh", "-s", version()]
        try:
            engine.docker(*command, timeout=15, stdin=script)
        except CommandFailed as error:
            return str(error).strip().splitlines()[-1]
        return None

    names = list(nodes)
    return dict(zip(names, _on_each(names, check), strict=True))


def _on_each(nodes: list[str], do: Callable[[str], str | None]) -> list[str | None]:
    """Does the same on all nodes at the same time."""
    with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
        return list(pool.map(do, nodes))
