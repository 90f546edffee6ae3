"""A hostile launcher in a job's own image, against the real agent and a session's agent.

It can falsify its own job's result within the bounds, and nothing else: the agent lives, and the
API server accepts the status.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nanogrid import names, result_bounds, wire
from nanogrid_executor.agent import execution
from nanogrid_executor.agent.execution import Execution, RunRequest, Sandbox
from nanogrid_executor.launcher import frames, session_frames
from nanogrid_executor.paths import Paths
from nanogrid_executor.session import sandbox as session_sandbox
from nanogrid_executor.session.sandbox import LauncherSandbox
from nanogrid_operator.decision.outcome import from_report
from nanogrid_operator.status.job import final_status
from support.builders import a_job
from support.final_statuses import DELIVERED, NOW, STATUS_SCHEMA
from support.hostile_launchers import (
    BATCH_PLAYS,
    HONEST_END,
    SESSION_PLAYS,
    Play,
    contexts,
    ended,
    frame,
    message,
    play,
)
from support.s3_server import make_task
from support.session_sandbox import RecordingSink, SandboxPod
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.security]
SECONDS = 60


def connect(path: str) -> socket.socket:
    """Connect to an agent as a launcher does."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(SECONDS)

    def connected() -> bool:
        try:
            sock.connect(path)
        except OSError:
            return False
        return True

    wait_until(connected, SECONDS)
    return sock


# Batch.


def reported(paths: Paths, pieces: Iterator[bytes]) -> wire.Report:
    """What the real agent reports of a launcher that sends these bytes."""
    task = make_task(code_inline="print(1)")
    env = {**os.environ, names.ENV_TASK: wire.dumps(task), names.ENV_RESULTS_URL: ""}
    command = [sys.executable, "-m", "nanogrid_executor", "agent", "--root", paths.root]
    agent = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        with connect(paths.socket) as sock:
            assert frames.receive(sock) is not None, "RUN"
            play(sock, pieces)
        log, _ = agent.communicate(timeout=SECONDS)
    finally:
        if agent.poll() is None:
            agent.kill()
            agent.communicate()
    assert agent.returncode == 0, log.decode()
    message = Path(paths.real(names.TERMINATION_FILE)).read_text()
    assert len(message.encode()) <= wire.TERMINATION_CAP_BYTES
    return wire.loads(wire.Report, message)


@pytest.mark.parametrize("hostile", BATCH_PLAYS, ids=lambda each: each.name)
def test_the_agent_survives_and_its_report_is_within_the_bounds(
    paths: Paths, hostile: Play
) -> None:
    report = reported(paths, hostile.pieces())

    assert result_bounds.report(report) == report
    assert report.result.status != "SUCCESS" or report.result.exit_code == 0
    job = a_job()
    identity = wire.JobRef(namespace=job.namespace, name=job.name, uid=job.uid)
    result = replace(report.result, job=identity, request_id=job.request_id)
    end = from_report(job, None, replace(report, result=result))
    status = final_status(job, None, end, DELIVERED, NOW)
    assert [error.message for error in STATUS_SCHEMA.iter_errors(status)] == []


def test_control_an_honest_end_is_a_success(paths: Paths) -> None:
    report = reported(paths, iter([frame(frames.EXITED, ended())]))

    assert (report.result.status, report.result.exit_code) == ("SUCCESS", 0)
    assert report.result.peak_memory_bytes == HONEST_END["peakMemoryBytes"]


@pytest.mark.parametrize("name", ["memory that is not one", "100,000 memory frames"])
def test_memory_frames_of_any_kind_end_no_job(paths: Paths, name: str) -> None:
    hostile = next(each for each in BATCH_PLAYS if each.name == name)

    report = reported(paths, hostile.pieces())

    assert (report.result.status, report.result.exit_code) == ("SUCCESS", 0)
    assert report.result.peak_memory_bytes == HONEST_END["peakMemoryBytes"]


def test_a_launcher_that_says_it_was_stopped_is_not_believed(paths: Paths) -> None:
    report = reported(paths, iter([frame(frames.EXITED, ended(cancelled=True))]))

    assert (report.result.status, report.result.reason) == ("FAILED", "Signaled")


def test_a_launcher_that_never_reports_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends a byte now and then, so no timeout of the socket ends it."""
    monkeypatch.setattr(execution, "LATE_SECONDS", 0.5)
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.01):
            try:
                theirs.sendall(frame(frames.STDOUT, b"."))
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    request = RunRequest(
        argv=["x"], cwd="/", env={}, stdin="", timeout_seconds=0.1, grace_seconds=0.1
    )
    observed = Execution()
    try:
        Sandbox(ours).run(request, observed, lambda: None)
    finally:
        stop.set()
        ours.close()
        theirs.close()
        thread.join()

    assert observed.exited is None
    assert observed.lost == "the launcher reported no end in time"
    assert observed.stdout.count > 0


# Session.


@pytest.fixture
def sandbox(paths: Paths) -> Iterator[LauncherSandbox]:
    """The agent's side; no launcher has connected."""
    os.makedirs(paths.run_dir, exist_ok=True)
    started = LauncherSandbox(paths.socket, paths.workspace)
    started.start()
    yield started
    started.close()


