"""A pool's pod for sessions, outside of a cluster: it waits, and a server hands a session over."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names, result_auth, wire
from nanogrid.reasons import Reason
from nanogrid_executor.paths import Paths
from support.executor_sync import make_input
from support.s3_server import S3Server, make_task
from support.session_pod import (
    TOKEN,
    WAIT_SECONDS,
    Client,
    PoolSessionPod,
    SessionPod,
    session_pod,
    session_task,
)
from support.task_server import TaskServer, task_server
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.security]

KEY = "the-key"
WAITS = (200, "waiting")


@pytest.fixture
def server() -> Iterator[TaskServer]:
    with task_server() as running:
        yield running


@pytest.fixture
def pod(
    s3: S3Server,
    paths: Paths,
    launcher_dir: str,
    server: TaskServer,
    request: pytest.FixtureRequest,
) -> Iterator[SessionPod]:
    """A pod that has asked for its session."""
    task = session_task(request.node.name[:40])
    with session_pod(task, paths, launcher_dir, server.url, PoolSessionPod) as running:
        wait_until(lambda: server.asked or running.agent.poll() is not None)
        assert server.asked, running.log.read_text()
        yield running


def begin(pod: SessionPod, server: TaskServer, **changes: Any) -> None:
    """A session takes the pod, and is ready."""
    given = {"task": pod.task, "result_key": KEY, "session_token": TOKEN, **changes}
    server.hand_over(wire.HandOver(**given))
    wait_until(lambda: pod.client.health()[1] == "healthy" or pod.agent.poll() is not None)
    assert pod.client.health() == (200, "healthy"), pod.log.read_text()


def report_of(server: TaskServer) -> dict[str, Any]:
    """The final report that the operator got."""
    (body,) = [
        body
        for body, headers in zip(server.bodies, server.headers, strict=True)
        if headers["Path"] == names.RESULTS_PATH
    ]
    report: dict[str, Any] = json.loads(body)
    assert result_auth.verify(report["result"], KEY)
    return report


def test_a_session_runs_in_a_pod_that_waits(pod: SessionPod, server: TaskServer) -> None:
    assert pod.client.health() == WAITS
    assert pod.client.ask("POST", "/execute", {"code": "print(1)"})[0] == 503
    assert os.listdir(pod.paths.workspace) == [], "nothing of a session"

    begin(pod, server)

    assert pod.client.run("x = 41; print(x)", context="a")["stdout"] == "41\n"
    assert pod.client.run("print(x + 1)", context="a")["stdout"] == "42\n"
    assert pod.client.ask("POST", "/end")[0] in (200, 202)
    assert pod.wait_end().result.reason == Reason.SESSION_ENDED.value
    assert report_of(server)["result"]["executions"] == 2
    assert len(server.asked) == 1


def test_the_token_of_the_hand_over_is_required(pod: SessionPod, server: TaskServer) -> None:
    begin(pod, server)

    for wrong in (f"{TOKEN}x", ""):
        status, answer = Client(pod.port, wrong).ask("GET", "/executions")
        assert (status, answer["error"]["reason"]) == (401, Reason.UNAUTHORIZED.value)
    assert pod.client.ask("GET", "/executions")[0] == 200


FIND = """
import os, sys
needles = [bytes.fromhex(text) for text in sys.stdin.read().split()]
for top in {tops}:
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            data = open(path, 'rb').read() if os.path.isfile(path) else b''
            print('looked at', path)
            if any(needle in data for needle in needles):
                print('FOUND', path)
for name, value in os.environ.items():
    if any(needle in os.fsencode(value) for needle in needles):
        print('FOUND', name)
