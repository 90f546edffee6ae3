"""Agent and launcher as real processes: what user code does, and its result."""

import json
import os
import re
from typing import Any

import pytest

from nanogrid import names
from nanogrid_executor.paths import Paths
from support.executor_pod import running
from support.process_memory import peak_memory
from support.s3_server import make_task

pytestmark = pytest.mark.integration


def test_hello(run: Any) -> None:
    ended = run("print('hello')")
    result = ended.result
    assert (result.status, result.reason, result.exit_code) == ("SUCCESS", "Completed", 0)
    assert (result.stdout, result.stderr, result.message) == ("hello\n", "", "")
    assert ended.report.final
    assert ended.sandbox_exit == 0
    assert ended.sandbox_log == b"hello\n"
    assert result.duration_millis >= 0  # 0 if the launcher was slower than the code
    assert result.peak_memory_bytes
    assert result.memory_source in ("cgroup-v1", "cgroup-v2", "rusage")
    assert "limit 256Mi, used" in result.optimization_tip
    assert result.timings.start_millis is not None


def test_korean_text_stdin_and_environment(run: Any) -> None:
    code = "import os,sys; print(sys.stdin.read(), os.environ['이름'], sorted(os.environ))"
    ended = run(code, stdin="날짜,금액", env={"이름": "값"})
    assert ended.result.stdout.startswith("날짜,금액 값")
    inherited = set(re.findall(r"'(\w+)'", ended.result.stdout))
    known = {"PATH", "HOME", "USER", "LOGNAME", "LANG", "PYTHONUNBUFFERED", "이름"}
    assert inherited - {"LC_CTYPE"} == known


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
    ("command", "code", "reason"),
    [
        (["no-such-program"], 127, "EntrypointNotFound"),
        (["/etc"], 126, "EntrypointNotExecutable"),
    ],
)
def test_a_program_that_cannot_be_started(
    run: Any, command: list[str], code: int, reason: str
) -> None:
    ended = run("", command=command)
    result = ended.result
    assert (result.status, result.reason) == ("FAILED", reason)
    assert command[0] in result.message
    assert result.exit_code == ended.sandbox_exit == code


@pytest.mark.parametrize("encoding", ["latin-1", "cp949", "utf-8"])
def test_code_is_written_in_the_encoding_that_it_declares(run: Any, encoding: str) -> None:
    word = {"latin-1": "niño"}.get(encoding, "가나")
    ended = run(f"# -*- coding: {encoding} -*-\nprint('{word}', len('{word}'))\n")
    assert ended.result.stdout == f"{word} {len(word)}\n"


def test_code_that_its_encoding_cannot_hold_does_not_run(run: Any) -> None:
    ended = run("# coding: latin-1\nprint('가')\n")
    assert (ended.result.status, ended.result.stdout) == ("FAILED", "")
    assert "latin-1, which has no character" in ended.result.message


def test_bytes_that_are_not_text(run: Any) -> None:
    ended = run(r"import os; os.write(1, b'a\0b\xff\xea\xb0\n')")
    assert ended.result.stdout == "a\0b\ufffd\ufffd\n"
    assert ended.result.stdout_bytes == 7
    assert (ended.result.stdout_encoding, ended.result.stderr_encoding) == ("binary", "utf-8")


def test_a_large_input_that_is_not_read_and_one_that_is_echoed(run: Any, paths: Paths) -> None:
    text = "가" * 30_000
    assert run("print('done')", stdin=text).result.stdout == "done\n"
    os.unlink(paths.real(names.TERMINATION_FILE))
    echoed = run("import sys; sys.stdout.write(sys.stdin.read())", stdin=text).result
    assert echoed.stdout_bytes == len(text.encode())


def test_timeout_keeps_partial_output(run: Any) -> None:
    ended = run("import time; print('so far'); time.sleep(600)", execution_timeout_seconds=2.0)
    result = ended.result
    assert (result.status, result.reason) == ("TIMEOUT", "ExecutionTimeout")
    assert result.stdout == "so far\n"
    assert (result.exit_code, result.signal) == (143, "SIGTERM")
    assert "after 2 s" in result.message


def test_timeout_of_code_that_ignores_sigterm(run: Any) -> None:
    command = ["sh", "-c", "trap '' TERM; sleep 600; true"]  # a shell ignores it without delay
    times = {"execution_timeout_seconds": 1.0, "termination_grace_seconds": 0.5}
    result = run("", command=command, **times).result
    assert (result.status, result.signal) == ("TIMEOUT", "SIGKILL")
    assert result.duration_millis > 1400


FLOOD = """
import os
os.write(1, b"first\\n")
for _ in range(3200): os.write(1, b"x" * 65536)
os.write(1, b"\\nlast")
"""


def test_a_flood_is_shortened_in_constant_memory(paths: Paths, launcher_dir: str) -> None:
    with (
        running(make_task(code_inline=FLOOD), paths, launcher_dir) as pod,
        peak_memory(pod.agent.pid, pod.sandbox.pid) as peaks,
    ):
        ended = pod.wait()
    assert ended.result.status == "SUCCESS"
    assert ended.result.stdout_bytes == 3200 * 65536 + 11
    assert ended.result.stdout_truncated
    assert ended.result.stdout.startswith("first\n")
    assert ended.result.stdout.endswith("\nlast")
    assert len(ended.sandbox_log) <= 1024 * 1024
    assert len(peaks) == 2
    assert max(peaks.values()) < 64 * 1024 * 1024


def test_the_socket_is_removed_before_code_runs(run: Any, paths: Paths) -> None:
    ended = run(f"import os; print(os.listdir({paths.run_dir!r}))")
    assert json.loads(ended.result.stdout.replace("'", '"')) == []


@pytest.mark.alone  # other processes of this cgroup add memory
@pytest.mark.parametrize("size", [64, 256])
def test_peak_memory_is_the_allocated_memory(run: Any, size: int) -> None:
    code = f"x = bytearray({size} << 20); import time; time.sleep(0.1)"
    # A sandbox has its own cgroup. Here other processes may share it and add memory, so the lowest
    # of a few runs counts. The kernel also counts a process at least as large as its parent, which
    # must not be pytest: hence a shell in between, which forks.
    wrap = ["sh", "-c", '"$@"; exit $?', "sh"]
    peaks = [run(code, wrap=wrap).result.peak_memory_bytes / (1 << 20) for _ in range(3)]
    assert size <= min(peaks) <= size * 1.05 + 4


def test_cpu_time_includes_all_processes(run: Any) -> None:
    spin = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.4: pass"
    code = (
        "import subprocess, sys\n"
        f"procs = [subprocess.Popen([sys.executable, '-c', {spin!r}]) for _ in range(2)]\n"
        "for p in procs: p.wait()"
    )
    result = run(code).result
    assert result.cpu_millis is not None
    assert 800 <= result.cpu_millis < 3000
