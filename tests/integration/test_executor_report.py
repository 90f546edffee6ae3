"""Agent and launcher as real processes: stored outputs, results and reports."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names, result_auth, wire
from nanogrid_executor.paths import Paths
from support.executor_pod import WAIT_SECONDS, Operator, operator, running
from support.s3_server import BUCKET, S3Server, make_rules, make_task
from support.waiting import wait_until

pytestmark = pytest.mark.integration


OUTPUTS = """
import os
os.makedirs("output/차트")
open("output/report.json", "w").write('{"total": 157685452}')
open("output/차트/매출.png", "wb").write(b"png")
open("output/large.tar.gz", "wb").write(bytes(9_000_000))
os.symlink("/etc/passwd", "output/link.txt")
os.mkfifo("output/fifo")
os.link("output/report.json", "hard"); os.link("hard", "output/second.json")
os.unlink("hard"); os.unlink("output/second.json")
"""


def test_outputs_and_result_are_stored(run: Any, s3: S3Server) -> None:
    ended = run(OUTPUTS, bucket=BUCKET, outputs=make_rules())
    result = wire.loads(wire.Result, s3.get(names.result_object("r-1")))
    assert result.status == "SUCCESS", ended.agent_log
    prefix = f"s3://{BUCKET}/outputs/r-1/"
    assert result.output_files == [
        f"{prefix}large.tar.gz",
        f"{prefix}report.json",
        f"{prefix}차트/매출.png",
    ]
    types = {file.path: file.content_type for file in result.outputs}
    assert types["large.tar.gz"] == "application/gzip"
    assert types["report.json"] == "application/json"
    assert types["차트/매출.png"] == "image/png"
    for file in result.outputs:
        key = file.url.removeprefix(f"s3://{BUCKET}/")
        stored = s3.client.head_object(Bucket=BUCKET, Key=key)
        assert (stored["ContentType"], stored["ContentLength"]) == (
            file.content_type,
            file.bytes,
        )
    assert "link.txt is a symbolic link" in result.message
    assert "fifo is a FIFO" in result.message
    assert result.timings.upload_millis is not None


def test_outputs_of_a_failed_run_are_stored(run: Any, s3: S3Server) -> None:
    code = "open('output/partial.txt', 'w').write('x'); raise SystemExit(1)"
    result = run(code, bucket=BUCKET, outputs=make_rules(), request_id="r-2").result
    assert result.reason == "NonZeroExit"
    assert result.output_files == [f"s3://{BUCKET}/outputs/r-1/.partial/partial.txt"]


def test_outputs_without_a_bucket_fail_the_job(run: Any) -> None:
    result = run("open('output/a.txt', 'w').write('x')").result
    assert (result.status, result.reason) == ("FAILED", "OutputUploadFailed")
    assert result.exit_code == 0


def test_a_report_is_posted_until_it_is_accepted(run: Any) -> None:
    with operator(503, 503) as server:
        ended = run("print('안녕')", url=server.url)
    assert len(server.bodies) == 3
    assert len(set(server.bodies)) == 1
    report = wire.loads(wire.Report, server.bodies[-1])
    assert report.result.stdout == "안녕\n"
    assert server.headers[-1]["Authorization"] == "Bearer the-token"
    assert server.headers[-1]["Path"] == names.RESULTS_PATH
    assert "report-delivered tries=3" in ended.agent_log


def test_everything_that_the_agent_hands_over_is_signed(
    run: Any, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.ENV_RESULT_KEY, "k" * 64)
    code = "import os; print('x' * 9000); print(dict(os.environ))"
    with operator(204) as server:
        ended = run(code, url=server.url, bucket=BUCKET, request_id="r-signed")
    stored = json.loads(s3.get(names.result_object("r-signed")))
    posted = json.loads(server.bodies[-1])["result"]
    written = wire.to_dict(ended.result)

    assert stored == posted, ended.agent_log
    assert written["stdout"] != posted["stdout"], "the termination message is a short copy"
    for result in (stored, posted, written):
        assert result_auth.verify(result, "k" * 64)
        assert not result_auth.verify(result, "l" * 64)
    assert names.ENV_RESULT_KEY not in posted["stdout"], "user code does not have the key"
    assert "k" * 64 not in ended.agent_log


def test_a_refused_report_is_not_sent_again(run: Any) -> None:
    with operator(403, 204) as server:
        ended = run("print('hello')", url=server.url)
    assert len(server.bodies) == 1
    assert "report-refused status=403" in ended.agent_log


def test_nothing_runs_without_a_manifest(run: Any, paths: Paths) -> None:
    source = wire.S3Source(bucket=BUCKET, prefix="x/")
    item = wire.Input(name="data", s3=source, mount_path="/app/data")
    ended = run("open('ran', 'w')", inputs=[item])
    assert (ended.result.reason, ended.result.exit_code) == ("SyncFailed", None)
    assert ended.sandbox_exit == 69
    assert not os.path.exists(f"{paths.workspace}/ran")


def test_input_report_comes_from_the_manifest(run: Any, paths: Paths) -> None:
    counts = wire.InputReport(files=2, bytes=3, duration_millis=4, retries=0)
    os.makedirs(paths.run_dir)
    Path(paths.manifest).write_text(wire.dumps(wire.Manifest(report=counts, entries=[])))
    source = wire.S3Source(bucket=BUCKET, prefix="x/")
    item = wire.Input(name="data", s3=source, mount_path="/app/data")
    ended = run("print(1)", inputs=[item])
    assert ended.report.inputs == counts
    assert ended.result.timings.sync_millis == 4


def test_a_file_with_the_name_of_the_output_folder(run: Any, paths: Paths) -> None:
    Path(paths.workspace, "output").write_text("in the way")
    ended = run("print(1)")
    assert (ended.result.status, ended.result.reason) == ("FAILED", "SyncFailed")
    assert "cannot be prepared" in ended.result.message


def test_a_storage_outage_does_not_lose_the_result(
    run: Any, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, "http://127.0.0.1:1")
    with operator() as server:
        ended = run("print('hello')", bucket=BUCKET, outputs=make_rules(), url=server.url)
    assert "result-not-stored" in ended.agent_log
    report = wire.loads(wire.Report, server.bodies[0])
    assert (report.result.status, report.result.stdout) == ("SUCCESS", "hello\n")


# The memory of running code.

HOLDS = """
import os, time
data = b"x" * (96 << 20)
while not os.path.exists("go"):
    time.sleep(0.05)
