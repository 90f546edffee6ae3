"""Agent and launcher as real processes: what user code does, and what is reported of it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integration.pod import UNSHARE, Ended, can_unshare, operator, running
from integration.support import BUCKET, S3Server, make_rules, make_task
from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.paths import Paths

pytestmark = pytest.mark.integration


@pytest.fixture
def run(paths: Paths, launcher_dir: str) -> Any:
    """Run inline code to its end."""

    def run(
        code: str,
        *,
        wrap: list[str] | None = None,
        url: str = "",
        python: str = sys.executable,
        **changes: Any,
    ) -> Ended:
        task = make_task(code_inline=code, **changes)
        command = [*(wrap or []), python]
        with running(task, paths, launcher_dir, python=command, url=url) as pod:
            return pod.wait()

    return run


def test_hello(run: Any) -> None:
    ended = run("print('hello')")
    result = ended.result
    assert (result.status, result.reason, result.exit_code) == ("SUCCESS", "Completed", 0)
    assert (result.stdout, result.stderr, result.message) == ("hello\n", "", "")
    assert ended.report.final
    assert ended.sandbox_exit == 0
    assert ended.sandbox_log == b"hello\n"
    assert result.duration_millis > 0
    assert result.peak_memory_bytes
    assert result.memory_source in ("cgroup-v1", "cgroup-v2", "rusage")
    assert "limit 256 MB, used" in result.optimization_tip
    assert result.timings.start_millis is not None


def test_korean_text_stdin_and_environment(run: Any) -> None:
    code = "import os,sys; print(sys.stdin.read(), os.environ['이름'], sorted(os.environ))"
    ended = run(code, stdin="날짜,금액", env={"이름": "값"})
    assert ended.result.stdout.startswith("날짜,금액 값")
    inherited = set(re.findall(r"'(\w+)'", ended.result.stdout))
    assert inherited - {"LC_CTYPE"} == {"PATH", "HOME", "LANG", "PYTHONUNBUFFERED", "이름"}


def test_exit_code_and_stderr(run: Any) -> None:
    ended = run("import sys; print('wrong', file=sys.stderr); sys.exit(3)")
    result = ended.result
    assert (result.status, result.reason, result.exit_code) == ("FAILED", "NonZeroExit", 3)
    assert result.stderr == "wrong\n"
    assert ended.sandbox_exit == 3
    assert ended.sandbox_errors == b"wrong\n"


def test_a_signal(run: Any) -> None:
    ended = run("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    result = ended.result
    assert (result.reason, result.signal, result.exit_code) == ("Signaled", "SIGSEGV", 139)
    assert ended.sandbox_exit == 139


@pytest.mark.parametrize(
    ("command", "code"), [(["no-such-program"], 127), (["/etc/hostname"], 126)]
)
def test_a_program_that_cannot_be_started(run: Any, command: list[str], code: int) -> None:
    ended = run("", command=command)
    result = ended.result
    assert (result.status, result.reason) == ("FAILED", "EntrypointNotFound")
    assert command[0] in result.message
    assert result.exit_code == ended.sandbox_exit == code


def test_bytes_that_are_no_text(run: Any) -> None:
    ended = run(r"import os; os.write(1, b'a\0b\xff\xea\xb0\n')")
    assert ended.result.stdout == "a\0b\ufffd\ufffd\n"
    assert ended.result.stdout_bytes == 7


def test_a_large_input_that_nobody_reads_and_one_that_is_echoed(run: Any, paths: Paths) -> None:
    text = "가" * 30_000
    assert run("print('done')", stdin=text).result.stdout == "done\n"
    os.unlink(paths.real(names.TERMINATION_FILE))
    echoed = run("import sys; sys.stdout.write(sys.stdin.read())", stdin=text).result
    assert echoed.stdout_bytes == len(text.encode())


def test_timeout_keeps_partial_output(run: Any) -> None:
    started = time.monotonic()
    ended = run("import time; print('so far'); time.sleep(60)", execution_timeout_seconds=1.0)
    result = ended.result
    assert (result.status, result.reason) == ("TIMEOUT", "ExecutionTimeout")
    assert result.stdout == "so far\n"
    assert (result.exit_code, result.signal) == (143, "SIGTERM")
    assert "after 1 s" in result.message
    assert time.monotonic() - started < 10


def test_timeout_of_code_that_ignores_sigterm(run: Any) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    result = run(code, execution_timeout_seconds=0.5, termination_grace_seconds=0.5).result
    assert (result.status, result.signal) == ("TIMEOUT", "SIGKILL")
    assert 900 < result.duration_millis < 5000


ESCAPE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print("escaped", flush=True)
        time.sleep(60)
        print("survived", flush=True)
    os._exit(0)
time.sleep(0.5)
{last}
"""


