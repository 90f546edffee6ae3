"""A Debian root file system from the package registry, as a tar for `docker import`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster import machine
from cluster.cache import artifact, key_of
from cluster.steps import CommandFailed, Log, capture

TAR = "root.tar"


def mirror_of_host(suite: str) -> list[str]:
    """The mirror that this machine's apt uses for the suite; empty if it has none.

    A machine with a mirror may reach no other server. Without one, debootstrap's default is right.
    """
    query = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(CODENAME) $(LABEL)",
        "Created-By: Packages",
        "Component: main",
    ]
    try:
        return mirror(capture(query, timeout=30).splitlines(), suite)
    except CommandFailed:
        return []


def mirror(targets: Sequence[str], suite: str) -> list[str]:
    """The mirror for a suite among lines of `ADDRESS CODENAME LABEL`; empty if there is none.

    A mirror of Debian has all suites. One of security updates has another label.
    """
    split = [line.split(maxsplit=2) for line in targets]
    found = [parts for parts in split if len(parts) == 3 and parts[2] == "Debian"]
    found.sort(key=lambda parts: parts[1] != suite)
    return [found[0][0]] if found else []


def root_tar(
    name: str, suite: str, packages: Sequence[str], trim: Callable[[Path], None] | None
) -> Path:
    """The tar of a minimal Debian with these packages; `trim` removes files from it."""
    key = key_of(suite, *packages, Path(__file__), trim.__name__ if trim else "")

    def build(draft: Path, log: Log) -> None:
        root = draft / "root"
        debootstrap(root, suite, packages, log)
        if trim:
            trim(root)
        pack = ["tar", "--numeric-owner", "-C", str(root), "-cf", str(draft / TAR), "."]
        log.run(pack, timeout=300)
        shutil.rmtree(root)

    return artifact(name, key, f"debootstrap {suite} for {name}", build) / TAR


def debootstrap(root: Path, suite: str, packages: Sequence[str], log: Log) -> None:
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
        suite,
        str(root),
        *mirror_of_host(suite),
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
