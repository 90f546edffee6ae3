"""Agent and launcher as real processes: signals, kills and timeouts of the upload."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.paths import Paths
from support.executor_pod import operator, running
from support.s3_server import BUCKET, S3Server, make_rules, make_task
from support.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.security]


def test_launcher_killed(paths: Paths, launcher_dir: str) -> None:
    task = make_task(code_inline="import time; print('so far'); time.sleep(3)")
    with running(task, paths, launcher_dir) as pod:
        assert pod.sandbox.stdout is not None
        assert pod.sandbox.stdout.readline() == b"so far\n"
        pod.sandbox.kill()
        ended = pod.wait()
    assert not ended.report.final
    assert ended.result.reason == Reason.SANDBOX_LOST.value
    assert ended.result.exit_code is None
    assert ended.result.stdout == "so far\n"


@pytest.mark.parametrize(
    ("containers", "reason"),
    [
        (["agent"], Reason.TERMINATED),
        (["sandbox", "agent"], Reason.TERMINATED),
        (["sandbox"], Reason.SIGNALED),  # the kubelet stops both
    ],
)
def test_sigterm_stops_the_code_and_is_reported(
    paths: Paths, launcher_dir: str, containers: list[str], reason: Reason
) -> None:
    task = make_task(code_inline="import time; print('so far'); time.sleep(60)")
    with running(task, paths, launcher_dir) as pod:
        assert pod.sandbox.stdout is not None
        pod.sandbox.stdout.readline()
        for container in containers:
            getattr(pod, container).send_signal(signal.SIGTERM)
        ended = pod.wait()
    assert ended.report.final
    assert (ended.result.status, ended.result.exit_code) == ("FAILED", 143)
    assert ended.result.reason == reason.value
    assert ended.sandbox_exit == 143


def test_agent_killed_ends_the_code(paths: Paths, launcher_dir: str) -> None:
    task = make_task(code_inline="import os,time; print(os.getpid()); time.sleep(60)")
    with running(task, paths, launcher_dir) as pod:
        assert pod.sandbox.stdout is not None
        pid = int(pod.sandbox.stdout.readline())
        pod.agent.kill()
        assert pod.sandbox.wait(60) == 76
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


def status_of(pid: int, name: str) -> str:
    """A value of a process's status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def takes(pid: int, number: int) -> bool:
    """Whether a process has blocked a signal in order to read it from a descriptor."""
    return bool(int(status_of(pid, "SigBlk"), 16) >> (number - 1) & 1)


# A program that stops itself until it gets SIGCONT.
STOPPED = ["sh", "-c", 'kill -STOP $$; exec "$@"', "sh", sys.executable]


def test_sigterm_before_the_launcher_connects(paths: Paths, launcher_dir: str) -> None:
    task = make_task(code_inline="open('ran', 'w')")
    with running(task, paths, launcher_dir, python=STOPPED) as pod:
        wait_until(lambda: status_of(pod.sandbox.pid, "State") == "T")
        wait_until(lambda: os.path.exists(paths.socket))  # the agent listens
        pod.agent.send_signal(signal.SIGTERM)
        wait_until(lambda: not os.path.exists(paths.socket))
        pod.sandbox.send_signal(signal.SIGCONT)
        pod.sandbox.send_signal(signal.SIGTERM)
        ended = pod.wait()
    assert (ended.result.reason, ended.result.exit_code) == ("Terminated", None)
    assert ended.report.final
    assert not os.path.exists(f"{paths.workspace}/ran")


def test_sigterm_while_the_launcher_waits_for_an_agent(launcher_dir: str, paths: Paths) -> None:
    command = [sys.executable, "-I", "-S", launcher_dir, f"{paths.root}/none.sock"]
    process = subprocess.Popen(command)
    wait_until(lambda: takes(process.pid, signal.SIGTERM))
    process.terminate()
    assert process.wait(60) == 143


GRACEFUL = """
import signal, sys, time
def stop(number, frame):
    open("output/late.txt", "w").write("kept")
    print("stopping")
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
open("output/early.txt", "w").write("kept")
sys.stdout.write("no newline")
print(flush=True)
time.sleep(60)
"""


def test_a_stopped_run_delivers_outputs_exit_code_and_report(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    task = make_task(
        code_inline=GRACEFUL,
        bucket=BUCKET,
        outputs=make_rules(prefix="outputs/stopped/"),
        termination_grace_seconds=30.0,
    )
    with operator() as server, running(task, paths, launcher_dir, url=server.url) as pod:
        assert pod.sandbox.stdout is not None
        pod.sandbox.stdout.readline()
        pod.agent.send_signal(signal.SIGTERM)
        ended = pod.wait()
        report = wire.loads(wire.Report, server.bodies[0])
    assert (report.result.reason, report.result.exit_code) == ("Terminated", 7)
    assert report.result.stdout == "no newline\nstopping\n"
    prefix = f"s3://{BUCKET}/outputs/stopped/.partial/"
    assert report.result.output_files == [f"{prefix}early.txt", f"{prefix}late.txt"]
    assert s3.get("outputs/stopped/.partial/late.txt") == b"kept"
    assert ended.sandbox_exit == 7


def test_an_agent_that_dies_during_the_upload_leaves_a_result(
    s3: S3Server, paths: Paths, launcher_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        monkeypatch.setenv(names.ENV_S3_ENDPOINT, f"http://127.0.0.1:{silent.getsockname()[1]}")
        code = "print('hello'); open('output/a', 'w').write('x')"
        task = make_task(code_inline=code, bucket=BUCKET, outputs=make_rules())
        with running(task, paths, launcher_dir) as pod:
            assert pod.sandbox.wait(60) == 0
            message = Path(paths.real(names.TERMINATION_FILE))
            # The agent opens the file before it writes: wait for the text.
            wait_until(lambda: message.exists() and message.read_text().endswith("}"))
            pod.agent.kill()
            pod.agent.wait()
        result = wire.loads(wire.Report, message.read_text()).result
    assert (result.status, result.reason) == ("FAILED", "OutputUploadFailed")
    assert (result.exit_code, result.stdout) == (0, "hello\n")


def test_an_upload_that_stalls_ends_at_its_timeout(
    run: Any, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        monkeypatch.setenv(names.ENV_S3_ENDPOINT, f"http://127.0.0.1:{silent.getsockname()[1]}")
        ended = run(
            "print('hello'); open('output/a', 'w').write('x')",
            bucket=BUCKET,
            outputs=make_rules(),
            upload_timeout_seconds=1.0,
        )
    assert (ended.result.reason, ended.result.exit_code) == ("OutputUploadFailed", 0)
    assert "a: no time was left to upload it" in ended.result.message