@pytest.mark.skipif(not can_unshare(), reason="PID namespaces cannot be made here")
@pytest.mark.parametrize(("last", "status"), [("time.sleep(60)", "TIMEOUT"), ("", "SUCCESS")])
def test_pid_1_ends_daemons_too(run: Any, last: str, status: str) -> None:
    started = time.monotonic()
    ended = run(
        ESCAPE.format(last=last),
        wrap=UNSHARE,
        execution_timeout_seconds=2.0,
        termination_grace_seconds=0.5,
    )
    assert ended.result.status == status
    assert ended.result.stdout == "escaped\n"
    assert time.monotonic() - started < 8


SYSTEM_PYTHON = "/usr/bin/python3"
ATTACK = """
import ctypes, os, signal
names = [f"/proc/self/fd/{fd}" for fd in range(3, 64)]
links = [os.readlink(name) for name in names if os.path.lexists(name)]
print("inherited", [link for link in links if not link.endswith("main.py")])
def attempt(name, call):
    try:
        print(name, "done", call())
    except OSError as error:
        print(name, "refused")
libc = ctypes.CDLL(None, use_errno=True)
def syscall(*args):
    got = libc.syscall(*args)
    if got < 0:
        raise OSError(ctypes.get_errno(), "")
    return got
attempt("environ", lambda: open("/proc/1/environ").read())
attempt("mem", lambda: open("/proc/1/mem", "rb"))
attempt("fds", lambda: os.listdir("/proc/1/fd"))
attempt("getfd", lambda: syscall(438, os.pidfd_open(1), 3, 0))
attempt("ptrace", lambda: syscall(101, 16, 1, 0, 0))
os.kill(1, signal.SIGKILL)
os.kill(1, signal.SIGSTOP)
os.kill(1, signal.SIGTERM)
"""


@pytest.mark.skipif(not can_unshare(), reason="PID namespaces cannot be made here")
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody without rights")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers are x86-64's")
@pytest.mark.skipif(not os.access(SYSTEM_PYTHON, os.X_OK), reason="needs a Python for everybody")
def test_user_code_cannot_reach_into_the_launcher(
    run: Any, paths: Paths, launcher_dir: str
) -> None:
    os.chmod(paths.root, 0o755)
    os.chmod(launcher_dir, 0o755)
    os.makedirs(paths.run_dir, exist_ok=True)
    drop = ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs"]
    old = os.umask(0)  # the socket and the workspace belong to root here, not to one uid
    try:
        ended = run(
            ATTACK,
            wrap=[*UNSHARE, *drop],
            python=SYSTEM_PYTHON,
            command=[SYSTEM_PYTHON, "main.py"],
        )
    finally:
        os.umask(old)
    lines = ended.result.stdout.splitlines()
    refused = [f"{name} refused" for name in ("environ", "mem", "fds", "getfd", "ptrace")]
    assert lines == ["inherited []", *refused], ended
    assert ended.result.status == "SUCCESS"


FLOOD = """
import os
os.write(1, b"first\\n")
for _ in range(3200): os.write(1, b"x" * 65536)
os.write(1, b"\\nlast")
"""


def test_flood_is_cut_in_constant_memory(paths: Paths, launcher_dir: str) -> None:
    peaks: dict[int, int] = {}
    with running(make_task(code_inline=FLOOD), paths, launcher_dir) as pod:
        pids = (pod.agent.pid, pod.sandbox.pid)
        watcher = threading.Thread(target=watch_memory, args=(pids, peaks))
        watcher.start()
        ended = pod.wait()
        watcher.join()
    assert ended.result.status == "SUCCESS"
    assert ended.result.stdout_bytes == 3200 * 65536 + 11
    assert ended.result.stdout_truncated
    assert ended.result.stdout.startswith("first\n")
    assert ended.result.stdout.endswith("\nlast")
    assert len(ended.sandbox_log) <= 1024 * 1024
    assert len(peaks) == 2
    assert max(peaks.values()) < 64 * 1024 * 1024


