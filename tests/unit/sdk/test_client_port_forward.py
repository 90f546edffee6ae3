"""Port-forwards with a kubectl that works, fails at first, always fails, or is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nanogrid.client import Cluster, NotConfigured, Unreachable, port_forward
from support.client_server import FakeApi

GOOD = 'echo $$ > "$0.pid"; echo "Forwarding from 127.0.0.1:4321 -> 8080"; exec sleep 60'
BAD = "echo 'error: unable to forward: pod is not running' >&2; exit 1"


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho "$@" >> "$0.args"\n{script}\n')
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return kubectl


def cluster() -> Cluster:
    """The port-forward uses only its address."""
    server = FakeApi()
    server.server_close()
    return server.cluster()


def alive(kubectl: Path) -> bool:
    return Path(f"/proc/{Path(f'{kubectl}.pid').read_text().strip()}").exists()


def test_the_process_ends_with_the_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl = install(tmp_path, monkeypatch, GOOD)
    with port_forward(cluster(), "ns", "svc/router", 8080) as port:
        assert port == 4321
        assert Path(f"{kubectl}.args").read_text().split() == [
            "--namespace", "ns", "port-forward", "--address=127.0.0.1", "svc/router", ":8080",
        ]  # fmt: skip
    assert not alive(kubectl)


def test_a_port_forward_is_retried_while_the_pod_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = f'if [ ! -e "$0.once" ]; then touch "$0.once"; {BAD}; fi; {GOOD}'
    kubectl = install(tmp_path, monkeypatch, late)
    with port_forward(cluster(), "ns", "svc/router", 8080) as port:
        assert port == 4321
    assert not alive(kubectl)


def test_the_error_has_the_message_of_kubectl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, BAD)
    with (
        pytest.raises(Unreachable, match="pod is not running"),
        port_forward(cluster(), "ns", "svc/router", 8080, ready_seconds=1),
    ):
        pytest.fail("nothing is forwarded")


def test_an_error_inside_the_context_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl = install(tmp_path, monkeypatch, GOOD)
    with pytest.raises(KeyError), port_forward(cluster(), "ns", "svc/r", 1):
        raise KeyError("mine")
    assert not alive(kubectl)


def test_a_missing_kubectl_has_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(NotConfigured, match="kubectl"),
        port_forward(cluster(), "ns", "svc/router", 8080),
    ):
        pytest.fail("kubectl is missing")


SCRIPT = """
import os, sys
from nanogrid.client import Cluster, port_forward
from nanogrid.client.kube.connection import Connection

cluster = Cluster(Connection("http://127.0.0.1:1", None, "ns", None, False))
forward = port_forward(cluster, "ns", "svc/router", 8080)
print(forward.__enter__())
"""
CHATTY = (
    'echo $$ > "$0.pid"; echo "Forwarding from 127.0.0.1:4321 -> 8080"; '
    'while true; do echo "Handling connection for 4321"; sleep 0.01; done'
)
ENDS = {
    "the end of the script": ("", 0, ""),
    "sys.exit": ("sys.exit(3)", 3, ""),
    "an error": ("raise KeyError('mine')", 1, "KeyError: 'mine'"),
    "a fork": ("os.fork() or sys.exit(0)\nos.wait()\nos.kill(int(open(pid).read()), 0)", 0, ""),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kubectl_script", [GOOD, CHATTY], ids=["silent", "chatty"])
def test_a_script_that_closes_nothing_ends_normally_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, kubectl_script: str
) -> None:
    kubectl = install(tmp_path, monkeypatch, kubectl_script)
    last, status, error = ENDS[end]
    script = f"pid = {str(kubectl)!r} + '.pid'\n{SCRIPT}\n{last}\n"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stderr
    assert set(done.stdout.split()) == {"4321"}
    assert error in done.stderr if error else not done.stderr
    assert not alive(kubectl)
