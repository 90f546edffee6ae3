"""Code with an allow-list has a network when its egress proxy accepts connections of the pod."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nanogrid import names
from nanogrid_executor.paths import Paths
from support.executor_pod import Pod, operator, running
from support.gate_ports import Port
from support.held_launcher import CANNOT_HOLD, PLATFORM
from support.s3_server import make_task
from support.session_pod import session_pod, session_task
from support.waiting import wait_until

pytestmark = pytest.mark.integration

UID = "0b6d"  # of the tests' tasks
# The network may be opened too early: time to see it.
TOO_EARLY_SECONDS = 0.5
CONNECTS = """
import os, socket
open("started", "w").close()
host, port = os.environ["https_proxy"].rpartition("@")[2].split(":")
socket.create_connection((host, int(port)), 30).close()
print("connected")
"""
HOLDS = pytest.param(
    None, marks=pytest.mark.skipif(not PLATFORM, reason="there is no filter for it"), id="held"
)
either_way = pytest.mark.parametrize("python", [HOLDS, pytest.param(CANNOT_HOLD, id="not held")])


@pytest.fixture
def proxy() -> Iterator[Port]:
    """A proxy that does not accept connections yet."""
    port = Port()
    yield port
    port.close()


def env_of(proxy: Port) -> dict[str, str]:
    return {names.ENV_HTTPS_PROXY: f"http://{UID}:allow-list@127.0.0.1:{proxy.number}"}


def await_log(pod: Pod, text: str) -> str:
    """Read the agent's log up to a line with this text."""
    assert pod.agent.stdout is not None
    read = ""
    for line in pod.agent.stdout:
        read += line.decode()
        if text in read:
            return read
    raise AssertionError(read)


def await_proven_network(pod: Pod, denied: Port) -> None:
    """Wait until the code has started, if it can, and its network is proven."""
    read = await_log(pod, "network-held problem=")
    if "problem=no" in read:
        wait_until(lambda: os.path.exists(f"{pod.paths.workspace}/started"))
    denied.close()
    await_log(pod, "network-gate port=closed")


@contextmanager
def refused_by_its_proxy(
    paths: Paths, launcher_dir: str, denied: Port, proxy: Port, python: list[str] | None
) -> Iterator[Pod]:
    """A pod whose network is proven for a while, and whose proxy does not accept it."""
    denied.open()
    task = make_task(code_inline=CONNECTS, gate_port=denied.number, env=env_of(proxy))
    with (
        operator() as endpoint,
        running(task, paths, launcher_dir, url=endpoint.url, python=python) as pod,
    ):
        await_proven_network(pod, denied)
        time.sleep(TOO_EARLY_SECONDS)
        yield pod


@either_way
def test_code_does_not_see_that_its_proxy_refuses_the_pod_at_first(
    paths: Paths, launcher_dir: str, denied: Port, proxy: Port, python: list[str] | None
) -> None:
    with refused_by_its_proxy(paths, launcher_dir, denied, proxy, python) as pod:
        proxy.open()
        ended = pod.wait()
    assert (ended.result.status, ended.result.stdout) == ("SUCCESS", "connected\n"), ended.result
    assert re.search(r" egress-proxy-first-connection millis=\d+ error=none ", ended.agent_log)


def test_code_starts_after_the_proxy_accepts_where_the_network_is_not_tested(
    paths: Paths, launcher_dir: str, proxy: Port
) -> None:
    with operator() as endpoint:
        task = make_task(code_inline=CONNECTS, env=env_of(proxy))
        with running(task, paths, launcher_dir, url=endpoint.url) as pod:
            await_log(pod, "agent-listening")
            time.sleep(TOO_EARLY_SECONDS)
            proxy.open()
            ended = pod.wait()
    assert (ended.result.status, ended.result.stdout) == ("SUCCESS", "connected\n"), ended.result


def test_a_proxy_that_never_accepts_is_left_to_the_code(
    paths: Paths, launcher_dir: str, denied: Port, proxy: Port
) -> None:
    """It waits for its 10 s."""
    task = make_task(code_inline=CONNECTS, gate_port=denied.number, env=env_of(proxy))
    with (
        operator() as endpoint,
        running(task, paths, launcher_dir, url=endpoint.url) as pod,
    ):
        ended = pod.wait()
    assert (ended.result.status, ended.result.reason) == ("FAILED", "NonZeroExit")
    assert "ConnectionRefusedError" in ended.result.stderr
    assert re.search(r" egress-proxy-first-connection millis=\d+ error=.*refused", ended.agent_log)


@either_way
def test_a_pod_that_stops_does_not_wait_for_the_proxy(
    paths: Paths, launcher_dir: str, denied: Port, proxy: Port, python: list[str] | None
) -> None:
    with refused_by_its_proxy(paths, launcher_dir, denied, proxy, python) as pod:
        pod.agent.terminate()
        ended = pod.wait()
    assert (ended.result.reason, ended.result.stdout) == ("Terminated", "")
    # The first is of code that has started, the second of code that has not.
    waits = r" (?:network-gate-waited|egress-proxy-first-connection) millis=(\d+) "
    found = re.findall(waits, ended.agent_log)
    assert found, ended.agent_log
    assert max(int(millis) for millis in found) < 10_000


def test_a_session_takes_no_execution_before_its_proxy_accepts(
    paths: Paths, launcher_dir: str, proxy: Port
) -> None:
    with operator() as endpoint:
        task = session_task("s-proxy", bucket="", env=env_of(proxy))
        with session_pod(task, paths, launcher_dir, url=endpoint.url) as pod:
            wait_until(lambda: "sandbox-connected" in pod.log.read_text())
            wait_until(lambda: pod.client.health() == (503, "initializing"))
            time.sleep(TOO_EARLY_SECONDS)
            status, answer = pod.client.ask("POST", "/execute", {"code": "1"})
            assert (status, answer["error"]["reason"]) == (503, "Initializing")
            proxy.open()
            pod.wait_ready()
            assert pod.client.run("print(2)")["stdout"] == "2\n"