"""


def test_the_token_is_in_no_file_and_no_variable_that_code_can_read(
    pod: SessionPod, server: TaskServer
) -> None:
    begin(pod, server)
    tops = [pod.paths.workspace, pod.paths.run_dir]
    code, needles = FIND.format(tops=tops), f"{TOKEN.encode().hex()} {KEY.encode().hex()}"

    hidden = pod.client.run(code, stdin=needles)["stdout"]
    (Path(pod.paths.workspace) / "known").write_text(TOKEN)
    shown = pod.client.run(code, stdin=needles)["stdout"]

    assert "journal" in hidden
    assert "FOUND" not in hidden
    assert f"FOUND {pod.paths.workspace}/known" in shown


def test_a_session_without_tokens_needs_none(pod: SessionPod, server: TaskServer) -> None:
    begin(pod, server, session_token="")

    assert Client(pod.port, "").ask("GET", "/executions")[0] == 200


@pytest.mark.parametrize("given", [{"session_token": None}, {"task": make_task()}])
def test_what_is_no_session_is_refused(
    pod: SessionPod, server: TaskServer, given: dict[str, Any]
) -> None:
    server.hand_over(wire.HandOver(**{"task": pod.task, "session_token": TOKEN, **given}))

    assert pod.agent.wait(WAIT_SECONDS) == 1
    message = Path(pod.paths.real(names.TERMINATION_FILE)).read_text()
    assert "runs no other job" in wire.loads(wire.SyncFailure, message).message
    assert server.bodies == []


def test_a_sandbox_that_is_killed_keeps_the_session(pod: SessionPod, server: TaskServer) -> None:
    begin(pod, server)
    pod.client.run("open('kept', 'w').write('kept')")

    pod.sandbox.kill()
    pod.sandbox.wait()
    wait_until(lambda: pod.client.health()[0] == 503)
    pod.start_sandbox()
    pod.wait_ready()

    answer = pod.client.run("print(open('kept').read())")
    assert (answer["stdout"], answer["execution_num"]) == ("kept\n", 2)
    assert answer["sandboxRestarted"]
    assert len(server.asked) == 1


def test_an_agent_that_is_killed_asks_again_and_continues(
    pod: SessionPod, server: TaskServer
) -> None:
    begin(pod, server)
    pod.client.run("open('kept', 'w').write('kept')")

    pod.agent.kill()
    pod.agent.wait()
    pod.sandbox.wait(WAIT_SECONDS)  # it has lost the agent
    pod.start_agent()
    wait_until(lambda: pod.client.health()[0] != 0)
    assert pod.client.health()[0] == 503, "a pod with a session does not wait for another one"
    pod.start_sandbox()
    pod.wait_ready()

    answer = pod.client.run("print(open('kept').read())")
    assert (answer["stdout"], answer["execution_num"]) == ("kept\n", 2)
    assert Client(pod.port, "wrong").ask("GET", "/executions")[0] == 401
    assert len(server.asked) == 2
    pod.client.ask("POST", "/end")
    pod.wait_end()
    assert report_of(server)["result"]["executions"] == 2


def test_a_sandbox_that_is_killed_while_the_pod_waits(pod: SessionPod, server: TaskServer) -> None:
    pod.sandbox.kill()
    assert pod.agent.wait(WAIT_SECONDS) == 1, "the operator learns of it: the request ends"
    pod.start_agent()
    pod.start_sandbox()
    wait_until(lambda: len(server.asked) == 2)
    assert pod.client.health() == WAITS

    begin(pod, server)

    answer = pod.client.run("print(1)")
    assert (answer["stdout"], answer["execution_num"]) == ("1\n", 1)
    assert not answer["sandboxRestarted"]


def test_sigterm_while_it_waits_ends_it_without_a_report(
    pod: SessionPod, server: TaskServer
) -> None:
    pod.agent.send_signal(signal.SIGTERM)

    assert pod.agent.wait(WAIT_SECONDS) == 0
    assert server.bodies == []


def test_sigterm_ends_the_session_with_a_report(pod: SessionPod, server: TaskServer) -> None:
    begin(pod, server)

    pod.agent.send_signal(signal.SIGTERM)

    assert pod.wait_end().result.reason == Reason.TERMINATED.value
    assert report_of(server)["result"]["reason"] == Reason.TERMINATED.value


def test_inputs_are_in_place_before_the_session_begins(
    s3: S3Server, pod: SessionPod, server: TaskServer
) -> None:
    s3.put("warm-session/a.txt", b"from s3")
    inputs = [make_input(key="warm-session/a.txt")]
    task = session_task("with-inputs", inputs=inputs, inputs_by_agent=True)

    begin(pod, server, task=task)

    answer = pod.client.run("print(open('data/a.txt').read())")
    assert answer["stdout"] == "from s3\n"
    pod.client.run("open('data/a.txt', 'w').write('changed')")
    pod.agent.kill()
    pod.agent.wait()
    pod.sandbox.wait(WAIT_SECONDS)
    pod.start_agent()
    pod.start_sandbox()
    pod.wait_ready()
    assert pod.client.run("print(open('data/a.txt').read())")["stdout"] == "changed\n"


def test_without_its_inputs_there_is_no_session(
    s3: S3Server, pod: SessionPod, server: TaskServer
) -> None:
    task = session_task(
        "no-inputs", inputs=[make_input(key="warm-session/none")], inputs_by_agent=True
    )
    server.hand_over(wire.HandOver(task=task, result_key=KEY, session_token=TOKEN))

    assert pod.wait_end().result.reason == Reason.INPUT_NOT_FOUND.value
    assert report_of(server)["result"]["executions"] is None