def join(paths: Paths) -> socket.socket:
    """Connect as a session's launcher, up to READY."""
    sock = connect(paths.socket)
    assert frames.receive(sock) is not None, "SESSION"
    frames.send_json(sock, session_frames.READY, {"processFd": False})
    return sock


def run_with(
    sandbox: LauncherSandbox, paths: Paths, pod: SandboxPod, pieces: Iterator[bytes]
) -> RecordingSink:
    """Run execution 1 with a launcher that sends these bytes."""
    with join(paths) as sock:
        assert sandbox.wait_available(SECONDS)
        hostile = threading.Thread(target=_answer, args=(sock, pieces))
        hostile.start()
        sink = RecordingSink()
        sink.end = sandbox.run(pod.spec("1", timeout_seconds=5.0), sink)
        sandbox.disconnect()
        hostile.join(SECONDS)
    return sink


def _answer(sock: socket.socket, pieces: Iterator[bytes]) -> None:
    assert frames.receive(sock) is not None, "RUN"
    play(sock, pieces)


@pytest.fixture
def launchers(
    sandbox: LauncherSandbox, paths: Paths, launcher_dir: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SandboxPod]:
    """Honest launchers for the same sandbox."""
    monkeypatch.setattr("nanogrid_executor.session.launcher_listener.QUIET_SECONDS", 0.05)
    pod = SandboxPod(paths, launcher_dir, [])
    pod.sandbox = sandbox
    yield pod
    for process in pod.launchers:
        process.kill()
        process.wait()


@pytest.mark.parametrize("hostile", SESSION_PLAYS, ids=lambda each: each.name)
def test_a_session_survives_and_takes_the_next_launcher(
    sandbox: LauncherSandbox, paths: Paths, launchers: SandboxPod, hostile: Play
) -> None:
    end = run_with(sandbox, paths, launchers, hostile.pieces()).ended

    assert end.exit_code is None or 0 <= end.exit_code <= 255
    assert end.signal is None or len(end.signal) <= result_bounds.SIGNAL_CHARACTERS
    assert 0 <= end.duration_millis <= result_bounds.MAX_MILLIS
    assert 0 <= (end.peak_memory_bytes or 0) <= result_bounds.MAX_COUNT
    assert len(end.error or "") <= result_bounds.MESSAGE_BYTES
    wait_until(lambda: not sandbox.available, SECONDS)
    launchers.launch()
    assert sandbox.wait_available(SECONDS)
    assert launchers.run("print('honest')").out == "honest\n"


def test_control_an_honest_launcher_of_the_test(
    sandbox: LauncherSandbox, paths: Paths, launchers: SandboxPod
) -> None:
    pieces = [message(b"S", 1, b'{"startMillis": 3}'), message(frames.EXITED, 1, ended())]
    sink = run_with(sandbox, paths, launchers, iter(pieces))

    assert (sink.ended.exit_code, sink.ended.sandbox_lost, sink.starts) == (0, False, [3])


def test_contexts_are_within_their_bounds(sandbox: LauncherSandbox, paths: Paths) -> None:
    odd = contexts(
        name="n" * 9000, ageSeconds=float("nan"), executions=10**30, memoryBytes=-(10**30)
    )
    with join(paths) as sock:
        sock.sendall(odd)
        wait_until(lambda: bool(sandbox.contexts()), SECONDS)
        (context,) = sandbox.contexts()

    assert (len(context.name), context.age_seconds) == (result_bounds.WORD_BYTES, 0.0)
    assert (context.executions, context.memory_bytes) == (result_bounds.MAX_COUNT, 0)


@pytest.mark.parametrize(
    "ready",
    [
        frames.HEADER.pack(session_frames.READY, 2**32 - 1),
        frames.HEADER.pack(frames.EXITED, 0),
        b"Y",
    ],
    ids=["4 GiB", "another frame", "half a frame"],
)
def test_a_launcher_that_is_not_ready_does_not_stay(
    sandbox: LauncherSandbox, paths: Paths, launchers: SandboxPod, ready: bytes
) -> None:
    with connect(paths.socket) as sock:
        assert frames.receive(sock) is not None, "SESSION"
        sock.sendall(ready)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    launchers.launch()
    assert sandbox.wait_available(SECONDS)


def test_a_session_gives_up_a_launcher_that_never_reports_an_end(
    sandbox: LauncherSandbox,
    paths: Paths,
    launchers: SandboxPod,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_sandbox, "LATE_SECONDS", -6.5)  # 5 s and 2 s of grace before it
    drip = (message(frames.STDOUT, 1, b".") for _ in iter(int, 1))

    end = run_with(sandbox, paths, launchers, drip).ended

    assert end.sandbox_lost
    assert end.error == "the launcher sent no message in time"
