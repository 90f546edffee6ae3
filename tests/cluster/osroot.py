"""A Debian root file system from the package registry, as a tar for `docker import`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster import machine, versions
from cluster.cache import artifact, key_of
from cluster.steps import CommandFailed, Log, capture

TAR = "root.tar"


def mirror_of_host() -> list[str]:
    """The mirror that this machine's apt uses for the suite; empty if it has none.

    A machine with a mirror may reach no other server. Without one, debootstrap's default is right.
    """
    query = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
        f"Release: {versions.DEBIAN_SUITE}",
        "Component: main",
    ]
    try:
        found = [line for line in capture(query, timeout=30).splitlines() if line]
    except CommandFailed:
        return []
    return found[:1]


def root_tar(name: str, packages: Sequence[str], trim: Callable[[Path], None] | None) -> Path:
    """The tar of a minimal Debian with these packages; `trim` removes files from it."""
    key = key_of(versions.DEBIAN_SUITE, *packages, Path(__file__), trim.__name__ if trim else "")

    def build(draft: Path, log: Log) -> None:
        root = draft / "root"
        debootstrap(root, packages, log)
        if trim:
            trim(root)
        pack = ["tar", "--numeric-owner", "-C", str(root), "-cf", str(draft / TAR), "."]
        log.run(pack, timeout=300)
        shutil.rmtree(root)

    return artifact(name, key, f"debootstrap {versions.DEBIAN_SUITE} for {name}", build) / TAR


def debootstrap(root: Path, packages: Sequence[str], log: Log) -> None:
    """Unpacks and configures Debian in `root`.

    debootstrap mounts /proc into the new root. It runs in its own namespaces, which end with this
    process, so that a killed run leaves neither this mount nor a process.
    """
    machine.install(machine.BUILD_PACKAGES)
    isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        versions.DEBIAN_SUITE,
        str(root),
        *mirror_of_host(),
    ]
    log.run([*isolated, *command], timeout=1200)
    # Only files: apt needs its directories.
    for stale in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
        for file in (root / stale).rglob("*"):
            if file.is_file():
                file.unlink()
    # debootstrap copies these from the host; Docker mounts its own file over the first.
    for name in ("etc/resolv.conf", "etc/hostname"):
        (root / name).unlink(missing_ok=True)
