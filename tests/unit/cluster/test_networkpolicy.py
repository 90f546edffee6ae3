"""The NetworkPolicy engine: its patched build, its files, and its state."""

from __future__ import annotations

import base64
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster import commands, gobuild, networkpolicy, report, ways
from cluster.engine import Engine
from cluster.kindcluster import KindCluster
from cluster.paths import Paths
from cluster.steps import ClusterError, CommandFailed

NODES = ["nanogrid-control-plane", "nanogrid-worker"]
FILES = networkpolicy.FILES
PATCH = """--- a/x.go
+++ b/x.go
@@ -1,2 +1,2 @@
 package x
-// old
+// new
"""


@dataclass(frozen=True)
class Nodes(Engine):
    """An engine that records what runs in the nodes; the nodes in ``broken`` fail."""

    host: str | None = None
    ours: bool = True
    can_pull: bool = False
    broken: tuple[str, ...] = ()
    calls: list[tuple[str, ...]] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)

    def docker(self, *args: str, timeout: float = 60, stdin: str | None = None) -> str:
        self.calls.append(args)
        if stdin is not None:
            self.inputs.append(stdin)
        if "-s" in args and set(self.broken) & set(args):
            raise CommandFailed("exit status 3: docker exec\ncurl: (7) Failed to connect")
        return ""


class Api:
    """kubectl whose token Secret is empty at the first read."""

    def __init__(self) -> None:
        self.tokens = ["", base64.b64encode(b"the-token").decode()]
        self.applied: list[str] = []

    def __call__(self, *args: str, timeout: float = 20) -> str:
        if args[0] == "apply":
            self.applied.append(args[-1])
            return ""
        return self.tokens.pop(0)


def patched_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sources: str
) -> gobuild.Program:
    """A program whose module has one file and whose patch changes that file."""
    (tmp_path / "go" / "x").mkdir(parents=True)
    (tmp_path / "go" / "x" / "new.patch").write_text(PATCH)
    (tmp_path / "module").mkdir()
    (tmp_path / "module" / "x.go").write_text(sources)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(gobuild, "SOURCE", tmp_path)
    monkeypatch.setattr(gobuild, "module_sources", lambda here, module: tmp_path / "module")
    # Prints the source that it is called in instead of compiling it.
    go = tmp_path / "go-command"
    copy = 'while [ "$1" != -o ]; do shift; done\ncp x.go "$2"\n'
    go.write_text(f'#!/bin/sh\n[ "$1" = build ] || exit 0\n{copy}')
    go.chmod(0o755)
    monkeypatch.setattr(gobuild, "go_command", lambda here: go)
    return gobuild.Program("x", ("example.org/x",), "v1", patched="example.org/x")


needs_patch = pytest.mark.skipif(shutil.which("patch") is None, reason="needs the command patch")


@needs_patch
def test_patched_sources_are_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = patched_program(monkeypatch, tmp_path, "package x\n// old\n")
    built = gobuild.build(program)
    assert [file.name for file in built.iterdir()] == ["x"]
    assert (built / "x").read_text() == "package x\n// new\n"
    assert (tmp_path / "module" / "x.go").read_text() == "package x\n// old\n"


@needs_patch
def test_patch_that_does_not_fit_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = patched_program(monkeypatch, tmp_path, "package x\n// another version\n")
    with pytest.raises(ClusterError, match="step 'x' failed"):
        gobuild.build(program)


def test_patch_changes_the_cache_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = patched_program(monkeypatch, tmp_path, "")
    before = program.key
    (tmp_path / "go" / "x" / "new.patch").write_text(PATCH.replace("new", "newer"))
    assert program.key != before
    assert gobuild.KUBE_ROUTER.patched is not None
    assert gobuild.HELM.patches == []


