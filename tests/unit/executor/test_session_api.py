"""The session's HTTP API: life cycle, invalid requests, authentication."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.session import Session
from support.fake_clock import FakeClock
from support.session_client import assert_error, in_thread, run_code, states
from support.session_fakes import RULES, FakeSandbox, client_of, make_session, session_task
from support.waiting import wait_until

pytestmark = pytest.mark.security


def test_the_path_at_the_router_may_be_kept(client: FlaskClient, session: Session) -> None:
    own = names.session_path(session.task.namespace, session.task.job)

    assert client.get(f"{own}/health").get_json() == client.get("/health").get_json()
    assert client.get("/sessions/other/one/health").status_code == 404


# Life cycle


def test_no_work_is_accepted_before_the_sandbox_connects(paths: Paths) -> None:
    sandbox = FakeSandbox(paths.workspace)
    sandbox.connected.clear()
    client = client_of(make_session(paths, sandbox=sandbox))

    health = client.get("/health")
    assert health.status_code == 503
    assert health.json["status"] == "initializing"
    assert health.json["sync"]["totalFiles"] == 0
    assert health.headers["Retry-After"] == "1"
    assert_error(client.post("/execute", json={"code": "1"}), 503, Reason.INITIALIZING)

    sandbox.connected.set()
    assert client.get("/health").status_code == 200
    assert run_code(client, "print(1)")["success"]


def test_an_execution_waits_for_a_restarting_sandbox(paths: Paths) -> None:
    sandbox = FakeSandbox(paths.workspace)
    client = client_of(make_session(paths, sandbox=sandbox))
    run_code(client, "1")
    sandbox.connected.clear()
    assert client.get("/health").status_code == 503
    thread, results = in_thread(lambda: run_code(client, "print('after')"))
    wait_until(lambda: client.get("/health").json["running"] == 2)
    sandbox.restarts = 1
    sandbox.connected.set()
    thread.join()
    assert results[0]["stdout"] == "after\n"
    assert results[0]["sandboxRestarted"] is True
    assert run_code(client, "1")["sandboxRestarted"] is False


def test_a_lost_sandbox_is_the_reason_of_the_failure(client: FlaskClient, session: Session) -> None:
    thread, results = in_thread(lambda: run_code(client, "import time; time.sleep(60)"))
    wait_until(lambda: states(client) == ["RUNNING"])
    session.sandbox.close()
    thread.join()
    assert (results[0]["status"], results[0]["reason"]) == ("FAILED", "SandboxRestarted")
    assert results[0]["exit_code"] is None


def test_an_ending_session_refuses_work_and_stops_executions(
    client: FlaskClient, session: Session
) -> None:
    thread, results = in_thread(lambda: run_code(client, "import time; time.sleep(60)"))
    wait_until(lambda: states(client) == ["RUNNING"])
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
        assert_error(response, 503, Reason.SESSION_ENDED)
        assert response.json["status"] == "ending"


def test_executions_above_the_limit_are_refused(paths: Paths) -> None:
    session = make_session(paths, session_task(replace(RULES, max_executions=2)))
    client = client_of(session)
    run_code(client, "1")
    run_code(client, "1")
    assert_error(client.post("/execute", json={"code": "1"}), 503, Reason.EXECUTION_LIMIT)
    assert (
        session.timeouts.reason_to_end(session.executions.count, busy=False)
        is Reason.EXECUTION_LIMIT
    )


def test_a_health_check_is_no_activity_but_other_requests_are(paths: Paths) -> None:
    clock = FakeClock()
    session = make_session(paths, clock=clock)
    client = client_of(session)
    clock.now += 100
    client.get("/health")
    assert session.timeouts.idle_seconds == 100
    client.get("/container-info")
    assert session.timeouts.idle_seconds == 0


# Invalid requests


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
        ({"code": "BASH: ls", "context": "c"}, "remove it"),
        ({"code": "a\x00b"}, "code must match"),
        ({"code": "\ud800"}, "surrogate"),
        ([], "the body must be an object"),
    ],
)
def test_the_error_names_the_invalid_field(client: FlaskClient, body: Any, says: str) -> None:
    assert says in assert_error(client.post("/execute", json=body), 400, Reason.BAD_REQUEST)
    assert client.get("/executions").json["count"] == 0


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"code": NaN}'])
def test_a_body_that_is_not_json_is_refused(client: FlaskClient, data: bytes) -> None:
    assert_error(client.post("/execute", data=data), 400, Reason.BAD_REQUEST)


def test_errors_of_http_have_the_same_shape(client: FlaskClient) -> None:
    assert_error(client.get("/nothing"), 404, Reason.BAD_REQUEST)
    response = client.delete("/execute")
    assert_error(response, 405, Reason.BAD_REQUEST)
    assert "POST" in response.headers["Allow"]
    assert_error(client.post("/execute", data=b"x" * (1 << 21)), 413, Reason.BAD_REQUEST)
    assert_error(client.get("/executions?limit=-1"), 400, Reason.BAD_REQUEST)


def test_an_unexpected_error_shows_no_traceback(
    client: FlaskClient, session: Session, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(session.sandbox, "contexts", broken)
    message = assert_error(client.get("/contexts"), 500, Reason.INTERNAL_ERROR)
    assert "secret" not in message
    assert "secret detail" in capsys.readouterr().out


def test_a_request_for_another_session_is_refused(client: FlaskClient) -> None:
    assert client.get("/container-info?session_id=r-1").json["session_id"] == "r-1"
    assert_error(client.get("/container-info?session_id=other"), 409, Reason.WRONG_SESSION)
    body = {"code": "1", "session_id": "other"}
    assert_error(client.post("/execute", json=body), 409, Reason.WRONG_SESSION)


# Authentication


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
def test_without_the_token_only_health_responds(session: Session, method: str, path: str) -> None:
    client = client_of(session, token="right")
    assert client.get("/health").status_code == 200
    for header in (None, "Bearer wrong", "Bearer ", "Basic cmlnaHQ=", "right", "Bearer righ\u00e9"):
        headers = {} if header is None else {"Authorization": header}
        response = client.open(path, method=method, headers=headers)
        assert_error(response, 401, Reason.UNAUTHORIZED)
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


def test_an_unauthorised_request_is_no_activity(paths: Paths) -> None:
    clock = FakeClock()
    session = make_session(paths, clock=clock)
    client = client_of(session, token="right")
    clock.now += 50
    client.get("/container-info")
    assert session.timeouts.idle_seconds == 50
