"""Running code over the session's HTTP API, in one process, with real processes for the code."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from nanogrid.reasons import Reason
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.execution_queue import QUEUE_LIMIT
from nanogrid_executor.session.session import Session
from support.session_client import WAITS, assert_error, in_thread, run_code, states
from support.session_fakes import RULES, client_of, make_session, session_task
from support.waiting import wait_until

# Running code


def test_the_answer_has_all_results_of_python_code(client: FlaskClient) -> None:
    answer = run_code(client, "import sys\nprint('안녕')\nprint('e', file=sys.stderr)")
    assert answer["stdout"] == answer["output"] == "안녕\n"
    assert answer["stderr"] == "e\n"
    assert (answer["execution_num"], answer["status"], answer["exit_code"]) == (1, "SUCCESS", 0)
    assert answer["success"] is True
    assert answer["error"] is None
    assert answer["peakMemoryBytes"] == 9 << 20


def test_failing_code_is_not_an_http_error(client: FlaskClient) -> None:
    answer = run_code(client, "raise SystemExit(3)")
    assert (answer["status"], answer["reason"], answer["exit_code"]) == ("FAILED", "NonZeroExit", 3)
    assert "Exit code 3" in answer["error"]


def test_the_prefix_selects_the_shell_and_the_record_keeps_it(client: FlaskClient) -> None:
    assert run_code(client, "BASH: echo $((6*7)); pwd")["stdout"].startswith("42\n")
    record = client.get("/executions/1").json
    assert record["code"] == "BASH: echo $((6*7)); pwd"
    assert record["shell"] is True


@pytest.mark.parametrize("context", ["c", None])
def test_code_declares_its_encoding(client: FlaskClient, context: str | None) -> None:
    more = {"context": context} if context else {}
    code = "# coding: latin-1\nprint('{}')"
    assert run_code(client, code.format("é"), **more)["stdout"] == "é\n"
    refused = client.post("/execute", json={"code": code.format("가"), **more})
    assert_error(refused, 400, Reason.BAD_REQUEST)
    assert "latin-1" in refused.json["error"]["message"]


def test_a_context_keeps_its_processes_itself(client: FlaskClient) -> None:
    assert run_code(client, "print(1)", keepProcesses=True)["stdout"] == "1\n"
    refused = client.post("/execute", json={"code": "1", "context": "c", "keepProcesses": True})
    assert_error(refused, 400, Reason.BAD_REQUEST)
    wrong = client.post("/execute", json={"code": "1", "keepProcesses": "yes"})
    assert_error(wrong, 400, Reason.BAD_REQUEST)


def test_stdin_and_environment_reach_the_code(client: FlaskClient) -> None:
    code = "import os, sys\nprint(os.environ['GREETING'], sys.stdin.read())"
    answer = run_code(client, code, stdin="world", env={"GREETING": "hello"})
    assert answer["stdout"] == "hello world\n"


def test_the_timeout_of_the_request_stops_the_code(client: FlaskClient) -> None:
    answer = run_code(client, "import time; time.sleep(60)", timeoutSeconds=0.01)
    assert (answer["status"], answer["reason"]) == ("TIMEOUT", "ExecutionTimeout")


def test_a_context_keeps_its_variables_and_displays_results(client: FlaskClient) -> None:
    run_code(client, "x = 20", context="c")
    png = base64.b64encode(b"png").decode()
    answer = run_code(client, f"print(x + 1)\ndisplay({{'image/png': '{png}'}})", context="c")
    assert answer["stdout"] == "21\n"
    assert answer["results"] == [{"image/png": png}]
    assert [c["name"] for c in client.get("/contexts").json["contexts"]] == ["c"]

    assert client.delete("/contexts/c").json == {"context": "c", "dropped": True}
    assert_error(client.delete("/contexts/c"), 404, Reason.CONTEXT_NOT_FOUND)
    assert run_code(client, "print('x' in globals())", context="c")["stdout"] == "False\n"


def test_one_context_too_many_is_refused_and_no_execution(client: FlaskClient) -> None:
    for number in range(8):
        run_code(client, "1", context=f"c{number}")
    refused = client.post("/execute", json={"code": "1", "context": "more"})
    assert_error(refused, 409, Reason.CONTEXT_LIMIT)
    assert "c0, c1" in refused.json["error"]["message"]
    assert client.get("/executions").json["count"] == 8
    assert run_code(client, "1", context="c7")["status"] == "SUCCESS"
    assert run_code(client, "1")["status"] == "SUCCESS"
    client.delete("/contexts/c0")
    assert run_code(client, "1", context="more")["status"] == "SUCCESS"


def test_the_record_keeps_more_of_a_long_output_than_the_answer(client: FlaskClient) -> None:
    answer = run_code(client, "print('x' * 300_000)")
    assert answer["stdoutTruncated"]
    assert len(answer["stdout"]) < 66_000
    assert len(client.get("/executions/1").json["stdout"]) == 300_001


def test_a_lone_surrogate_in_a_display_is_replaced(client: FlaskClient) -> None:
    answer = run_code(client, r"display({'text/plain': 'a\ud800b'})", context="c")
    assert answer["results"] == [{"text/plain": "a?b"}]


def test_an_internal_error_ends_the_execution_but_not_the_session(
    client: FlaskClient, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(session.history.records, "store", lambda record: 1 // 0)
        answer = run_code(client, "print(1)")
        assert (answer["status"], answer["reason"]) == ("FAILED", "InternalError")
    assert run_code(client, "print(2)")["success"]


# The queue


def test_a_second_execution_waits_for_the_first(client: FlaskClient, paths: Paths) -> None:
    first, one = in_thread(lambda: run_code(client, WAITS))
    wait_until(lambda: client.get("/health").json["running"] == 1)
    second, two = in_thread(lambda: run_code(client, "print('second')"))
    wait_until(lambda: client.get("/health").json["waiting"] == 1)
    wait_until(lambda: states(client) == ["RUNNING", "QUEUED"])

    Path(paths.workspace, "go").touch()
    first.join()
    second.join()

    assert (one[0]["execution_num"], two[0]["execution_num"]) == (1, 2)
    assert two[0]["timestamp"] >= one[0]["timestamp"]


def test_a_full_queue_refuses_requests_with_retry_after(paths: Paths) -> None:
    session = make_session(paths, queue_limit=1)
    client = client_of(session)
    first, _ = in_thread(lambda: run_code(client, WAITS))
    wait_until(lambda: session.queue.busy)
    second, _ = in_thread(lambda: run_code(client, "1"))
    wait_until(lambda: session.queue.waiting == 1)

    response = client.post("/execute", json={"code": "1"})

    assert_error(response, 429, Reason.QUEUE_FULL)
    assert int(response.headers["Retry-After"]) > 0
    Path(paths.workspace, "go").touch()
    first.join()
    second.join()
    assert run_code(client, "1")["execution_num"] == 3
    assert QUEUE_LIMIT == 64


def test_reject_names_the_running_execution(paths: Paths) -> None:
    task = session_task(replace(RULES, concurrency_policy="Reject"))
    client = client_of(make_session(paths, task))
    thread, _ = in_thread(lambda: run_code(client, WAITS))
    wait_until(lambda: client.get("/health").json["running"] == 1)

    response = client.post("/execute", json={"code": "1"})

    assert_error(response, 409, Reason.EXECUTION_RUNNING)
    assert response.json["execution_num"] == 1
    Path(paths.workspace, "go").touch()
    thread.join()
    assert run_code(client, "1")["execution_num"] == 2


def test_an_execution_can_be_interrupted_only_once(
    client: FlaskClient,
) -> None:
    thread, results = in_thread(lambda: run_code(client, "import time; time.sleep(60)"))
    wait_until(lambda: states(client) == ["RUNNING"])

    assert client.delete("/executions/1").status_code == 202
    thread.join()

    assert results[0]["reason"] == "ExecutionInterrupted"
    assert_error(client.delete("/executions/1"), 409, Reason.EXECUTION_ENDED)
    assert_error(client.delete("/executions/2"), 404, Reason.EXECUTION_NOT_FOUND)


def test_a_waiting_execution_can_be_interrupted_before_it_runs(
    client: FlaskClient, paths: Paths
) -> None:
    first, _ = in_thread(lambda: run_code(client, WAITS))
    wait_until(lambda: states(client) == ["RUNNING"])
    second, results = in_thread(lambda: run_code(client, "open('second', 'w')"))
    wait_until(lambda: client.get("/health").json["waiting"] == 1)

    assert client.delete("/executions/2").status_code == 202
    second.join()
    Path(paths.workspace, "go").touch()
    first.join()

    assert results[0]["reason"] == "ExecutionInterrupted"
    assert not Path(paths.workspace, "second").exists()


# The trace of a request

TRACED = "import os\nprint(os.environ.get('TRACEPARENT'), repr(os.environ.get('TRACESTATE')))"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OF_SESSION = PARENT.replace("4bf9", "aaaa")


@pytest.mark.parametrize(
    ("headers", "printed"),
    [
        ({}, f"{OF_SESSION} 's=1'"),
        ({"traceparent": PARENT}, f"{PARENT} ''"),
        ({"traceparent": PARENT, "tracestate": "a=1"}, f"{PARENT} 'a=1'"),
        ({"traceparent": "nonsense", "tracestate": "a=1"}, f"{OF_SESSION} 's=1'"),
        ({"traceparent": f"{PARENT}, {PARENT}"}, f"{OF_SESSION} 's=1'"),
    ],
)
def test_code_gets_the_span_of_its_request_or_of_the_session(
    paths: Paths, headers: dict[str, str], printed: str
) -> None:
    task = session_task(env={"TRACEPARENT": OF_SESSION, "TRACESTATE": "s=1"})
    client = client_of(make_session(paths, task))
    body = {"code": TRACED}

    answer = client.post("/execute", json=body, headers=headers)

    assert answer.json["stdout"] == f"{printed}\n"
    own = {**body, "env": {"TRACEPARENT": "mine"}}
    assert client.post("/execute", json=own, headers=headers).json["stdout"].startswith("mine ")
