"""What a machine offers for the cluster, as plain data, and how answers of commands are read.

`machine.py` asks this machine; the decisions about the answers are in `decisions.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

# The names of architectures in Docker and Go, by those of `uname -m`.
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

Version = tuple[int, int, int]


class Trouble(Enum):
    """Why the command `docker` gives no engine that can be used."""

    ABSENT = "there is no command `docker`"
    STOPPED = "the Docker engine does not answer"
    DENIED = "this user may not use the Docker engine"
    PODMAN = "the command `docker` is podman"


@dataclass(frozen=True)
class Docker:
    """The engine that the command `docker` reaches.

    Attributes:
        endpoint: its address, for example unix:///var/run/docker.sock; None if it is not known.
        platform: operating system and architecture of the engine, for example linux/arm64. On a Mac
            it is that of the virtual machine. None if there is a trouble.
    """

    endpoint: str | None = None
    platform: str | None = None
    trouble: Trouble | None = None

    @property
    def remote(self) -> bool:
        """Whether the engine is on another machine, so its published ports are not here."""
        if self.endpoint is None or self.endpoint.startswith(("unix:", "npipe:", "fd:")):
            return False
        return re.match(r"tcp://(localhost|127\.[\d.]+|\[::1\])(:|/|$)", self.endpoint) is None


@dataclass(frozen=True)
class Host:
    """A machine.

    Attributes:
        system: Linux, Darwin, or another name of `uname -s`.
        architecture: as in Docker and Go: amd64, arm64; another one as `uname -m` prints it.
        root: whether this user is root.
        distribution: the ID in /etc/os-release, for example debian; "" if there is none.
        package_manager: apt-get, dnf, brew, …; "" if there is none that we know.
        docker: the engine that the command `docker` reaches.
        programs: the versions of programs on PATH; None if a version cannot be read.
    """

    system: str
    architecture: str
    root: bool = False
    distribution: str = ""
    package_manager: str = ""
    docker: Docker = field(default_factory=lambda: Docker(trouble=Trouble.ABSENT))
    programs: Mapping[str, Version | None] = field(default_factory=dict)


def read_version(output: str) -> Version | None:
    """The first version in the output of a program: `v1.34.4`, `v4.3.1+g12ab`, `go1.26.1`."""
    match = re.search(r"\d+\.\d+(\.\d+)?", output)
    if match is None:
        return None
    major, minor, patch = (*match[0].split("."), "0")[:3]
    return int(major), int(minor), int(patch)


def distribution(os_release: str) -> str:
    """The ID in the text of /etc/os-release."""
    values = [line.partition("=")[2] for line in os_release.splitlines() if line.startswith("ID=")]
    return values[0].strip("\"'") if values else ""


def read_docker(stdout: str, stderr: str, endpoint: str | None) -> Docker:
    """What `docker version --format '{{json .}}'` says; it fails if no engine answers."""
    try:
        answer = json.loads(stdout)
    except ValueError:
        answer = {}
    server = answer.get("Server") or {}
    names = [part.get("Name", "") for part in server.get("Components") or []]
    # podman's own answer has one key for both parts of the platform.
    emulated = "Emulate Docker CLI" in stderr or "OsArch" in (answer.get("Client") or {})
    if emulated or any("podman" in name.lower() for name in names):
        return Docker(endpoint, trouble=Trouble.PODMAN)
    if "Os" in server and "Arch" in server:
        architecture = ARCHITECTURES.get(server["Arch"], server["Arch"])
        return Docker(endpoint, platform=f"{server['Os']}/{architecture}")
    denied = "permission denied" in stderr.lower()
    return Docker(endpoint, trouble=Trouble.DENIED if denied else Trouble.STOPPED)
