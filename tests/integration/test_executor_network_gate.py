"""The gate: code has no network until one port is closed to its pod and another one is open."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nanogrid import names
from nanogrid_executor.agent import network_gate, network_probe
from nanogrid_executor.agent.network_gate import (
    Bounds,
    NetworkGate,
    Outcome,
    watch_until_closed,
    watch_until_open,
)
from nanogrid_executor.paths import Paths
from support.executor_pod import operator
from support.gate_ports import SHORT, UNREACHED, Port, gate_of, ports_of
from support.session_pod import session_pod, session_task
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.security]


@pytest.mark.parametrize("order", [["127.0.0.1", "::1"], ["::1", "127.0.0.1"]])
def test_the_denied_port_must_be_closed_at_all_addresses(
    results: Port, denied: Port, monkeypatch: pytest.MonkeyPatch, order: list[str]
) -> None:
    """The operator's name has an address of each family, and each has both ports."""
    monkeypatch.setattr(network_gate, "resolve", lambda *_: order)
    results.open()
    family = socket.AF_INET6
    with (
        socket.create_server(("::1", results.number), family=family),
        socket.create_server(("::1", denied.number), family=family) as left_open,
    ):
        assert watch_until_closed(ports_of(results, denied), SHORT) is Outcome.OPEN
        assert watch_until_open(ports_of(results, denied), SHORT) is Outcome.OPEN
        left_open.close()
        assert watch_until_closed(ports_of(results, denied), SHORT) is Outcome.CLOSED


def test_a_session_takes_no_execution_before_its_network_holds(
    paths: Paths, launcher_dir: str, denied: Port
) -> None:
    denied.open()
    with operator() as endpoint:
        task = session_task("s-gate", bucket="", gate_port=denied.number)
        with session_pod(task, paths, launcher_dir, url=endpoint.url) as pod:
            wait_until(lambda: "sandbox-connected" in pod.log.read_text())
            wait_until(lambda: pod.client.health() == (503, "initializing"))
            status, answer = pod.client.ask("POST", "/execute", {"code": "1"})
            assert (status, answer["error"]["reason"]) == (503, "Initializing")
            denied.close()
            pod.wait_ready()
            assert pod.client.run("print(2)")["stdout"] == "2\n"


def test_the_gate_opens_only_if_the_results_port_answers(results: Port, denied: Port) -> None:
    assert "did not reach" in gate_of(results, denied, UNREACHED).wait()
    results.open()
    assert gate_of(results, denied).wait() == ""
    denied.open()
    assert "still reached" in gate_of(results, denied).wait()


def test_an_operator_that_is_away_for_a_while_closes_no_gate(results: Port, denied: Port) -> None:
    gate = gate_of(results, denied, Bounds(enforce=0.6, reach=60.0))
    time.sleep(0.7)  # more than the time for policies, which has not begun
    results.open()
    assert gate.wait() == ""


def test_a_pod_has_a_network_when_the_results_port_answers(results: Port, denied: Port) -> None:
    """The agent stores what fast code has made: it waits for packets, not for the proof."""
    denied.open()
    gate = gate_of(results, denied, Bounds(enforce=60.0, reach=60.0))
    looks: list[bool] = []
    gate.wait_reachable(lambda: looks.append(True) is None and len(looks) > 2)
    assert len(looks) > 2
    results.open()
    gate.wait_reachable(lambda: False)
    assert not gate.decided


def test_a_gate_calls_back_once_it_is_decided(results: Port, denied: Port) -> None:
    results.open()
    denied.open()
    gate = gate_of(results, denied, Bounds(enforce=60.0, reach=60.0))
    given: list[str] = []
    gate.then(given.append)
    assert not gate.decided
    denied.close()
    wait_until(lambda: given)
    gate.then(given.append)
    assert given == ["", ""]
    assert gate.wait() == ""


def test_a_gate_without_a_port_is_open_and_one_without_an_address_is_not() -> None:
    assert NetworkGate("", None).wait() == ""
    assert names.ENV_RESULTS_URL in NetworkGate("", 8081).wait()


def test_a_probe_pod_sees_what_its_policies_allow(results: Port, denied: Port) -> None:
    ports = ports_of(results, denied)
    allowed, denying = names.PROBE_ALLOWED, names.PROBE_DENIED
    assert network_probe.probe(denying, ports, UNREACHED) is Outcome.UNREACHABLE
    assert network_probe.probe(allowed, ports, UNREACHED) is Outcome.UNREACHABLE
    results.open()
    assert network_probe.probe(denying, ports, SHORT) is Outcome.CLOSED
    denied.open()
    assert network_probe.probe(denying, ports, SHORT) is Outcome.OPEN
    assert network_probe.probe(allowed, ports, SHORT) is Outcome.OPEN


def test_a_probe_pod_writes_what_it_saw(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, results: Port, denied: Port
) -> None:
    monkeypatch.setattr(network_probe, "BOUNDS", SHORT)
    monkeypatch.setattr(names, "RESULTS_PORT", results.number)
    monkeypatch.setattr(names, "DENIED_PORT", denied.number)
    results.open()
    assert network_probe.main(names.PROBE_DENIED, "127.0.0.1", paths) == 0
    written = Path(paths.real(names.TERMINATION_FILE)).read_text()
    assert json.loads(written) == {"port": "closed", "detail": ""}


def test_the_launcher_for_another_image_is_installed_before_the_network_is_awaited(
    tmp_path: Path, denied: Port
) -> None:
    target = tmp_path / "launcher"
    with operator() as endpoint:
        env = {**os.environ, names.ENV_RESULTS_URL: endpoint.url}
        command = [sys.executable, "-m", "nanogrid_executor", "install-launcher", str(target)]
        done = subprocess.run(
            [*command, "--gate-port", str(denied.number)], env=env, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert (target / "__main__.py").exists()
    assert "network-gate port=closed" in done.stdout
