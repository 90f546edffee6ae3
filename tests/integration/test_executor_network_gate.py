"""The gate: code has no network until one port is closed to its pod and another one is open."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid_executor.agent import network_gate, network_probe
from nanogrid_executor.agent.network_gate import (
    Bounds,
    NetworkGate,
    Outcome,
    Ports,
    watch_until_closed,
    watch_until_open,
)
from nanogrid_executor.paths import Paths
from support.executor_pod import Ended, Pod, operator, pod_paths, running
from support.held_launcher import CANNOT_HOLD
from support.s3_server import free_port, make_task
from support.session_pod import session_pod, session_task
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.security]

UNREACHED = Bounds(enforce=60.0, reach=0.6)  # for a results port that does not answer
SHORT = Bounds(enforce=0.6, reach=60.0)
# Prints the times of its start and of its first socket: one clock for all processes of a machine.
TIMES = """
import socket, time
print(time.monotonic(), flush=True)
open("started", "w").close()
socket.socket()
print(time.monotonic(), flush=True)
"""


class Port:
    """A port of this machine that can be open or closed, as policies make it for a pod."""

    def __init__(self) -> None:
        self.number = free_port()
        self.accepted = 0
        self._socket: socket.socket | None = None

    def open(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", self.number), backlog=64)
        threading.Thread(target=self._serve, args=(self._socket,), daemon=True).start()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                listener.accept()[0].close()
                self.accepted += 1
            except OSError:
                return  # closed


@pytest.fixture
def denied() -> Iterator[Port]:
    port = Port()
    yield port
    port.close()


@pytest.fixture
def results() -> Iterator[Port]:
    port = Port()
    yield port
    port.close()


def wait_at_gate(paths: Paths, denied: Port) -> None:
    """Wait until the launcher is connected and the agent has found the port open since."""
    wait_until(lambda: denied.accepted > 2)
    wait_until(lambda: Path(paths.run_dir).exists() and not Path(paths.socket).exists())
    before = denied.accepted
    wait_until(lambda: denied.accepted > before + 2)


def ports_of(results: Port, denied: Port) -> Ports:
    return Ports("127.0.0.1", results.number, denied.number)


def gate_of(results: Port, denied: Port, bounds: Bounds = SHORT) -> NetworkGate:
    gate = NetworkGate(f"http://127.0.0.1:{results.number}/v1/results", denied.number, bounds)
    gate.start()
    return gate


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


def close_the_port(pod: Pod, denied: Port) -> tuple[float, list[float], Ended]:
    """Close it while code that prints TIMES waits; when, the times, and the end."""
    wait_at_gate(pod.paths, denied)
    assert pod.sandbox.poll() is None
    closed_at = time.monotonic()
    denied.close()
    ended = pod.wait()
    assert ended.result.status == "SUCCESS", ended.agent_log
    return closed_at, [float(line) for line in ended.result.stdout.split()], ended


def test_code_starts_at_once_and_has_a_network_when_the_denied_port_closes(
    paths: Paths, launcher_dir: str, denied: Port
) -> None:
    denied.open()
    with operator() as endpoint:
        task = make_task(code_inline=TIMES, gate_port=denied.number)
        with running(task, paths, launcher_dir, url=endpoint.url) as pod:
            wait_until(lambda: os.path.exists(f"{paths.workspace}/started"))
            closed_at, (started_at, socket_at), ended = close_the_port(pod, denied)
    assert started_at < closed_at < socket_at
    assert " network-held problem=no " in ended.agent_log


def test_where_the_launcher_cannot_hold_the_network_code_starts_when_the_port_closes(
    paths: Paths, launcher_dir: str, denied: Port
) -> None:
    denied.open()
    with operator() as endpoint:
        task = make_task(code_inline=TIMES, gate_port=denied.number)
        with running(task, paths, launcher_dir, url=endpoint.url, python=CANNOT_HOLD) as pod:
            closed_at, times, ended = close_the_port(pod, denied)
    assert min(times) > closed_at
    assert re.search(r" network-gate-waited millis=\d+ problem=no ", ended.agent_log)


def test_code_without_network_ends_before_the_denied_port_closes(
    paths: Paths, launcher_dir: str, denied: Port
) -> None:
    denied.open()
    with operator() as endpoint:
        task = make_task(code_inline="print('early')", gate_port=denied.number)
        with running(task, paths, launcher_dir, url=endpoint.url) as pod:
            ended = pod.wait()
    assert (ended.result.status, ended.result.stdout) == ("SUCCESS", "early\n"), ended.agent_log
    assert "network-gate port=" not in ended.agent_log


def test_a_closed_port_delays_nothing(run: Any, denied: Port) -> None:
    with operator() as endpoint:
        ended = run(TIMES, url=endpoint.url, gate_port=denied.number)
    assert ended.result.status == "SUCCESS"
    found = re.search(r"network-gate port=closed millis=(\d+)", ended.agent_log)
    assert found is not None
    assert int(found[1]) < 1000 * Bounds().enforce


def test_where_the_network_never_holds_a_job_gets_none_and_a_session_ends(
    paths: Paths, launcher_dir: str, denied: Port, tmp_path: Path
) -> None:
    """Both wait for their 15 s at the same time."""
    denied.open()
    passed = tmp_path / "passed"
    code = f"{TIMES}\nopen({str(passed)!r}, 'w')"
    job = make_task(code_inline=code, gate_port=denied.number)
    session = session_task("s-gate-2", bucket="", gate_port=denied.number)
    with (
        operator() as endpoint,
        pod_paths() as others,
        running(job, paths, launcher_dir, url=endpoint.url) as pod,
        session_pod(session, others, launcher_dir, url=endpoint.url) as session_,
    ):
        ended = pod.wait()
        report = session_.wait_end()
    assert (ended.result.status, ended.result.reason) == ("FAILED", "NetworkNotEnforced")
    assert f"127.0.0.1:{denied.number}, which its policies deny" in ended.result.message
    assert (ended.result.exit_code, ended.result.stdout) == (None, "")
    assert os.path.exists(f"{paths.workspace}/started")
    assert not passed.exists()
    assert (report.result.status, report.result.reason) == ("FAILED", "NetworkNotEnforced")
    assert report.result.executions == 0


def test_a_pod_that_stops_does_not_wait(paths: Paths, launcher_dir: str, denied: Port) -> None:
    denied.open()
    with operator() as endpoint:
        task = make_task(code_inline=TIMES, gate_port=denied.number)
        with running(task, paths, launcher_dir, url=endpoint.url) as pod:
            wait_until(lambda: os.path.exists(f"{paths.workspace}/started"))
            wait_at_gate(paths, denied)
            pod.agent.terminate()
            ended = pod.wait()
    assert (ended.result.reason, ended.result.signal) == ("Terminated", "SIGTERM")
    assert len(ended.result.stdout.split()) == 1


def test_a_pod_that_stops_before_its_code_starts_does_not_wait(
    paths: Paths, launcher_dir: str, denied: Port
) -> None:
    denied.open()
    with operator() as endpoint:
        task = make_task(code_inline=TIMES, gate_port=denied.number)
        with running(task, paths, launcher_dir, url=endpoint.url, python=CANNOT_HOLD) as pod:
            wait_at_gate(paths, denied)
            pod.agent.terminate()
            ended = pod.wait()
    assert (ended.result.reason, ended.result.stdout) == ("Terminated", "")


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