def watch_memory(pids: tuple[int, ...], peaks: dict[int, int]) -> None:
    """Note the high-water mark of processes until they end."""
    while True:
        for pid in pids:
            status = Path(f"/proc/{pid}/status")
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text() if status.exists() else "")
            if found:
                peaks[pid] = int(found.group(1)) * 1024
            elif pid in peaks:
                return
        time.sleep(0.01)


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


def test_outputs_of_a_failed_run_are_stored_too(run: Any, s3: S3Server) -> None:
    code = "open('output/partial.txt', 'w').write('x'); raise SystemExit(1)"
    result = run(code, bucket=BUCKET, outputs=make_rules(), request_id="r-2").result
    assert result.reason == "NonZeroExit"
    assert result.output_files == [f"s3://{BUCKET}/outputs/r-1/.partial/partial.txt"]


def test_outputs_without_a_bucket_fail_the_job(run: Any) -> None:
    result = run("open('output/a.txt', 'w').write('x')").result
    assert (result.status, result.reason) == ("FAILED", "OutputUploadFailed")
    assert result.exit_code == 0


def test_report_is_posted_until_it_is_taken(run: Any) -> None:
    with operator(503, 503) as server:
        ended = run("print('안녕')", url=server.url)
    assert len(server.bodies) == 3
    assert len(set(server.bodies)) == 1
    report = wire.loads(wire.Report, server.bodies[-1])
    assert report.result.stdout == "안녕\n"
    assert server.headers[-1]["Authorization"] == "Bearer the-token"
    assert server.headers[-1]["Path"] == names.RESULTS_PATH
    assert "report-delivered tries=3" in ended.agent_log


def test_a_refused_report_is_not_sent_again(run: Any) -> None:
    with operator(403, 204) as server:
        ended = run("print('hello')", url=server.url)
    assert len(server.bodies) == 1
    assert "report-refused status=403" in ended.agent_log


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


@pytest.mark.parametrize("container", ["agent", "sandbox"])
def test_sigterm_stops_the_code_and_is_reported(
    paths: Paths, launcher_dir: str, container: str
) -> None:
    task = make_task(code_inline="import time; print('so far'); time.sleep(60)")
    with running(task, paths, launcher_dir) as pod:
        assert pod.sandbox.stdout is not None
        pod.sandbox.stdout.readline()
        getattr(pod, container).send_signal(signal.SIGTERM)
        ended = pod.wait()
    assert ended.report.final
    assert (ended.result.status, ended.result.exit_code) == ("FAILED", 143)
    assert ended.result.reason == Reason.TERMINATED.value
    assert ended.sandbox_exit == 143


def test_agent_killed_ends_the_code(paths: Paths, launcher_dir: str) -> None:
    task = make_task(code_inline="import os,time; print(os.getpid()); time.sleep(60)")
    with running(task, paths, launcher_dir) as pod:
        assert pod.sandbox.stdout is not None
        pid = int(pod.sandbox.stdout.readline())
        pod.agent.kill()
        assert pod.sandbox.wait(10) == 76
        deadline = time.monotonic() + 5
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not os.path.exists(f"/proc/{pid}")


def test_nothing_runs_without_the_proof_of_the_sync(run: Any, paths: Paths) -> None:
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


def test_a_file_in_the_place_of_the_output_folder(run: Any, paths: Paths) -> None:
    Path(paths.workspace, "output").write_text("in the way")
    ended = run("print(1)")
    assert (ended.result.status, ended.result.reason) == ("FAILED", "SyncFailed")
    assert "cannot be prepared" in ended.result.message


def test_storage_that_is_down_does_not_lose_the_result(
    run: Any, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, "http://127.0.0.1:1")
    with operator() as server:
        ended = run("print('hello')", bucket=BUCKET, outputs=make_rules(), url=server.url)
    assert "result-not-stored" in ended.agent_log
    report = wire.loads(wire.Report, server.bodies[0])
    assert (report.result.status, report.result.stdout) == ("SUCCESS", "hello\n")


