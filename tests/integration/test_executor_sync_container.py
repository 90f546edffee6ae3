"""The input sync as processes: of the init container, and of the agent of a job's own pod."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.paths import Paths
from support.executor_pod import operator, running
from support.executor_sync import make_input
from support.fake_s3 import Content, fake_s3_of_a_pod
from support.process_memory import peak_memory
from support.s3_server import S3Server, make_task
from support.waiting import WAIT_SECONDS, wait_until

pytestmark = pytest.mark.integration
MIB = 1 << 20


@pytest.mark.parametrize(("key", "status"), [("cli/file", 0), ("cli/none", 1)])
def test_as_the_init_container_runs_it(s3: S3Server, paths: Paths, key: str, status: int) -> None:
    s3.put("cli/file", b"content")
    env = {**os.environ, names.ENV_TASK: wire.dumps(make_task(inputs=[make_input(key=key)]))}
    command = [sys.executable, "-m", "nanogrid_executor", "sync", "--root", paths.root]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    message = Path(paths.real(names.TERMINATION_FILE)).read_text()
    if status:
        assert wire.loads(wire.SyncFailure, message).reason == Reason.INPUT_NOT_FOUND.value
        assert "sync-failed reason=InputNotFound" in done.stdout
    else:
        assert wire.loads(wire.InputReport, message).files == 1
        assert "sync-end files=1 bytes=7" in done.stdout


def test_the_memory_of_a_sync_does_not_depend_on_the_size_of_a_file(
    s3: S3Server, paths: Paths
) -> None:
    peaks = []
    for number, size in enumerate((8 * MIB, 128 * MIB)):
        s3.put(f"memory/{number}", bytes(size))
        task = make_task(inputs=[make_input(key=f"memory/{number}")])
        env = {**os.environ, names.ENV_TASK: wire.dumps(task)}
        command = [sys.executable, "-m", "nanogrid_executor", "sync", "--root", paths.root]
        with (
            subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as sync,
            peak_memory(sync.pid) as found,
        ):
            assert sync.wait(WAIT_SECONDS) == 0
        assert os.path.getsize(paths.real(f"/app/data/{number}")) == size
        peaks.append(found[sync.pid])
    # Four threads with a chunk each, and the buffer of the hash: they are not there for one part.
    assert peaks[1] - peaks[0] < 20 * MIB, peaks


def test_the_process_ends_while_a_request_hangs(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_s3_of_a_pod(monkeypatch) as slow:
        s3 = slow.behaviour
        s3.listed["in/a"] = s3.stored["in/a"] = Content(bytes(1_000_000))
        s3.chunk_seconds = 0.2  # each of 1,000 reads comes in time
        task = make_task(inputs=[make_input(key="in/a")], input_sync_timeout_seconds=0.5)
        env = {**os.environ, names.ENV_TASK: wire.dumps(task)}
        command = [sys.executable, "-m", "nanogrid_executor", "sync", "--root", paths.root]
        # The whole body takes 200 s.
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100)
        assert done.returncode == 1
        failure = wire.loads(wire.SyncFailure, Path(paths.real(names.TERMINATION_FILE)).read_text())
        assert failure.reason == Reason.INPUT_SYNC_TIMEOUT.value


READ = "print(open('data/a').read())"
# A program that stops itself until it gets SIGCONT.
STOPPED = ["sh", "-c", 'kill -STOP $$; exec "$@"', "sh", sys.executable]


def test_the_agent_syncs_while_the_launcher_starts(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    s3.put("by-agent/a", b"content")
    item = make_input(key="by-agent/a")
    task = make_task(code_inline=READ, inputs=[item], inputs_by_agent=True)
    with running(task, paths, launcher_dir, python=STOPPED) as pod:
        wait_until(lambda: os.path.exists(paths.manifest))
        pod.sandbox.send_signal(signal.SIGCONT)
        ended = pod.wait()
    assert ended.result.stdout == "content\n", ended.agent_log
    assert ended.report.inputs is not None
    assert ended.report.inputs.files == 1
    assert ended.result.timings.sync_millis is not None


def test_the_agent_reports_the_failure_of_its_sync(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    item = make_input(key="by-agent/none")
    task = make_task(code_inline=READ, inputs=[item], inputs_by_agent=True)
    with operator() as server, running(task, paths, launcher_dir, url=server.url) as pod:
        ended = pod.wait()
        posted = wire.loads(wire.Report, server.bodies[0])
    assert posted.result.reason == Reason.INPUT_NOT_FOUND.value
    assert posted.final
    assert ended.sandbox_log == b""
    assert not os.path.exists(paths.manifest)


def test_sigterm_while_the_agent_syncs(
    paths: Paths, launcher_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_s3_of_a_pod(monkeypatch) as slow:
        s3 = slow.behaviour
        s3.listed["in/a"] = s3.stored["in/a"] = Content(bytes(1_000_000))
        s3.chunk_seconds = 0.2  # the whole body takes 100 s
        task = make_task(inputs=[make_input(key="in/a")], inputs_by_agent=True)
        with running(task, paths, launcher_dir) as pod:
            wait_until(lambda: any("in/a" in request for request in s3.requests))
            pod.agent.send_signal(signal.SIGTERM)
            ended = pod.wait()
    assert (ended.result.reason, ended.report.final) == ("Terminated", True)
    assert ended.sandbox_log == b""