def test_nodes_get_all_files_with_their_modes_and_an_enabled_service(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(0o700)
    (tmp_path / "kube-router").write_text("binary")
    networkpolicy.fill(root, tmp_path / "kube-router")

    assert root.stat().st_mode & 0o777 == 0o755, "docker cp gives the node's root this mode"
    modes = {
        str(path.relative_to(root)): path.stat().st_mode & 0o777
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    assert modes == {
        "usr/local/bin/kube-router": 0o755,
        "usr/local/sbin/configure-network-policy": 0o755,
        "usr/local/sbin/wait-for-address": 0o755,
        "etc/systemd/system/kube-router.service": 0o644,
        "etc/nanogrid/network-policy.version": 0o644,
    }
    wants = root / "etc/systemd/system/multi-user.target.wants"
    assert [link.name for link in wants.iterdir()] == [networkpolicy.UNIT]
    assert all(link.resolve().is_file() for link in wants.iterdir())


def test_service_names_only_files_that_nodes_get() -> None:
    paths = {f"/{directory}/{name}" for name, directory in networkpolicy.TARGETS.items()}
    paths |= {"/usr/local/bin/kube-router", "/usr/sbin/sysctl"}
    lines = (FILES / networkpolicy.UNIT).read_text().splitlines()
    commands = [line.partition("=")[2] for line in lines if line.startswith("ExecStart")]
    assert commands
    assert {command.lstrip("-").split()[0] for command in commands} <= paths


def start(nodes: Nodes, api: Api, tmp_path: Path) -> None:
    (tmp_path / "kube-router").write_text("binary")
    networkpolicy.configure(nodes, api, NODES, tmp_path / "kube-router")  # type: ignore[arg-type]


def test_every_node_gets_the_files_and_the_token_and_is_checked(tmp_path: Path) -> None:
    nodes, api = Nodes(), Api()
    start(nodes, api, tmp_path)
    assert api.applied == [str(FILES / "rbac.yaml")]
    for node in NODES:
        copied, started, checked = (
            call for call in nodes.calls if node in call or f"{node}:/" in call
        )
        assert copied[0] == "cp"
        assert started[-1] == "configure-network-policy"
        assert checked[-2:] == ("-s", networkpolicy.version())
    assert nodes.inputs.count("the-token") == len(NODES)


def test_node_that_does_not_enforce_fails_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(networkpolicy, "START_SECONDS", 0)
    with pytest.raises(ClusterError, match="no NetworkPolicy engine") as caught:
        start(Nodes(broken=(NODES[1],)), Api(), tmp_path)
    assert "Failed to connect" in str(caught.value)
    assert NODES[0] not in str(caught.value)


def test_state_names_the_problem_of_each_node() -> None:
    state = networkpolicy.state(Nodes(broken=(NODES[1],)), NODES)
    assert state == {NODES[0]: None, NODES[1]: "curl: (7) Failed to connect"}
    assert networkpolicy.state(Nodes(), []) == {}


def test_cluster_is_healthy_only_if_every_node_enforces(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = Paths(tmp_path, "test")
    here.state.mkdir(parents=True)
    here.kubeconfig.write_text("")

    def healthy(own_network: bool, *broken: str) -> bool:
        cluster = KindCluster(here, Nodes(broken=broken), own_network)
        names = [*NODES, "nanogrid-worker2"]
        monkeypatch.setattr(cluster, "containers", lambda: dict.fromkeys(names, "running"))
        monkeypatch.setattr(cluster.kubectl, "healthy", lambda *_: True)
        return cluster.healthy()

    assert healthy(True)
    assert not healthy(True, NODES[1])
    assert healthy(False, NODES[1]), "kind's own network needs no engine"


def test_failed_build_of_the_engine_changes_no_cluster(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Unhealthy:
        def healthy(self) -> bool:
            return False

        def complete(self) -> bool:
            return True

    def fail(program: gobuild.Program) -> Path:
        raise ClusterError(f"cannot build {program.name}")

    here = Paths(tmp_path, "test")
    chosen = ways.Chosen(way="build", docker_host=None, ours=True)
    ways.remember(here, chosen)
    monkeypatch.setattr(commands, "_cluster", lambda *_: Unhealthy())
    monkeypatch.setattr(ways, "start_engine", lambda *_: None)
    monkeypatch.setattr(gobuild, "clients", lambda *_: None)
    monkeypatch.setattr(gobuild, "build", fail)
    with pytest.raises(ClusterError, match="cannot build kube-router"):
        commands._own_cluster(here, images=False)


def test_status_shows_who_enforces() -> None:
    assert report.policy_lines("build", dict.fromkeys(NODES)) == [
        "policies: enforced by kube-router on 2 of 2 nodes"
    ]
    lines = report.policy_lines("build", {NODES[0]: None, NODES[1]: "inactive"})
    assert lines[0].endswith("on 1 of 2 nodes")
    assert lines[1].strip() == f"{NODES[1]}: inactive"
    assert "kind's own" in report.policy_lines("pull", None)[0]
    assert "nothing is installed" in report.policy_lines("kubeconfig", None)[0]
    assert report.policy_lines(None, None) == []
