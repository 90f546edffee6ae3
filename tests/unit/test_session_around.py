"""What is around a session's API: progress of its inputs, reports to the operator, its end."""

import json
import threading
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from integration.support import free_port
from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.fetch import Progress
from nanogrid_executor.result import Stored, to_termination
from nanogrid_executor.session import final, uploads
from nanogrid_executor.session.errors import ApiError
from nanogrid_executor.session.filesync import allow
from nanogrid_executor.session.progress import ProgressServer
from nanogrid_executor.session.reporting import Reporter, sessions_url
from nanogrid_executor.session.workspace import Workspace
from unit.session_fakes import make_paths, session_task, wait_until


def ask(port: int, method: str = "GET") -> tuple[int, Any, str | None]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, "/health")
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    return response.status, body, response.getheader("Retry-After")


def test_while_inputs_are_copied_health_says_how_far_that_is() -> None:
    seen: list[Progress] = []
    server = ProgressServer("r-1", lambda: seen[0] if seen else None)
    server.start(free_port())
    try:
        status, body, after = ask(server.port)
        assert (status, body["status"], after) == (503, "initializing", "1")
        assert body["sync"]["totalFiles"] == 0

        progress = Progress()
        progress.expect(3, 300)
        progress.add(120)
        progress.file_done()
        seen.append(progress)

        sync = ask(server.port)[1]["sync"]
        assert sync.pop("durationMillis") >= 0
        assert sync == {"files": 1, "bytes": 120, "totalFiles": 3, "totalBytes": 300}
        assert ask(server.port, "POST")[0] == 503
    finally:
        server.stop()


def test_a_port_that_is_taken_is_logged_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = (ProgressServer("r-1", lambda: None) for _ in range(2))
    first.start(free_port())
    try:
        second.start(first.port)
        assert second.port == 0
        assert "progress-not-served" in capsys.readouterr().out
    finally:
        first.stop()
        second.stop()


class Endpoint:
    """Answers of an operator, in order, then 204; ``open`` lets one POST through at a time."""

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)
        self.bodies: list[dict[str, Any]] = []

    def post(self, url: str, token_file: str, body: bytes) -> int | str:
        assert url == "http://operator:8080/v1/sessions"
        self.bodies.append(json.loads(body))
        return self.answers.pop(0) if self.answers else 204


def make_reporter(endpoint: Endpoint, count: list[int], **changes: float) -> Reporter:
    def state() -> wire.SessionReport:
        return wire.SessionReport(
            uid="u", attempt=1, ready=True, executions=count[0], running=None,
            last_activity_millis=0,
        )  # fmt: skip

    url = "http://operator:8080/v1/results"
    return Reporter(url, "token", state, endpoint.post, **changes)


def test_many_changes_at_once_are_one_report_of_the_newest() -> None:
    endpoint, count = Endpoint(), [0]
    reporter = make_reporter(endpoint, count, shortest=0.3)
    reporter.start()
    reporter.changed()
    wait_until(lambda: endpoint.bodies)
    for number in range(1, 51):
        count[0] = number
        reporter.changed()
    wait_until(lambda: endpoint.bodies[-1]["executions"] == 50)
    reporter.stop()
    assert len(endpoint.bodies) <= 3


def test_without_a_change_there_is_a_report_now_and_then() -> None:
    endpoint = Endpoint()
    reporter = make_reporter(endpoint, [0], shortest=0.0, longest=0.01)
    reporter.start()
    wait_until(lambda: len(endpoint.bodies) > 3)
    reporter.stop()


def test_an_outage_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = Endpoint(503, "refused", 503)
    reporter = make_reporter(endpoint, [0], shortest=0.0, longest=0.01)
    reporter.start()
    wait_until(lambda: len(endpoint.bodies) > 5)
    reporter.stop()
    out = capsys.readouterr().out
    assert out.count("session-report-not-taken") == 1
    assert out.count("session-report-taken-again") == 1


def test_reports_go_beside_results() -> None:
    assert sessions_url("https://op:1/v1/results") == f"https://op:1{names.SESSIONS_PATH}"


OTHERS = wire.Input(
    name="o", s3=wire.S3Source(bucket="shared", prefix="ref"), mount_path="/app/data"
)
ONE = wire.Input(
    name="k", s3=wire.S3Source(bucket="shared", key="one/file.csv"), mount_path="/app/data"
)


