"""The session's HTTP API in one process, over a sandbox that really runs processes."""

import base64
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.core import Session
from nanogrid_executor.session.turns import QUEUE_LIMIT
from unit.session_fakes import (
    RULES,
    FakeSandbox,
    client_of,
    events_of,
    make_paths,
    make_session,
    session_task,
    wait_until,
)

WAITS = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('gone')"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return make_paths(tmp_path)


@pytest.fixture
def session(paths: Paths) -> Session:
    return make_session(paths)


@pytest.fixture
def client(session: Session) -> FlaskClient:
    return client_of(session)


def run(client: FlaskClient, code: str, **more: Any) -> dict[str, Any]:
    response = client.post("/execute", json={"code": code, **more})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json
    return answer


def test_the_routers_path_may_stay_on(client: FlaskClient, session: Session) -> None:
    own = names.session_path(session.task.namespace, session.task.job)

    assert client.get(f"{own}/health").get_json() == client.get("/health").get_json()
    assert client.get("/sessions/other/one/health").status_code == 404


def aside(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run something beside the test; its result is in the list afterwards."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


def states(client: FlaskClient) -> list[str]:
    """The state of each execution: it has its turn a moment before it is RUNNING."""
    return [line["status"] for line in client.get("/executions").json["executions"]]


def refused(response: Any, status: int, reason: Reason) -> str:
    assert response.status_code == status, response.text
    assert response.json["error"]["reason"] == reason.value
    message: str = response.json["error"]["message"]
    assert message
    return message


# Running code


def test_python_runs_and_everything_of_it_is_in_the_answer(client: FlaskClient) -> None:
    answer = run(client, "import sys\nprint('안녕')\nprint('e', file=sys.stderr)")
    assert answer["stdout"] == answer["output"] == "안녕\n"
    assert answer["stderr"] == "e\n"
    assert (answer["execution_num"], answer["status"], answer["exit_code"]) == (1, "SUCCESS", 0)
    assert answer["success"] is True
    assert answer["error"] is None
    assert answer["peakMemoryBytes"] == 9 << 20


def test_failing_code_is_an_answer_and_no_http_error(client: FlaskClient) -> None:
    answer = run(client, "raise SystemExit(3)")
    assert (answer["status"], answer["reason"], answer["exit_code"]) == ("FAILED", "NonZeroExit", 3)
    assert "Exit code 3" in answer["error"]


def test_the_prefix_chooses_the_shell_and_the_record_keeps_it(client: FlaskClient) -> None:
    assert run(client, "BASH: echo $((6*7)); pwd")["stdout"].startswith("42\n")
    record = client.get("/executions/1").json
    assert record["code"] == "BASH: echo $((6*7)); pwd"
    assert record["shell"] is True


def test_stdin_and_environment_reach_the_code(client: FlaskClient) -> None:
    code = "import os, sys\nprint(os.environ['GREETING'], sys.stdin.read())"
    answer = run(client, code, stdin="world", env={"GREETING": "hello"})
    assert answer["stdout"] == "hello world\n"


def test_a_timeout_of_the_request_stops_the_code(client: FlaskClient) -> None:
    answer = run(client, "import time; time.sleep(60)", timeoutSeconds=0.2)
    assert (answer["status"], answer["reason"]) == ("TIMEOUT", "ExecutionTimeout")


def test_variables_of_a_context_live_on_and_display_data_comes_along(client: FlaskClient) -> None:
    run(client, "x = 20", context="c")
    png = base64.b64encode(b"png").decode()
    answer = run(client, f"print(x + 1)\ndisplay({{'image/png': '{png}'}})", context="c")
    assert answer["stdout"] == "21\n"
    assert answer["results"] == [{"image/png": png}]
    assert [c["name"] for c in client.get("/contexts").json["contexts"]] == ["c"]

    assert client.delete("/contexts/c").json == {"context": "c", "dropped": True}
    refused(client.delete("/contexts/c"), 404, Reason.CONTEXT_NOT_FOUND)
    assert run(client, "print('x' in globals())", context="c")["stdout"] == "False\n"


def test_a_long_output_is_cut_in_the_answer_and_less_in_the_record(client: FlaskClient) -> None:
    answer = run(client, "print('x' * 300_000)")
    assert answer["stdoutTruncated"]
    assert len(answer["stdout"]) < 66_000
    assert len(client.get("/executions/1").json["stdout"]) == 300_001


def test_a_display_that_is_no_text_costs_nothing_but_itself(client: FlaskClient) -> None:
    answer = run(client, r"display({'text/plain': 'a\ud800b'})", context="c")
    assert answer["results"] == [{"text/plain": "a?b"}]


def test_a_fault_of_ours_ends_the_execution_and_not_the_session(
    client: FlaskClient, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(session.history.records, "store", lambda record: 1 // 0)
        answer = run(client, "print(1)")
        assert (answer["status"], answer["reason"]) == ("FAILED", "InternalError")
    assert run(client, "print(2)")["success"]


# Turns


def test_a_second_execution_waits_its_turn(client: FlaskClient, paths: Paths) -> None:
    first, one = aside(lambda: run(client, WAITS))
    wait_until(lambda: client.get("/health").json["running"] == 1)
    second, two = aside(lambda: run(client, "print('second')"))
    wait_until(lambda: client.get("/health").json["waiting"] == 1)
    wait_until(lambda: states(client) == ["RUNNING", "QUEUED"])

    Path(paths.workspace, "go").touch()
    first.join()
    second.join()

    assert (one[0]["execution_num"], two[0]["execution_num"]) == (1, 2)
    assert two[0]["timestamp"] >= one[0]["timestamp"]


def test_a_full_queue_is_refused_with_a_time_to_come_back(
    client: FlaskClient, session: Session, paths: Paths
) -> None:
    session.executions.turns.limit = 1
    first, _ = aside(lambda: run(client, WAITS))
    wait_until(lambda: session.executions.turns.busy)
    second, _ = aside(lambda: run(client, "1"))
    wait_until(lambda: session.executions.turns.waiting == 1)

    response = client.post("/execute", json={"code": "1"})

    refused(response, 429, Reason.QUEUE_FULL)
    assert int(response.headers["Retry-After"]) > 0
    Path(paths.workspace, "go").touch()
    first.join()
    second.join()
    assert run(client, "1")["execution_num"] == 3
    assert QUEUE_LIMIT == 64


def test_reject_names_the_running_execution(paths: Paths) -> None:
    task = session_task(replace(RULES, concurrency_policy="Reject"))
    client = client_of(make_session(paths, task))
    thread, _ = aside(lambda: run(client, WAITS))
    wait_until(lambda: client.get("/health").json["running"] == 1)

    response = client.post("/execute", json={"code": "1"})

    refused(response, 409, Reason.EXECUTION_RUNNING)
    assert response.json["execution_num"] == 1
    Path(paths.workspace, "go").touch()
    thread.join()
    assert run(client, "1")["execution_num"] == 2


def test_an_interrupted_execution_says_so_and_cannot_be_interrupted_again(
    client: FlaskClient,
) -> None:
    thread, results = aside(lambda: run(client, "import time; time.sleep(60)"))
    wait_until(lambda: states(client) == ["RUNNING"])

    assert client.delete("/executions/1").status_code == 202
    thread.join()

    assert results[0]["reason"] == "ExecutionInterrupted"
    refused(client.delete("/executions/1"), 409, Reason.EXECUTION_ENDED)
    refused(client.delete("/executions/2"), 404, Reason.EXECUTION_NOT_FOUND)


def test_a_waiting_execution_can_be_interrupted_before_it_runs(
    client: FlaskClient, paths: Paths
) -> None:
    first, _ = aside(lambda: run(client, WAITS))
    wait_until(lambda: states(client) == ["RUNNING"])
    second, results = aside(lambda: run(client, "open('second', 'w')"))
    wait_until(lambda: client.get("/health").json["waiting"] == 1)

    assert client.delete("/executions/2").status_code == 202
    second.join()
    Path(paths.workspace, "go").touch()
    first.join()

    assert results[0]["reason"] == "ExecutionInterrupted"
    assert not Path(paths.workspace, "second").exists()


# Idempotency


def test_the_same_key_runs_once_and_answers_the_same(client: FlaskClient, paths: Paths) -> None:
    code = {"code": "open('count', 'a').write('x'); print('done')"}
    first = client.post("/execute", json=code, headers={"Idempotency-Key": "k"})
    again = client.post("/execute", json=code, headers={"Idempotency-Key": "k"})

    assert first.json == again.json
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert Path(paths.workspace, "count").read_text() == "x"


def test_the_same_key_waits_for_the_first_that_still_runs(
    client: FlaskClient, paths: Paths
) -> None:
    def send() -> Any:
        headers = {"Idempotency-Key": "k"}
        return client.post("/execute", json={"code": WAITS}, headers=headers).json

    first, one = aside(send)
    wait_until(lambda: client.get("/health").json["running"] == 1)
    second, two = aside(send)
    second.join(0.2)
    assert second.is_alive()
    Path(paths.workspace, "go").touch()
    first.join()
    second.join()

    assert one == two
    assert client.get("/executions").json["count"] == 1


def test_a_key_with_another_request_is_refused(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "k"}
    client.post("/execute", json={"code": "1"}, headers=headers)
    response = client.post("/execute", json={"code": "2"}, headers=headers)
    refused(response, 422, Reason.IDEMPOTENCY_CONFLICT)
    bad = client.post("/execute", json={"code": "2"}, headers={"Idempotency-Key": "a b"})
    refused(bad, 400, Reason.BAD_REQUEST)


def test_keys_numbers_and_answers_outlive_the_agent(client: FlaskClient, paths: Paths) -> None:
    headers = {"Idempotency-Key": "k"}
    first = client.post("/execute", json={"code": "print(1)"}, headers=headers).json

    other = client_of(make_session(paths))
    again = other.post("/execute", json={"code": "print(1)"}, headers=headers)

    assert again.json == first
    assert other.get("/executions").json["executions"][0]["status"] == "SUCCESS"
    following = run(other, "print(2)")
    assert following["execution_num"] == 2
    assert following["sandboxRestarted"] is True
    assert run(other, "print(3)")["sandboxRestarted"] is False


def test_an_execution_lost_with_its_agent_is_recorded_as_failed(
    client: FlaskClient, session: Session, paths: Paths
) -> None:
    thread, _ = aside(lambda: run(client, WAITS))
    wait_until(lambda: session.sandbox.interrupt.__self__._processes)  # type: ignore[attr-defined]

    after = make_session(paths)
    after.history.adopt()

    record = client_of(after).get("/executions/1").json
    assert (record["status"], record["reason"]) == ("FAILED", "AgentFailed")
    assert record["code"] == WAITS
    Path(paths.workspace, "go").touch()
    thread.join()


# Streaming


def test_output_is_streamed_while_the_code_runs(client: FlaskClient, paths: Paths) -> None:
    code = "print('one', flush=True)\n" + WAITS
    response = client.post("/execute", json={"code": code, "stream": True})
    assert response.mimetype == "text/event-stream"
    events = events_of(iter(response.response))
    assert next(events)[0] == "started"
    assert next(events) == ("stdout", '{"text":"one\\n"}')

    Path(paths.workspace, "go").touch()
    rest = dict(events)

    assert json.loads(rest["end"])["stdout"] == "one\ngone\n"
    response.close()


def test_an_execution_goes_on_when_who_watched_it_has_gone(
    client: FlaskClient, paths: Paths, session: Session
) -> None:
    response = client.post(
        "/execute", json={"code": WAITS}, headers={"Accept": "text/event-stream"}
    )
    next(iter(response.response))
    response.close()
    Path(paths.workspace, "go").touch()
    wait_until(lambda: not session.executions.busy)
    replay = client.get("/executions/1/stream")
    names_seen = [name for name, _ in events_of(iter(replay.response))]
    assert names_seen == ["started", "stdout", "end"]


def test_a_stream_can_be_replayed_from_the_record(client: FlaskClient, paths: Paths) -> None:
    run(client, "display({'text/plain': 'x'}); print('out')", context="c")
    other = client_of(make_session(paths))
    events = list(events_of(iter(other.get("/executions/1/stream").response)))
    assert [name for name, _ in events] == ["started", "stdout", "result", "end"]
    refused(other.get("/executions/9/stream"), 404, Reason.EXECUTION_NOT_FOUND)


def test_a_character_cut_in_two_is_whole_in_the_stream(client: FlaskClient) -> None:
    code = "import os, time\nos.write(1, b'\\xed\\x95')\ntime.sleep(0.2)\nos.write(1, b'\\x9c')"
    response = client.post("/execute", json={"code": code, "stream": True})
    events = list(events_of(iter(response.response)))
    assert [json.loads(data)["text"] for name, data in events if name == "stdout"] == ["한"]


# Life


def test_before_the_sandbox_is_there_nothing_is_taken(paths: Paths) -> None:
    sandbox = FakeSandbox(paths.workspace)
    sandbox.there.clear()
    client = client_of(make_session(paths, sandbox=sandbox))

    health = client.get("/health")
    assert health.status_code == 503
    assert health.json["status"] == "initializing"
    assert health.json["sync"]["totalFiles"] == 0
    assert health.headers["Retry-After"] == "1"
    refused(client.post("/execute", json={"code": "1"}), 503, Reason.INITIALIZING)

    sandbox.there.set()
    assert client.get("/health").status_code == 200
    assert run(client, "print(1)")["success"]


def test_while_a_sandbox_restarts_an_execution_waits_for_it(paths: Paths) -> None:
    sandbox = FakeSandbox(paths.workspace)
    client = client_of(make_session(paths, sandbox=sandbox))
    run(client, "1")
    sandbox.there.clear()
    assert client.get("/health").status_code == 503
    thread, results = aside(lambda: run(client, "print('after')"))
    wait_until(lambda: client.get("/health").json["running"] == 2)
    sandbox.restarts = 1
    sandbox.there.set()
    thread.join()
    assert results[0]["stdout"] == "after\n"
    assert results[0]["sandboxRestarted"] is True
    assert run(client, "1")["sandboxRestarted"] is False


def test_a_sandbox_that_dies_under_the_code_is_named(client: FlaskClient, session: Session) -> None:
    thread, results = aside(lambda: run(client, "import time; time.sleep(60)"))
    wait_until(lambda: client.get("/health").json["running"] == 1)
    wait_until(lambda: session.executions.find(1).state == "RUNNING")  # type: ignore[union-attr]
    session.sandbox.close()
    thread.join()
    assert (results[0]["status"], results[0]["reason"]) == ("FAILED", "SandboxRestarted")
    assert results[0]["exit_code"] is None


def test_an_ending_session_takes_nothing_new_and_stops_what_runs(
    client: FlaskClient, session: Session
) -> None:
    thread, results = aside(lambda: run(client, "import time; time.sleep(60)"))
    wait_until(lambda: session.executions.find(1) and session.sandbox.interrupt(1) is not None)
    response = client.post("/end", json={"reason": "enough"})
    assert (response.status_code, response.json["status"]) == (202, "ending")
    assert session.end_reason is Reason.SESSION_ENDED

    session.executions.end(Reason.SESSION_ENDED)
    thread.join()

    assert results[0]["status"] == "FAILED"
    health = client.get("/health")
    assert (health.status_code, health.json["status"]) == (503, "ending")
    for path, body in (("/execute", {"code": "1"}), ("/file-sync", {})):
        response = client.post(path, json=body)
        refused(response, 503, Reason.SESSION_ENDED)
        assert response.json["status"] == "ending"


def test_the_limit_of_executions_is_kept(paths: Paths) -> None:
    session = make_session(paths, session_task(replace(RULES, max_executions=2)))
    client = client_of(session)
    run(client, "1")
    run(client, "1")
    refused(client.post("/execute", json={"code": "1"}), 503, Reason.EXECUTION_LIMIT)
    assert session.life.due(session.executions.count, busy=False) is Reason.EXECUTION_LIMIT


def test_health_is_no_activity_and_a_request_is(
    client: FlaskClient, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [session.life._clock()]
    monkeypatch.setattr(session.life, "_clock", lambda: now[0])
    session.life.touch()
    now[0] += 100
    client.get("/health")
    assert session.life.idle_seconds == 100
    client.get("/container-info")
    assert session.life.idle_seconds == 0


# Requests that are wrong


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "code is missing"),
        ({"code": 1}, "code must be a string"),
        ({"code": ""}, "at least 1"),
        ({"code": "1", "colour": "red"}, "unknown field 'colour'"),
        ({"code": "1", "timeoutSeconds": 0}, "timeoutSeconds must be more than 0"),
        ({"code": "1", "timeoutSeconds": 31}, "at most 30"),
        ({"code": "1", "timeoutSeconds": True}, "timeoutSeconds must be a number"),
        ({"code": "1", "env": {"AWS_KEY": "x"}}, "'AWS_KEY'"),
        ({"code": "1", "env": {"A": 1}}, "env.A must be a string"),
        ({"code": "1", "context": "../x"}, "context must match"),
        ({"code": "BASH: ls", "context": "c"}, "leave it out"),
        ({"code": "a\x00b"}, "code must match"),
        ({"code": "\ud800"}, "surrogate"),
        ([], "the body must be an object"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(client: FlaskClient, body: Any, says: str) -> None:
    assert says in refused(client.post("/execute", json=body), 400, Reason.BAD_REQUEST)
    assert client.get("/executions").json["count"] == 0


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"code": NaN}'])
def test_what_is_no_json_is_refused(client: FlaskClient, data: bytes) -> None:
    refused(client.post("/execute", data=data), 400, Reason.BAD_REQUEST)


def test_errors_of_http_itself_have_the_same_shape(client: FlaskClient) -> None:
    refused(client.get("/nothing"), 404, Reason.BAD_REQUEST)
    response = client.delete("/execute")
    refused(response, 405, Reason.BAD_REQUEST)
    assert "POST" in response.headers["Allow"]
    refused(client.post("/execute", data=b"x" * (1 << 21)), 413, Reason.BAD_REQUEST)
    refused(client.get("/executions?limit=-1"), 400, Reason.BAD_REQUEST)


def test_what_nobody_foresaw_shows_no_traceback(
    client: FlaskClient, session: Session, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(session.sandbox, "contexts", broken)
    message = refused(client.get("/contexts"), 500, Reason.INTERNAL_ERROR)
    assert "secret" not in message
    assert "secret detail" in capsys.readouterr().out


def test_a_request_for_another_session_is_refused(client: FlaskClient) -> None:
    assert client.get("/container-info?session_id=r-1").json["session_id"] == "r-1"
    refused(client.get("/container-info?session_id=other"), 409, Reason.WRONG_SESSION)
    body = {"code": "1", "session_id": "other"}
    refused(client.post("/execute", json=body), 409, Reason.WRONG_SESSION)


# Authorisation


ROUTES = [
    ("GET", "/container-info"),
    ("POST", "/execute"),
    ("POST", "/file-sync"),
    ("GET", "/debug/files"),
    ("GET", "/executions"),
    ("GET", "/executions/1"),
    ("DELETE", "/executions/1"),
    ("GET", "/executions/1/stream"),
    ("PUT", "/files/x"),
    ("GET", "/files/x"),
    ("DELETE", "/files/x"),
    ("GET", "/files"),
    ("GET", "/contexts"),
    ("DELETE", "/contexts/x"),
    ("POST", "/end"),
    ("GET", "/openapi.json"),
    ("GET", "/nothing"),
    ("POST", "/health"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_the_token_nothing_but_health_answers(
    session: Session, method: str, path: str
) -> None:
    client = client_of(session, token="right")
    assert client.get("/health").status_code == 200
    for header in (None, "Bearer wrong", "Bearer ", "Basic cmlnaHQ=", "right", "Bearer righ\u00e9"):
        headers = {} if header is None else {"Authorization": header}
        response = client.open(path, method=method, headers=headers)
        refused(response, 401, Reason.UNAUTHORIZED)
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    allowed = client.open(path, method=method, headers={"Authorization": "Bearer right"})
    assert allowed.status_code != 401
    assert not Path(session.paths.workspace, "x").exists() or method == "PUT"


def test_all_routes_are_in_the_list_above(session: Session) -> None:
    rules = client_of(session).application.url_map.iter_rules()
    routes = {
        (method, rule.rule.replace("<path:path>", "x").replace("<name>", "x").replace(
            "<number>", "1"))
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD"}
    }  # fmt: skip
    assert routes - set(ROUTES) == {("GET", "/health")}


def test_an_unauthorised_request_is_no_activity(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(session, token="right")
    now = session.life._clock()
    session.life.touch()
    monkeypatch.setattr(session.life, "_clock", lambda: now + 50)
    client.get("/container-info")
    assert session.life.idle_seconds >= 49


# Files


def test_a_file_comes_back_as_it_was_sent(client: FlaskClient) -> None:
    data = os.urandom(3_000_000)
    sent = client.put("/files/data/deep/er/x.csv", data=data)
    assert sent.status_code == 201
    assert sent.json["bytes"] == len(data)
    got = client.get("/files/data/deep/er/x.csv")
    assert got.data == data
    assert got.mimetype == "text/csv"
    listed = client.get("/files?path=data").json
    assert [f["path"] for f in listed["files"]] == [
        "data/deep", "data/deep/er", "data/deep/er/x.csv"
    ]  # fmt: skip
    assert client.get("/debug/files?path=/app/data").json == listed
    assert client.delete("/files/data/deep/er/x.csv").json["deleted"]
    refused(client.get("/files/data/deep/er/x.csv"), 404, Reason.FILE_NOT_FOUND)


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "a//x", "data/.app/x", "a%00b", "..", "/etc/passwd"]
)
def test_a_path_that_leaves_the_workspace_is_refused(client: FlaskClient, path: str) -> None:
    response = client.put(f"/files/{path}", data=b"x")
    assert response.status_code in (400, 404)
    assert response.json["error"]["reason"] in ("UnsafePath", "BadRequest")
    for shown in (f"/debug/files?path={path}", f"/files?path={path}"):
        assert client.get(shown).status_code in (400, 404)


def test_links_are_followed_by_nobody(client: FlaskClient, paths: Paths, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("hidden")
    Path(paths.workspace, "link").symlink_to(secret)
    Path(paths.workspace, "file").symlink_to(secret / "key")

    refused(client.get("/files/link/key"), 409, Reason.PATH_CONFLICT)
    refused(client.get("/files/file"), 409, Reason.PATH_CONFLICT)
    refused(client.put("/files/link/new", data=b"x"), 409, Reason.PATH_CONFLICT)
    refused(client.get("/files?path=link"), 409, Reason.PATH_CONFLICT)
    refused(client.delete("/files/link/key"), 409, Reason.PATH_CONFLICT)
    kinds = {f["path"]: f["type"] for f in client.get("/files").json["files"]}
    assert kinds["link"] == kinds["file"] == "link"
    assert "link/key" not in kinds

    assert client.put("/files/file", data=b"mine").status_code == 201  # replaces the link itself
    assert (secret / "key").read_text() == "hidden"
    assert client.get("/files/file").data == b"mine"


def test_what_is_no_file_is_not_read_and_does_not_hang(client: FlaskClient, paths: Paths) -> None:
    os.mkfifo(Path(paths.workspace, "pipe"))
    refused(client.get("/files/pipe"), 409, Reason.PATH_CONFLICT)
    refused(client.get("/files/data"), 409, Reason.PATH_CONFLICT)
    refused(client.put("/files/data", data=b"x"), 409, Reason.PATH_CONFLICT)
    assert [p.name for p in Path(paths.workspace).glob(".nanogrid*")] == []


def test_a_file_that_is_too_long_is_refused_by_its_announcement(
    client: FlaskClient, paths: Paths
) -> None:
    response = client.put("/files/x", environ_overrides={"CONTENT_LENGTH": str(2 << 30)})
    refused(response, 413, Reason.FILE_TOO_LARGE)
    assert not Path(paths.workspace, "x").exists()


def test_a_listing_is_bounded(client: FlaskClient, paths: Paths) -> None:
    folder = Path(paths.real(names.DEFAULT_DATA_PATH))
    for number in range(1002):
        (folder / f"{number:04}").touch()
    listed = client.get("/files?path=data").json
    assert (listed["count"], listed["truncated"]) == (1000, True)
    assert [f["path"] for f in listed["files"][:2]] == ["data/0000", "data/0001"]
