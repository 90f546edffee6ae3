"""Code of a job starts before its network is proven, and has no network until then."""

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid_executor.agent.network_gate import Bounds
from nanogrid_executor.paths import Paths
from support.executor_pod import Ended, Pod, operator, pod_paths, running
from support.gate_ports import Port, wait_at_gate
from support.held_launcher import CANNOT_HOLD, PLATFORM
from support.s3_server import make_task
from support.session_pod import session_pod, session_task
from support.waiting import wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.security,
    pytest.mark.skipif(not PLATFORM, reason="there is no filter for it"),
]

# Prints the times of its start and of its first socket: one clock for all processes of a machine.
TIMES = """
import socket, time
print(time.monotonic(), flush=True)
open("started", "w").close()
socket.socket()
print(time.monotonic(), flush=True)
"""


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
    assert re.search(r" network-gate-waited millis=[1-9]\d* problem=no ", ended.agent_log)


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
    """Both wait for their 30 s at the same time. A proxy that accepts connections opens nothing."""
    denied.open()
    passed = tmp_path / "passed"
    code = f"{TIMES}\nopen({str(passed)!r}, 'w')"
    proxy = {names.ENV_HTTPS_PROXY: f"http://0b6d:allow-list@127.0.0.1:{denied.number}"}
    job = make_task(code_inline=code, gate_port=denied.number, env=proxy)
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
