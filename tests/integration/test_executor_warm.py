"""A pool's pod outside of a cluster: agent and launcher wait, and a server hands a job over."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names, result_auth, wire
from nanogrid.reasons import Reason
from nanogrid_executor.agent.execution import Sandbox
from nanogrid_executor.agent.network_gate import Bounds
from nanogrid_executor.agent.warm import Problem, WarmAgent
from nanogrid_executor.launcher import frames
from nanogrid_executor.paths import Paths
from support.executor_pod import WAIT_SECONDS, Ended, Pod, pod_paths, waiting
from support.executor_sync import make_code, make_input, zipped
from support.fake_s3 import Content, fake_s3_of_a_pod
from support.s3_server import BUCKET, S3Server, free_port, make_rules, make_task
from support.task_server import Answer, TaskServer, task_server
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.security]

RULES = wire.SessionRules(
    idle_timeout_seconds=1.0, max_lifetime_seconds=1.0, execution_timeout_seconds=1.0
)


@pytest.fixture
def server() -> Iterator[TaskServer]:
    with task_server() as running:
        yield running


@pytest.fixture
def warm(paths: Paths, launcher_dir: str, server: TaskServer) -> Iterator[Pod]:
    """A pod that has asked for its job."""
    with waiting(paths, launcher_dir, server.url) as pod:
        wait_until(lambda: server.asked or pod.agent.poll() is not None)
        assert server.asked, pod.agent.communicate()[0].decode()
        yield pod


def run(pod: Pod, server: TaskServer, **changes: Any) -> Ended:
    """Hand a job over, and wait for its end; the operator got its report."""
    server.hand_over(wire.HandOver(task=make_task(**changes), result_key="the-key"))
    ended = pod.wait()
    assert len(server.bodies) == 1
    data = json.loads(server.bodies[0])
    assert result_auth.verify(data["result"], "the-key")
    return ended


def failure_of(pod: Pod, code: int = 1) -> wire.SyncFailure:
    """The termination message of an agent that ended without a report."""
    log = pod.agent.communicate(timeout=WAIT_SECONDS)[0].decode()
    assert pod.agent.returncode == code, log
    message = Path(pod.paths.real(names.TERMINATION_FILE)).read_text()
    return wire.loads(wire.SyncFailure, message)


def test_a_job_runs_in_a_pod_that_waits(warm: Pod, server: TaskServer) -> None:
    assert server.asked[0]["Authorization"] == "Bearer the-token"
    assert os.listdir(warm.paths.workspace) == [], "nothing of a job"
    code = "import os, sys; print(os.environ['X'], sys.stdin.read(), sys.argv)"
    ended = run(warm, server, code_inline=code, env={"X": "1"}, stdin="given")
    assert ended.result.reason == Reason.COMPLETED.value, ended.agent_log
    assert ended.result.stdout == "1 given ['main.py']\n"
    assert ended.sandbox_exit == 0
    line = next(line for line in ended.agent_log.splitlines() if "execution-end" in line)
    assert "job=hello" in line


def test_code_that_fails(warm: Pod, server: TaskServer) -> None:
    ended = run(warm, server, code_inline="raise SystemExit(3)")
    assert (ended.result.reason, ended.result.exit_code) == ("NonZeroExit", 3)
    assert ended.sandbox_exit == 3


def test_code_that_takes_too_long(warm: Pod, server: TaskServer) -> None:
    code = "import time; time.sleep(60)"
    ended = run(warm, server, code_inline=code, execution_timeout_seconds=0.5)
    assert (ended.result.status, ended.result.reason) == ("TIMEOUT", "ExecutionTimeout")


def test_sigterm_stops_the_code_and_is_reported(warm: Pod, server: TaskServer) -> None:
    code = "import time; print('so far'); time.sleep(60)"
    server.hand_over(wire.HandOver(task=make_task(code_inline=code)))
    assert warm.sandbox.stdout is not None
    assert warm.sandbox.stdout.readline() == b"so far\n"
    warm.agent.send_signal(signal.SIGTERM)
    ended = warm.wait()
    assert (ended.result.reason, ended.result.exit_code) == ("Terminated", 143)
    assert ended.report.final


def test_inputs_code_and_outputs_in_s3(s3: S3Server, warm: Pod, server: TaskServer) -> None:
    s3.put("warm/a.txt", b"from s3")
    code = b"open('output/b.txt', 'w').write(open('data/a.txt').read() + '!')"
    s3.put("warm/code.zip", zipped({"main.py": code}))
    ended = run(
        warm,
        server,
        request_id="warm-1",
        bucket=BUCKET,
        inputs=[make_input(key="warm/a.txt")],
        inputs_by_agent=True,
        outputs=make_rules(prefix="outputs/warm-1/"),
        **make_code("warm/code.zip"),
    )
    assert ended.result.reason == Reason.COMPLETED.value, ended.agent_log
    assert s3.get("outputs/warm-1/b.txt") == b"from s3!"
    assert ended.report.inputs is not None
    assert ended.report.inputs.files == 2
    manifest = wire.loads(wire.Manifest, s3.get(names.manifest_object("warm-1")))
    assert manifest.report.files == 2
    stored = wire.loads(wire.Result, s3.get(names.result_object("warm-1")))
    assert stored.reason == Reason.COMPLETED.value


def test_without_its_inputs_the_code_does_not_run(
    s3: S3Server, warm: Pod, server: TaskServer
) -> None:
    changes = {"request_id": "warm-2", "bucket": BUCKET, "inputs_by_agent": True}
    ended = run(warm, server, inputs=[make_input(key="warm/none")], **changes)
    assert ended.result.reason == Reason.INPUT_NOT_FOUND.value
    assert ended.report.final
    assert ended.result.exit_code is None
    assert ended.sandbox_log == b""
    assert os.listdir(warm.paths.workspace) == []
    stored = wire.loads(wire.Result, s3.get(names.result_object("warm-2")))
    assert stored.message == ended.result.message


LOOK = """
import os
print(sorted(os.listdir('.')), os.environ.get('FIRST'))
open('left', 'w').close()
"""


def test_a_second_pod_has_nothing_of_the_first(launcher_dir: str) -> None:
    seen = []
    for env in ({"FIRST": "1"}, {}):
        with (
            pod_paths() as paths,
            task_server() as server,
            waiting(paths, launcher_dir, server.url) as pod,
        ):
            seen.append(run(pod, server, code_inline=LOOK, env=env).result.stdout)
    assert seen == ["['main.py', 'output'] 1\n", "['main.py', 'output'] None\n"]


def test_sigterm_while_it_waits_ends_it_without_a_report(warm: Pod, server: TaskServer) -> None:
    began = time.monotonic()
    warm.agent.send_signal(signal.SIGTERM)
    assert warm.agent.wait(WAIT_SECONDS) == 0
    assert time.monotonic() - began < WAIT_SECONDS / 2, "nothing waits for the operator"
    assert server.bodies == []
    assert not os.path.exists(warm.paths.real(names.TERMINATION_FILE))


def test_sigterm_before_the_launcher_connects(paths: Paths, server: TaskServer) -> None:
    with waiting(paths, "/none", server.url) as pod:
        wait_until(lambda: os.path.exists(paths.socket))
        pod.agent.send_signal(signal.SIGTERM)
        assert pod.agent.wait(WAIT_SECONDS) == 0
    assert server.asked == []


def test_a_launcher_that_ends_ends_the_pod(warm: Pod, server: TaskServer) -> None:
    warm.sandbox.kill()
    failure = failure_of(warm)
    assert failure.reason == Reason.SANDBOX_LOST.value
    assert "ended while the pod waited" in failure.message
    assert server.bodies == []


def test_a_session_is_refused(warm: Pod, server: TaskServer) -> None:
    server.hand_over(wire.HandOver(task=make_task(session=RULES)))
    assert "no session" in failure_of(warm).message
    assert server.bodies == []


def test_an_operator_that_is_away_costs_no_pod(paths: Paths, launcher_dir: str) -> None:
    answers = [Answer(503), Answer(lines=[b"\n"], then="cut"), Answer(401), Answer(lines=[b"{}\n"])]
    with (
        task_server(*answers) as server,
        waiting(paths, launcher_dir, server.url) as pod,
    ):
        assert run(pod, server).result.stdout == "hello\n"
        assert len(server.asked) == 5


def test_without_the_operators_address_there_is_no_pool(paths: Paths, launcher_dir: str) -> None:
    with waiting(paths, launcher_dir, "") as pod:
        assert names.ENV_RESULTS_URL in failure_of(pod).message


def test_a_network_that_is_not_enforced_ends_the_pod(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{free_port()}{names.RESULTS_PATH}"
    monkeypatch.setenv(names.ENV_RESULTS_URL, url)
    task = wire.PoolTask(namespace="default", pool="fast", gate_port=free_port())
    agent = WarmAgent(task, paths, Bounds(enforce=0.1, reach=0.1))
    found: list[Problem | None] = []
    thread = threading.Thread(target=lambda: found.append(agent.run()))
    thread.start()
    wait_until(lambda: os.path.exists(paths.socket))
    with socket.socket(socket.AF_UNIX) as launcher:
        launcher.connect(paths.socket)
        frames.send(launcher, frames.READY)
        thread.join(WAIT_SECONDS)
    (problem,) = found
    assert problem is not None
    assert problem.reason is Reason.NETWORK_NOT_ENFORCED


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"", "the launcher closed the connection"),
        (b"Z\0\0\0\0", "unexpected frame b'Z'"),
        (b"Y\xff\xff\xff\xff", "the maximum is"),
    ],
)
def test_a_launcher_that_is_not_ready_ends_the_pod(sent: bytes, why: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        theirs.shutdown(socket.SHUT_WR)
        assert why in Sandbox(ours).await_ready(WAIT_SECONDS)


def test_a_launcher_that_is_never_ready() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert "not ready after 0.05 s" in Sandbox(ours).await_ready(0.05)
        frames.send(theirs, frames.READY)
        assert Sandbox(ours).await_ready(WAIT_SECONDS) == ""


def test_sigterm_during_the_sync(
    paths: Paths, launcher_dir: str, server: TaskServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_s3_of_a_pod(monkeypatch) as slow, waiting(paths, launcher_dir, server.url) as pod:
        slow.behaviour.listed["in/a"] = slow.behaviour.stored["in/a"] = Content(bytes(1_000_000))
        slow.behaviour.chunk_seconds = 0.2  # 100 s
        task = make_task(inputs=[make_input(key="in/a")], inputs_by_agent=True)
        server.hand_over(wire.HandOver(task=task))
        wait_until(lambda: any("in/a" in each for each in slow.behaviour.requests))
        pod.agent.send_signal(signal.SIGTERM)
        ended = pod.wait()
    assert (ended.result.reason, ended.report.final) == ("Terminated", True)
    assert ended.sandbox_log == b""


def test_a_request_that_hangs_does_not_hang_the_agent(
    paths: Paths, launcher_dir: str, server: TaskServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_s3_of_a_pod(monkeypatch) as slow, waiting(paths, launcher_dir, server.url) as pod:
        slow.behaviour.listed["in/a"] = slow.behaviour.stored["in/a"] = Content(bytes(1_000_000))
        slow.behaviour.chunk_seconds = 0.2  # each of 1,000 reads comes in time
        changes = {"inputs_by_agent": True, "input_sync_timeout_seconds": 0.5}
        ended = run(pod, server, inputs=[make_input(key="in/a")], **changes)
    assert ended.result.reason == Reason.INPUT_SYNC_TIMEOUT.value
    assert ended.sandbox_log == b""
