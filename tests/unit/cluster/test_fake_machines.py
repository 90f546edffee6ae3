"""A cluster is created, used and deleted on faked machines: macOS and Linux on arm64, without root.

The programs of PATH are scripts that record their calls; nothing may be built or installed.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cluster import commands, machine, versions, ways
from cluster.decisions import wheel_platform
from cluster.paths import Paths, paths
from cluster.steps import UsageError

SERVER = {"Server": {"Os": "linux", "Arch": "arm64", "Components": [{"Name": "Engine"}]}}
NODES = ("nanogrid-control-plane", "nanogrid-worker", "nanogrid-worker2")

# With the folder $STATE for what was done.
DOCKER = f"""case "$1 $2" in
"version --format") echo '{json.dumps(SERVER)}';;
"context inspect") echo unix:///home/dev/docker.sock;;
"image inspect") echo sha256:1111;;
"ps --all") [ ! -e $STATE/cluster ] || for node in {" ".join(NODES)}; do echo $node running; done;;
"exec nanogrid-"*) echo "REF TYPE DIGEST";;
*) exit 9;;
esac"""
KIND = """case "$1 $2" in
"version ") echo kind v0.33.0 go1.26.1 darwin/arm64;;
"create cluster") touch $STATE/cluster; while [ "$1" != --kubeconfig ]; do shift; done; touch $2;;
"load docker-image") ;;
"delete cluster") rm $STATE/cluster;;
*) exit 9;;
esac"""
KUBECTL = """case "$*" in
"version --client") echo Client Version: v1.35.1;;
*"get nodes "*) cat $STATE/nodes.json;;
*"get leases "*) cat $STATE/leases.json;;
*healthz*) echo '{"healthy": true}';;
*k8s-app=kube-dns*) echo coredns-1;;
*"proxy/ready"*|*readyz*) echo ok;;
*) exit 9;;
esac"""
FORBIDDEN = ("go", "apt-get", "sudo", "debootstrap", "dockerd")


def node(name: str) -> dict[str, object]:
    info = {"kubeletVersion": versions.KUBERNETES, "containerRuntimeVersion": "containerd://2"}
    status = {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": info}
    return {"metadata": {"name": name}, "spec": {"podCIDR": "10.0.0.0/24"}, "status": status}


class Machine:
    """A faked machine; its programs write a line per call to `calls`."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.state = folder / "programs", folder / "state"
        for made in (self.programs, self.state):
            made.mkdir()
        self.calls_file = self.state / "calls"
        self.calls_file.touch()
        lease = {"spec": {"renewTime": "2999-01-01T00:00:00.000000Z"}}
        leases = [{"metadata": {"name": name}, **lease} for name in NODES]
        (self.state / "nodes.json").write_text(json.dumps({"items": [*map(node, NODES)]}))
        (self.state / "leases.json").write_text(json.dumps({"items": leases}))
        self.program("docker", DOCKER)
        self.program("kind", KIND)
        self.program("kubectl", KUBECTL)
        self.program("helm", "echo v4.1.0+g1")
        for name in FORBIDDEN:
            self.program(name, "exit 9")

    def program(self, name: str, body: str) -> None:
        file = self.programs / name
        file.write_text(
            f'#!/bin/sh\nSTATE={self.state}\necho "{name} $*" >> {self.calls_file}\n{body}\n'
        )
        file.chmod(0o755)

    def calls(self, start: str) -> list[str]:
        return [line for line in self.calls_file.read_text().splitlines() if line.startswith(start)]


@pytest.fixture(params=["Darwin", "Linux"])
def fake(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Machine:
    made = Machine(tmp_path)
    # Without the other programs of this machine: only what the fakes and sh need.
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "touch", "rm"):
        (tools / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", f"{made.programs}:{tools}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("NANOGRID_CLUSTER", "KUBECONFIG", "DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    uname = SimpleNamespace(system=request.param, machine="arm64")
    monkeypatch.setattr(platform, "uname", lambda: uname)
    monkeypatch.setattr(os, "geteuid", lambda: 501)
    return made


def test_a_cluster_lives_and_ends_without_builds(
    fake: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    here = paths()

    commands.up()
    commands.load(["nanogrid-operator:1"])
    commands.env()
    exports = capsys.readouterr().out

    (created,) = fake.calls("kind create")
    assert f"--image {versions.PUBLISHED_NODE_IMAGE}" in created
    assert len(fake.calls("kind load docker-image nanogrid-operator:1")) == 1
    assert f"export KUBECONFIG={here.kubeconfig}" in exports
    assert "DOCKER_HOST" not in exports
    assert not here.bin.exists(), "the programs of PATH are used"
    commands.up()
    assert len(fake.calls("kind create")) == 1, "the cluster is used again"
    commands.down(purge=True)
    assert len(fake.calls("kind delete")) == 1
    assert not here.root.exists()
    assert [call for name in FORBIDDEN for call in fake.calls(f"{name} ")] == []


def test_the_base_is_the_published_one_and_wheels_are_those_of_the_engine(
    fake: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.base()

    assert capsys.readouterr().out.strip() == versions.PUBLISHED_BASE_IMAGE
    assert wheel_platform(machine.engine_platform(os.environ)) == "aarch64-manylinux_2_28"


def test_an_old_kind_is_built_again_and_said(
    fake: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.program("kind", "echo kind v0.20.0")
    built: list[str] = []

    def clients(here: Paths, *programs: object) -> None:
        built.extend(getattr(program, "name", "") for program in programs)
        here.bin.mkdir(parents=True)
        (here.bin / "kind").write_text(f"#!/bin/sh\nSTATE={fake.state}\n{KIND}\n")
        (here.bin / "kind").chmod(0o755)

    monkeypatch.setattr("cluster.gobuild.clients", clients)

    commands.up()

    assert built == ["kind"]
    assert "kind on PATH is 0.20.0, and 0.33 or later is needed" in capsys.readouterr().err
    assert (fake.state / "cluster").exists()


def test_an_engine_that_is_not_permitted_ends_with_what_to_do(fake: Machine) -> None:
    fake.program("docker", "echo permission denied >&2; exit 1")

    for command in (commands.up, commands.base):
        with pytest.raises(UsageError, match="sudo usermod -aG docker"):
            command()
    assert ways.recall(paths()) is None


def test_an_old_python_is_refused_with_what_to_do() -> None:
    code = "import sys; sys.version_info = (3, 9, 6); import cluster"
    folder = Path(commands.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "Python 3.11 or later is required" in done.stderr
    assert "make TARGET PYTHON=python3.13" in done.stderr
