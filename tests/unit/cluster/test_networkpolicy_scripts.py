"""The scripts that run in the nodes for the NetworkPolicy engine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cluster.networkpolicy import FILES


class Script:
    """A script of the node, with stubs for the programs that it calls."""

    def __init__(self, directory: Path, name: str) -> None:
        self.bin = directory / "bin"
        self.bin.mkdir()
        text = (FILES / name).read_text()
        text = text.replace("/etc/nanogrid/", f"{directory}/")
        self.path = directory / name
        self.path.write_text(text)

    def stub(self, name: str, body: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.bin / name).chmod(0o755)

    def run(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{self.bin}:{os.environ['PATH']}"}
        command: list[Any] = ["sh", self.path, *args]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=env, timeout=20
        )


@pytest.mark.parametrize(("reported", "ready"), [("172.18.0.3", True), ("172.18.0.2", False)])
def test_engine_waits_until_the_nodes_address_is_current(
    tmp_path: Path, reported: str, ready: bool
) -> None:
    script = Script(tmp_path, "wait-for-address")
    script.stub("kubectl", f"echo {reported}")
    script.stub("hostname", '[ "$1" = -I ] && echo "172.18.0.3 10.244.1.1 " || echo node')
    done = script.run()
    assert (done.returncode == 0) is ready
    assert ready or reported in done.stdout


def test_engine_waits_while_the_api_server_does_not_answer(tmp_path: Path) -> None:
    script = Script(tmp_path, "wait-for-address")
    script.stub("kubectl", "exit 1")
    script.stub("hostname", "echo 172.18.0.3")
    assert script.run().returncode != 0


@pytest.mark.parametrize(
    ("stub", "problem"),
    [
        ("true", ""),
        ("systemctl", "does not run"),
        ("curl", "curl failed"),
    ],
)
def test_check_names_the_part_that_fails(tmp_path: Path, stub: str, problem: str) -> None:
    script = Script(tmp_path, "check")
    (tmp_path / "network-policy.version").write_text("v1")
    for name in ("systemctl", "curl"):
        failure = "echo curl failed >&2; exit 7" if name == "curl" else "exit 3"
        script.stub(name, failure if name == stub else "exit 0")
    done = script.run("v1")
    assert (done.returncode == 0) is (problem == "")
    assert problem in done.stderr


def test_check_refuses_another_version_and_a_node_without_the_engine(tmp_path: Path) -> None:
    script = Script(tmp_path, "check")
    assert "not installed" in script.run("v1").stderr
    (tmp_path / "network-policy.version").write_text("v0")
    assert "make cluster-up replaces it" in script.run("v1").stderr
