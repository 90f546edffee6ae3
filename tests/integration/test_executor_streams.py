"""Complete stdout and stderr: kept up to a cap and stored; floods take little memory."""

import os
import shutil
from pathlib import Path

import pytest

from nanogrid import names, wire
from nanogrid.wire import STREAM_CAP_BYTES
from nanogrid_executor.agent.stream_log import StreamLog
from nanogrid_executor.paths import Paths
from support.executor_pod import Ended, running
from support.process_memory import peak_memory
from support.s3_server import BUCKET, S3Server, make_rules, make_task

pytestmark = [pytest.mark.integration, pytest.mark.security]

CAP = 1 << 20


def run(paths: Paths, launcher_dir: str, code: str, request: str, **changes: object) -> Ended:
    task = make_task(
        code_inline=code,
        bucket=BUCKET,
        outputs=make_rules(prefix=f"outputs/{request}/"),
        request_id=request,
        **{"log_cap_bytes": CAP, **changes},
    )
    with running(task, paths, launcher_dir) as pod:
        return pod.wait()


def test_a_long_stream_is_stored_in_full(s3: S3Server, paths: Paths, launcher_dir: str) -> None:
    code = "import sys\nfor n in range(50_000): print('줄', n)\nprint('short', file=sys.stderr)"
    result = run(paths, launcher_dir, code, "r-full").result
    key = names.stream_object("r-full", "stdout")
    assert result.stdout_url == f"s3://{BUCKET}/{key}"
    assert result.stderr_url is None, "the text in the result is complete"
    assert result.stdout_truncated
    assert len(result.stdout.encode()) <= STREAM_CAP_BYTES
    want = "".join(f"줄 {n}\n" for n in range(50_000)).encode()
    assert s3.get(key) == want
    assert result.stdout_bytes == len(want)
    head = s3.client.head_object(Bucket=BUCKET, Key=key)
    assert head["ContentType"] == "text/plain; charset=utf-8"


def test_bytes_that_are_not_text_survive(s3: S3Server, paths: Paths, launcher_dir: str) -> None:
    code = "import os\nfor _ in range(400): os.write(2, bytes(range(256)))"
    result = run(paths, launcher_dir, code, "r-bytes").result
    assert s3.get(names.stream_object("r-bytes", "stderr")) == bytes(range(256)) * 400
    assert result.stderr_url
    assert result.stdout_url is None
    assert (result.stdout_encoding, result.stderr_encoding) == ("utf-8", "binary")


def test_a_short_stream_that_is_not_text_is_stored(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    result = run(paths, launcher_dir, r"import os; os.write(1, b'a\xffb')", "r-short-bytes").result
    key = names.stream_object("r-short-bytes", "stdout")
    assert (result.stdout, result.stdout_encoding) == ("a\ufffdb", "binary")
    assert result.stdout_url == f"s3://{BUCKET}/{key}"
    assert s3.get(key) == b"a\xffb"
    assert result.stderr_url is None


def test_bytes_beyond_the_cap_are_counted(s3: S3Server, paths: Paths, launcher_dir: str) -> None:
    code = "import os\nfor _ in range(100): os.write(1, b'0123456789abcdef' * 4096)"
    result = run(paths, launcher_dir, code, "r-cap", log_cap_bytes=CAP + 5).result
    assert result.stdout_bytes == 100 * 65536
    assert (
        s3.get(names.stream_object("r-cap", "stdout")) == (b"0123456789abcdef" * 65537)[: CAP + 5]
    )


def test_a_cap_of_0_stores_nothing(s3: S3Server, paths: Paths, launcher_dir: str) -> None:
    result = run(paths, launcher_dir, "print('x' * 100_000)", "r-none", log_cap_bytes=0).result
    assert (result.stdout_url, result.stdout_truncated) == (None, True)


def test_a_short_stream_is_not_stored(s3: S3Server, paths: Paths, launcher_dir: str) -> None:
    run(paths, launcher_dir, f"print('x' * {STREAM_CAP_BYTES - 1})", "r-short")
    result = wire.loads(wire.Result, s3.get(names.result_object("r-short")))
    assert (result.stdout_url, result.stdout_truncated) == (None, False)
    assert len(result.stdout) == STREAM_CAP_BYTES


def test_a_run_succeeds_when_its_stream_cannot_be_stored(
    s3: S3Server, paths: Paths, launcher_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, "http://127.0.0.1:1")
    code = "print('x' * 100_000)"
    ended = run(paths, launcher_dir, code, "r-down", upload_timeout_seconds=1.0)
    assert ended.result.status == "SUCCESS"
    assert "Full text not stored: stdout: " in ended.result.message


def test_order_within_a_stream_is_kept(s3: S3Server, paths: Paths, launcher_dir: str) -> None:
    code = (
        "import os, subprocess, sys\n"
        "for n in range(40):\n"
        "    os.write(1, b'%d parent\\n' % n)\n"
        "    subprocess.run(['echo', f'{n} child'])\n"
    )
    result = run(paths, launcher_dir, code, "r-order").result
    want = "".join(f"{n} parent\n{n} child\n" for n in range(40))
    assert result.stdout == want


@pytest.mark.parametrize(
    "text", ["print('half a line', end='')", "sys.stdout.write('half a line')"]
)
def test_a_kill_loses_no_buffered_output(
    s3: S3Server, paths: Paths, launcher_dir: str, text: str
) -> None:
    code = f"import os, signal, sys, time\n{text}\nos.kill(os.getpid(), signal.SIGKILL)"
    result = run(paths, launcher_dir, code, "r-kill").result
    assert (result.signal, result.stdout) == ("SIGKILL", "half a line")


FLOOD = """
import os
data = b"0123456789abcde\\n" * 4096
os.write(2, b"begun")
while True: os.write(1, data)
"""


def test_a_flood_ends_at_its_timeout_and_takes_little_memory(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    task = make_task(
        code_inline=FLOOD,
        bucket=BUCKET,
        outputs=make_rules(),
        request_id="r-flood",
        execution_timeout_seconds=4.0,
        log_cap_bytes=CAP,
    )
    free = shutil.disk_usage(paths.root).free
    with (
        running(task, paths, launcher_dir) as pod,
        peak_memory(pod.agent.pid, pod.sandbox.pid) as peaks,
    ):
        ended = pod.wait()
    result = ended.result
    assert (result.status, result.stderr) == ("TIMEOUT", "begun")
    assert result.stdout_bytes > 20 * CAP, "a flood"
    assert len(s3.get(names.stream_object("r-flood", "stdout"))) == CAP
    assert max(peaks.values()) < 96 * 1024 * 1024
    assert free - shutil.disk_usage(paths.root).free < 2_000_000_000
    assert len(ended.sandbox_log) <= 1024 * 1024


def test_a_full_disk_ends_only_the_stream_log(capsys: pytest.CaptureFixture[str]) -> None:
    stream = StreamLog("/proc/nowhere", CAP)
    stream.feed(b"hello")
    assert (stream.text(), stream.kept) == ("hello", 0)
    assert "stream-log-ended" in capsys.readouterr().out


def test_a_stream_log_has_no_name(tmp_path: Path) -> None:
    stream = StreamLog(str(tmp_path), CAP)
    stream.feed(b"hello")
    assert stream.kept == 5
    assert os.listdir(tmp_path) == []
