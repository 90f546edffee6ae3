"""Properties of this machine: rights, Debian packages, kernel limits."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from cluster.progress import say
from cluster.steps import Log, capture, step

CAP_SYS_RESOURCE = 24
ENGINE_PACKAGES = ("docker.io", "iptables")
BUILD_PACKAGES = ("debootstrap", "ca-certificates")

# Three nodes, each with systemd, kubelet and containerd, exceed the kernel's defaults and then
# fail with "too many open files".
INOTIFY_WANTED = {"max_user_instances": 512, "max_user_watches": 524288}

# apt refuses to run twice at the same time.
_APT = threading.Lock()


def can_build_everything() -> bool:
    """Whether a full build is possible: it installs Debian packages and starts a daemon."""
    return os.geteuid() == 0 and "ID=debian" in _os_release()


def _os_release() -> list[str]:
    file = Path("/etc/os-release")
    return file.read_text().splitlines() if file.exists() else []


def capability_missing(bit: int, status: Path = Path("/proc/self/status")) -> bool:
    """Whether the bounding set lacks this capability, so that even root cannot have it."""
    for line in status.read_text().splitlines():
        if line.startswith("CapBnd:"):
            return not int(line.split()[1], 16) >> bit & 1
    return False


def installed(package: str) -> bool:
    """Whether this Debian package is installed."""
    if shutil.which("dpkg-query") is None:
        return False
    query = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"]
    return f"{package} installed" in capture(query, timeout=30).splitlines()


def install(packages: tuple[str, ...]) -> None:
    """Installs the Debian packages that are missing."""
    with _APT:
        missing = [package for package in packages if not installed(package)]
        if not missing:
            return
        with step("packages", f"install Debian packages: {' '.join(missing)}") as log:
            _apt(log, ["update"], timeout=300)
            _apt(log, ["install", "-y", "--no-install-recommends", *missing], timeout=900)


def install_engine() -> None:
    """Installs a Docker engine and its command."""
    install(ENGINE_PACKAGES)
    if shutil.which("docker") is None:
        # Since Debian 13 the command is in a separate package.
        install(("docker-cli",))


def _apt(log: Log, args: list[str], timeout: float) -> None:
    options = ["-o", "DPkg::Lock::Timeout=120", "-q"]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log.run(["apt-get", *options, *args], timeout=timeout, env=env)


def raise_inotify_limits(root: Path = Path("/proc/sys/fs/inotify")) -> None:
    """Raises the kernel's inotify limits if they are low and writable."""
    for name, wanted in INOTIFY_WANTED.items():
        file = root / name
        if int(file.read_text()) >= wanted:
            continue
        try:
            file.write_text(str(wanted))
        except OSError as error:
            say(f"    fs.inotify.{name} stays at {file.read_text().strip()} ({error})")


def unmount(point: str) -> None:
    """Unmounts one file system."""
    capture(["umount", point], timeout=30)