@pytest.mark.parametrize(
    ("bucket", "prefix", "allowed"),
    [
        ("own", "sessions/r-1/input/", True),
        ("own", "sessions/r-1", True),
        ("own", "sessions/r-1/", True),
        ("shared", "ref", True),
        ("shared", "ref/deeper/", True),
        ("shared", "one/file.csv", True),
        ("own", "sessions/r-12/", False),
        ("own", "sessions/", False),
        ("own", "", False),
        ("own", "ref/", False),
        ("shared", "reference/", False),
        ("shared", "one/", False),
        ("shared", "one/file.csv2", False),
        ("shared", "sessions/r-1/", False),
    ],
)
def test_only_the_sessions_own_sources_are_allowed(bucket: str, prefix: str, allowed: bool) -> None:
    task = session_task(bucket="own", inputs=[OTHERS, ONE])
    if allowed:
        assert allow(task, bucket, prefix, "/app/data/").folder == "/app/data"
        return
    with pytest.raises(ApiError) as caught:
        allow(task, bucket, prefix, "/app/data/")
    assert (caught.value.status, caught.value.reason) == (403, Reason.PREFIX_NOT_ALLOWED)
    assert "s3://own/sessions/r-1/" in str(caught.value)


def test_copies_of_sent_files_cannot_take_each_others_place() -> None:
    keys = [uploads.copy_key("r-1", path) for path in ("data/x", "x", "data/app/x", "app/x")]
    assert keys[0] == "sessions/r-1/data/x"
    assert len(set(keys)) == 4
    with pytest.raises(ApiError):
        uploads.copy_key("r-1", "data/.app/x")


def test_a_body_that_is_longer_or_shorter_than_it_may_be_leaves_nothing(tmp_path: Path) -> None:
    paths = make_paths(tmp_path)
    workspace = Workspace(paths.workspace)

    def send(size: int, length: int | None, limit: int) -> None:
        pieces = [b"x" * size, b""]
        uploads.receive(session_task(), workspace, "f", lambda count: pieces.pop(0), length, limit)

    with pytest.raises(ApiError, match="at most 10") as caught:
        send(11, None, 10)
    assert caught.value.status == 413
    with pytest.raises(ApiError, match="4 bytes of the 5"):
        send(4, 5, 10)
    assert [p.name for p in Path(paths.workspace).iterdir() if p.is_file()] == []
    send(5, 5, 10)
    assert Path(paths.workspace, "f").read_bytes() == b"xxxxx"


def test_a_file_put_in_place_while_it_is_read_is_whole_or_the_old_one(tmp_path: Path) -> None:
    paths = make_paths(tmp_path)
    workspace = Workspace(paths.workspace)
    bodies = [bytes([n]) * 200_000 for n in range(8)]
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for body in bodies:
                with workspace.create("f") as new:
                    new.file.write(body)
                    new.commit()

    with workspace.create("f") as new:
        new.file.write(bodies[0])
        new.commit()
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(100):
            file, size = workspace.open("f")
            with file:
                assert file.read() in bodies
            assert size == 200_000
    finally:
        stop.set()
        thread.join()


ANSWER = {"stdout": "s" * 9000, "stderr": "", "stdoutTruncated": False, "stderrTruncated": False}


def report_of(reason: Reason, stored: Stored, unrecorded: int = 0) -> wire.Report:
    return final.build(
        session_task(), reason, stored, None, last=ANSWER, executions=16, unrecorded=unrecorded,
        seconds=12.5, cpu_millis=40, peak_memory_bytes=5 << 20, memory_source="cgroup",
    )  # fmt: skip


@pytest.mark.parametrize(
    "reason",
    [Reason.IDLE_TIMEOUT, Reason.LIFETIME_EXCEEDED, Reason.EXECUTION_LIMIT, Reason.SESSION_ENDED],
)
def test_a_session_that_ends_by_its_rules_is_a_success(reason: Reason) -> None:
    result = report_of(reason, Stored()).result
    assert (result.status, result.exit_code, result.reason) == ("SUCCESS", 0, reason.value)
    assert (result.duration_millis, result.stdout) == (12_500, "s" * 9000)
    assert "16" in result.message


def test_a_session_whose_artifacts_are_lost_is_none() -> None:
    result = report_of(Reason.IDLE_TIMEOUT, Stored(failed=["a.png: S3 is away"]), 2).result
    assert (result.status, result.reason) == ("FAILED", "OutputUploadFailed")
    assert "a.png" in result.message
    assert "IdleTimeout" in result.message
    assert "Records not stored: 2" in result.message


def test_a_stopped_session_fails_and_its_report_fits_the_kubelet() -> None:
    report = report_of(Reason.TERMINATED, Stored())
    assert (report.result.status, report.result.reason) == ("FAILED", "Terminated")
    assert len(to_termination(report).encode()) <= wire.TERMINATION_CAP_BYTES