def test_the_socket_is_gone_once_code_runs(run: Any, paths: Paths) -> None:
    ended = run(f"import os; print(os.listdir({paths.run_dir!r}))")
    assert json.loads(ended.result.stdout.replace("'", '"')) == []


def until(what: str, check: Callable[[], bool]) -> None:
    """Wait for a condition, a machine under load included."""
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline, f"not within 30 s: {what}"
        time.sleep(0.01)


def takes(pid: int, number: int) -> bool:
    """Whether a process has blocked a signal, to read it from a descriptor."""
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = next(line for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(blocked.split()[1], 16) >> (number - 1) & 1)


def test_sigterm_before_the_launcher_has_come(paths: Paths, launcher_dir: str) -> None:
    with running(make_task(code_inline="open('ran', 'w')"), paths, launcher_dir) as pod:
        pod.sandbox.send_signal(signal.SIGSTOP)
        until("the agent listens", lambda: os.path.exists(paths.socket))
        pod.agent.send_signal(signal.SIGTERM)
        until("it waits no longer", lambda: not os.path.exists(paths.socket))
        pod.sandbox.send_signal(signal.SIGCONT)
        pod.sandbox.send_signal(signal.SIGTERM)
        ended = pod.wait()
    assert (ended.result.reason, ended.result.exit_code) == ("Terminated", None)
    assert ended.report.final
    assert not os.path.exists(f"{paths.workspace}/ran")


def test_sigterm_while_the_launcher_waits_for_an_agent(launcher_dir: str, paths: Paths) -> None:
    command = [sys.executable, "-I", "-S", launcher_dir, f"{paths.root}/none.sock"]
    process = subprocess.Popen(command)
    until("it waits for signals", lambda: takes(process.pid, signal.SIGTERM))
    process.terminate()
    assert process.wait(10) == 143


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


def test_a_stopped_run_leaves_outputs_exit_code_and_a_delivered_report(
    s3: S3Server, paths: Paths, launcher_dir: str
) -> None:
    task = make_task(
        code_inline=GRACEFUL, bucket=BUCKET, outputs=make_rules(prefix="outputs/stopped/")
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


def test_an_agent_that_dies_while_it_uploads_leaves_a_result(
    s3: S3Server, paths: Paths, launcher_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        monkeypatch.setenv(names.ENV_S3_ENDPOINT, f"http://127.0.0.1:{silent.getsockname()[1]}")
        code = "print('hello'); open('output/a', 'w').write('x')"
        task = make_task(code_inline=code, bucket=BUCKET, outputs=make_rules())
        with running(task, paths, launcher_dir) as pod:
            assert pod.sandbox.wait(30) == 0
            message = Path(paths.real(names.TERMINATION_FILE))
            deadline = time.monotonic() + 20
            while not message.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
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
        started = time.monotonic()
        ended = run(
            "print('hello'); open('output/a', 'w').write('x')",
            bucket=BUCKET,
            outputs=make_rules(),
            upload_timeout_seconds=1.0,
        )
    assert (ended.result.reason, ended.result.exit_code) == ("OutputUploadFailed", 0)
    assert "a: no time was left to upload it" in ended.result.message
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("size", [64, 256])
def test_peak_memory_is_what_was_allocated(run: Any, size: int) -> None:
    code = f"x = bytearray({size} << 20); import time; time.sleep(0.1)"
    # A sandbox has a cgroup of its own. Here it may be everybody's, so what others take meanwhile
    # is added: the least of a few runs is the code's. And the kernel counts a process at least as
    # large as whoever started it, which must not be pytest: hence a shell in between, which forks.
    wrap = ["sh", "-c", '"$@"; exit $?', "sh"]
    peaks = [run(code, wrap=wrap).result.peak_memory_bytes / (1 << 20) for _ in range(3)]
    assert size <= min(peaks) <= size * 1.05 + 4


def test_cpu_time_is_that_of_all_processes(run: Any) -> None:
    spin = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.4: pass"
    code = (
        "import subprocess, sys\n"
        f"procs = [subprocess.Popen([sys.executable, '-c', {spin!r}]) for _ in range(2)]\n"
        "for p in procs: p.wait()"
    )
    result = run(code).result
    assert result.cpu_millis is not None
    assert 800 <= result.cpu_millis < 3000
