"""A Debian root file system from the package registry, as a tar that Docker imports."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster import machine, versions
from cluster.cache import artifact, key_of
from cluster.steps import CommandFailed, Log, capture

TAR = "root.tar"


def mirror_of_host() -> list[str]:
    """The mirror this machine's apt uses for the suite, if it has one.

    A machine behind a mirror may reach nothing else; without one debootstrap's own
    default is right.
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
    """The tar of a minimal Debian with these packages, trimmed by `trim`."""
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

    debootstrap mounts /proc into the new root. In namespaces of its own, which end with
    this process, a killed run leaves neither that mount nor a process behind.
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
    # Files only: apt wants its directories.
    for stale in ("var/cache/apt", "var/lib/apt/lists", "var/log"):
        for file in (root / stale).rglob("*"):
            if file.is_file():
                file.unlink()
    # Written by debootstrap from the host it ran on; Docker mounts its own over the first.
    for name in ("etc/resolv.conf", "etc/hostname"):
        (root / name).unlink(missing_ok=True)
