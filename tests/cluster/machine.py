"""This machine: what it offers, its Debian packages and kernel limits."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from cluster.decisions import can_install, engine_problem, install_command
from cluster.host import (
    ARCHITECTURES,
    Docker,
    Host,
    Trouble,
    Version,
    distribution,
    read_docker,
    read_version,
)
from cluster.progress import say
from cluster.steps import CommandFailed, Log, UsageError, capture, killed_with_parent, step

CAP_SYS_RESOURCE = 24
ENGINE_PACKAGES = ("docker.io", "iptables")
BUILD_PACKAGES = ("debootstrap", "ca-certificates")
PACKAGE_MANAGERS = ("apt-get", "dnf", "zypper", "pacman", "apk", "brew")
# How a program prints its version without asking a cluster.
VERSION_ARGUMENTS = {
    "kind": ("version",),
    "kubectl": ("version", "--client"),
    "helm": ("version", "--short"),
}
ANSWER_SECONDS = 15

# Three nodes, each with systemd, kubelet and containerd, exceed the kernel's defaults and then
# fail with "too many open files".
INOTIFY_WANTED = {"max_user_instances": 512, "max_user_watches": 524288}

# apt refuses to run twice at the same time.
_APT = threading.Lock()


def observe(docker: Docker | None = None) -> Host:
    """This machine; without `docker`, programs are not asked for an engine."""
    uname = platform.uname()
    os_release = Path("/etc/os-release")
    return Host(
        system=uname.system,
        architecture=ARCHITECTURES.get(uname.machine, uname.machine),
        root=os.geteuid() == 0,
        distribution=distribution(os_release.read_text()) if os_release.exists() else "",
        package_manager=next(filter(shutil.which, PACKAGE_MANAGERS), ""),
        docker=docker or Docker(trouble=Trouble.ABSENT),
    )


def ask_docker(env: Mapping[str, str]) -> Docker:
    """The engine that the command `docker` reaches in this environment."""
    if shutil.which("docker") is None:
        return Docker(trouble=Trouble.ABSENT)
    endpoint = env.get("DOCKER_HOST") or docker_endpoint(env)
    command = killed_with_parent(["docker", "version", "--format", "{{json .}}"])
    try:
        done = subprocess.run(
            command, env=dict(env), capture_output=True, text=True, timeout=ANSWER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return Docker(endpoint, trouble=Trouble.STOPPED)
    return read_docker(done.stdout, done.stderr, endpoint)


def engine_platform(env: Mapping[str, str]) -> str:
    """The platform of the engine in this environment, for example linux/arm64.

    Raises:
        UsageError: no engine answers, or the project has no images for its platform.
    """
    docker = ask_docker(env)
    problem = engine_problem(observe(docker), cluster=False)
    if problem is not None or docker.platform is None:
        raise UsageError(f"no images can be built: {problem}")
    return docker.platform


def docker_endpoint(env: Mapping[str, str]) -> str | None:
    """The address of the engine in the Docker context; None without one, as in podman."""
    query = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    try:
        return capture(query, timeout=ANSWER_SECONDS, env=env).strip() or None
    except CommandFailed:
        return None


def on_path(program: str, without: Path) -> str | None:
    """The path of a program on PATH, where the folder `without` does not count."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    kept = [folder for folder in folders if Path(folder) != without]
    return shutil.which(program, path=os.pathsep.join(kept))


def versions_on_path(programs: Iterable[str], without: Path) -> dict[str, Version | None]:
    """The versions of the programs that are on PATH; None if one does not print a version."""
    found: dict[str, Version | None] = {}
    for program in programs:
        path = on_path(program, without)
        if path is None:
            continue
        try:
            output = capture([path, *VERSION_ARGUMENTS[program]], timeout=ANSWER_SECONDS)
            found[program] = read_version(output)
        except CommandFailed:
            found[program] = None
    return found


def capability_missing(bit: int, status: Path = Path("/proc/self/status")) -> bool:
    """Whether the bounding set lacks this capability, so that even root cannot have it.

    Only Linux has capabilities.
    """
    if not status.exists():
        return False
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
    """Installs the Debian packages that are missing.

    Raises:
        UsageError: this user or this machine cannot install Debian packages.
    """
    with _APT:
        missing = [package for package in packages if not installed(package)]
        if not missing:
            return
        host = observe()
        if not can_install(host):
            raise UsageError(f"missing packages: {install_command(host, missing)}")
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
