"""When a session's agent reports to the operator."""

import json
import threading
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid_executor.agent.report_client import url_of
from nanogrid_executor.session.reporter import SessionReporter
from support.waiting import wait_until

SHORTEST, LONGEST = 1.0, 30.0


class Endpoint:
    """An operator: responds with the given answers, then with 204; notes bodies and waits."""

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []
        self.waits: list[float] = []
        self.executions = 0
        self.reporter = SessionReporter(
            "http://operator:8080/v1/results",
            "token",
            self.state,
            self.post,
            SHORTEST,
            LONGEST,
            self.wait,
        )

    def state(self) -> wire.SessionReport:
        return wire.SessionReport(
            uid="u",
            attempt=1,
            ready=True,
            executions=self.executions,
            running=None,
            last_activity_millis=0,
        )

    def post(self, url: str, token_file: str, body: bytes) -> int | str:
        assert url == "http://operator:8080/v1/sessions"
        self.bodies.append(json.loads(body))
        return self.answers.pop(0) if self.answers else 204

    def wait(self, event: threading.Event, seconds: float) -> None:
        self.waits.append(seconds)


def test_many_changes_are_one_report_of_the_newest_state() -> None:
    endpoint = Endpoint()
    assert endpoint.reporter.report_next()
    for number in range(1, 51):
        endpoint.executions = number
        endpoint.reporter.changed()
    assert endpoint.reporter.report_next()
    assert [body["executions"] for body in endpoint.bodies] == [0, 50]


def test_reports_are_apart_and_come_without_a_change_too() -> None:
    endpoint = Endpoint()
    for _ in range(2):
        endpoint.reporter.report_next()
    assert endpoint.waits[::2] == [LONGEST, LONGEST]
    assert endpoint.waits[1::2] == pytest.approx([SHORTEST, SHORTEST], abs=SHORTEST / 2)


def test_a_change_wakes_the_thread_until_it_is_stopped() -> None:
    endpoint = Endpoint()
    reporter = SessionReporter(
        "http://operator:8080/v1/results", "token", endpoint.state, endpoint.post, 0.0
    )
    reporter.start()
    reporter.changed()
    wait_until(lambda: endpoint.bodies)
    reporter.stop()
    assert not reporter.report_next()


def test_an_outage_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = Endpoint(503, "refused", 503)
    for _ in range(6):
        endpoint.reporter.report_next()
    out = capsys.readouterr().out
    assert out.count("session-report-not-taken") == 1
    assert out.count("session-report-taken-again") == 1


def test_the_url_of_session_reports_follows_from_that_of_results() -> None:
    assert (
        url_of("https://op:1/v1/results", names.SESSIONS_PATH)
        == f"https://op:1{names.SESSIONS_PATH}"
    )