"""


def memory_reports(server: Operator) -> list[wire.MemoryReport]:
    """The reports of memory so far."""
    pairs = zip(list(server.headers), list(server.bodies), strict=False)
    found = [body for headers, body in pairs if headers["Path"] == names.MEMORY_PATH]
    return [wire.loads(wire.MemoryReport, body) for body in found]


def test_running_code_reports_its_memory_before_it_ends(paths: Paths, launcher_dir: str) -> None:
    task = make_task(code_inline=HOLDS)
    with operator() as server, running(task, paths, launcher_dir, url=server.url) as pod:
        wait_until(lambda: memory_reports(server), WAIT_SECONDS)
        assert pod.sandbox.poll() is None, "the code runs"
        Path(f"{paths.workspace}/go").touch()
        ended = pod.wait()

    first = memory_reports(server)[0]
    assert (first.uid, first.attempt) == (task.uid, task.attempt)
    assert first.peak_memory_bytes >= 90 << 20
    assert server.headers[0]["Authorization"] == "Bearer the-token"
    assert ended.result.status == "SUCCESS"
    assert "memory-not-reported" not in ended.agent_log


def test_code_ends_also_if_no_report_of_its_memory_is_answered(
    paths: Paths, launcher_dir: str
) -> None:
    """The operator accepts connections and does not answer: the end waits for no such report."""
    task = make_task(code_inline=HOLDS)
    with operator() as server:
        release = server.hang(names.MEMORY_PATH)
        with running(task, paths, launcher_dir, url=server.url) as pod:
            wait_until(lambda: memory_reports(server), WAIT_SECONDS)
            Path(f"{paths.workspace}/go").touch()
            ended = pod.wait()
            assert not release.is_set()
        release.set()

    assert ended.result.status == "SUCCESS"
    assert "report-delivered tries=1" in ended.agent_log


@pytest.mark.parametrize("status", [404, 503])
def test_a_refused_report_of_memory_is_no_failure(
    paths: Paths, launcher_dir: str, status: int
) -> None:
    """An operator of an older version answers 404."""
    task = make_task(code_inline=HOLDS)
    with operator(status) as server, running(task, paths, launcher_dir, url=server.url) as pod:
        wait_until(lambda: memory_reports(server), WAIT_SECONDS)
        Path(f"{paths.workspace}/go").touch()
        ended = pod.wait()

    assert ended.result.status == "SUCCESS"
    assert ended.agent_log.count("memory-not-reported") <= 1
