"""Repeated requests and event streams over the session's HTTP API."""

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from nanogrid.reasons import Reason
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.session import Session
from support.session_client import WAITS, assert_error, events_of, in_thread, run_code, states
from support.session_fakes import client_of, make_session
from support.waiting import wait_until

# Idempotency


def test_the_same_key_runs_once_and_gets_the_same_answer(client: FlaskClient, paths: Paths) -> None:
    code = {"code": "open('count', 'a').write('x'); print('done')"}
    first = client.post("/execute", json=code, headers={"Idempotency-Key": "k"})
    again = client.post("/execute", json=code, headers={"Idempotency-Key": "k"})

    assert first.json == again.json
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert Path(paths.workspace, "count").read_text() == "x"


def test_the_same_key_waits_for_the_first_request_to_end(
    client: FlaskClient, session: Session, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted: list[tuple[int, bool]] = []
    accept = session.executions.accept

    def observed(*arguments: Any) -> tuple[int, bool]:
        result = accept(*arguments)
        accepted.append(result)
        return result

    monkeypatch.setattr(session.executions, "accept", observed)

    def send() -> Any:
        headers = {"Idempotency-Key": "k"}
        return client.post("/execute", json={"code": WAITS}, headers=headers).json

    first, one = in_thread(send)
    wait_until(lambda: client.get("/health").json["running"] == 1)
    second, two = in_thread(send)
    wait_until(lambda: sorted(accepted) == [(1, False), (1, True)])  # two threads append
    assert two == []
    Path(paths.workspace, "go").touch()
    first.join()
    second.join()

    assert one == two
    assert client.get("/executions").json["count"] == 1


def test_a_key_with_a_different_request_is_refused(client: FlaskClient) -> None:
    headers = {"Idempotency-Key": "k"}
    client.post("/execute", json={"code": "1"}, headers=headers)
    response = client.post("/execute", json={"code": "2"}, headers=headers)
    assert_error(response, 422, Reason.IDEMPOTENCY_CONFLICT)
    bad = client.post("/execute", json={"code": "2"}, headers={"Idempotency-Key": "a b"})
    assert_error(bad, 400, Reason.BAD_REQUEST)


def test_keys_numbers_and_answers_survive_a_restart_of_the_agent(
    client: FlaskClient, paths: Paths
) -> None:
    headers = {"Idempotency-Key": "k"}
    first = client.post("/execute", json={"code": "print(1)"}, headers=headers).json

    other = client_of(make_session(paths))
    again = other.post("/execute", json={"code": "print(1)"}, headers=headers)

    assert again.json == first
    assert other.get("/executions").json["executions"][0]["status"] == "SUCCESS"
    following = run_code(other, "print(2)")
    assert following["execution_num"] == 2
    assert following["sandboxRestarted"] is True
    assert run_code(other, "print(3)")["sandboxRestarted"] is False


def test_an_execution_lost_with_its_agent_is_recorded_as_failed(
    client: FlaskClient, paths: Paths
) -> None:
    thread, _ = in_thread(lambda: run_code(client, WAITS))
    wait_until(lambda: states(client) == ["RUNNING"])

    after = make_session(paths)
    after.history.record_lost()

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


def test_an_execution_continues_when_its_client_disconnects(
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
    run_code(client, "display({'text/plain': 'x'}); print('out')", context="c")
    other = client_of(make_session(paths))
    events = list(events_of(iter(other.get("/executions/1/stream").response)))
    assert [name for name, _ in events] == ["started", "stdout", "result", "end"]
    assert_error(other.get("/executions/9/stream"), 404, Reason.EXECUTION_NOT_FOUND)


def test_a_character_in_two_pieces_is_one_event(
    client: FlaskClient, session: Session, paths: Paths
) -> None:
    code = (
        "import os, time\nos.write(1, b'\\xed\\x95')\n"
        "while not os.path.exists('go'): time.sleep(0.01)\nos.write(1, b'\\x9c')"
    )
    response = client.post("/execute", json={"code": code, "stream": True})
    execution = session.executions.find(1)
    assert execution is not None
    wait_until(lambda: execution.observation.stdout.count == 2)
    Path(paths.workspace, "go").touch()
    events = list(events_of(iter(response.response)))
    assert [json.loads(data)["text"] for name, data in events if name == "stdout"] == ["한"]
