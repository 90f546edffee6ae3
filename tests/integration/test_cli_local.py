"""``nanogrid run --local`` with the real program, launcher and agent as local processes."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid.cli.app.exits import Exit
from support.s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from support.waiting import wait_until

pytestmark = pytest.mark.integration
TIMEOUT_SECONDS = 60
PROGRAM = [sys.executable, "-c", "from nanogrid.cli.main import main; main()"]


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short path, because the path of a socket is limited."""
    with tempfile.TemporaryDirectory(prefix="ng-") as folder:
        yield Path(folder)


@pytest.fixture
def local(short: Path) -> Any:
    """Run the program with its own temporary directory, which must be empty afterwards."""
    folder = short

    def run(*args: str, **env: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [*PROGRAM, "run", "--local", *args],
            env={**os.environ, "TMPDIR": str(folder), **env},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        assert "Traceback" not in done.stderr
        assert [one.name for one in folder.iterdir()] == []
        return done

    return run


def test_stdout_exit_code_and_the_warning(local: Any) -> None:
    done = local("-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (done.returncode, done.stdout) == (3, "out\n")
    assert "no sandbox" in done.stderr
    assert "err\n" in done.stderr


def test_json_is_the_result_and_stderr_is_empty(local: Any) -> None:
    done = local("-c", "print('매출')", "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert (result["status"], result["stdout"]) == ("SUCCESS", "매출\n")


def test_a_folder_with_inputs_arguments_environment_and_outputs(local: Any, tmp_path: Path) -> None:
    app, data = tmp_path / "app", tmp_path / "data"
    app.mkdir()
    data.mkdir()
    (data / "a.csv").write_text("1,2\n")
    (app / "helper.py").write_text("WORD = 'helped'\n")
    (app / "main.py").write_text(
        "import os, pathlib, sys, helper\n"
        "text = pathlib.Path('data/a.csv').read_text()\n"
        "pathlib.Path('output/deep').mkdir()\n"
        "pathlib.Path('output/deep/b.txt').write_text(text)\n"
        "print(sys.argv[1:], os.environ['WHO'], helper.WORD)\n"
    )
    args = [str(app), "-i", f"d={data}", "-e", "WHO=me", "--outputs", str(tmp_path / "out")]
    done = local(*args, "--", "x", "-y")
    assert (done.returncode, done.stdout) == (0, "['x', '-y'] me helped\n"), done.stderr
    assert (tmp_path / "out/deep/b.txt").read_text() == "1,2\n"


def test_special_files_and_stale_outputs_as_in_a_cluster(local: Any, tmp_path: Path) -> None:
    app, data = tmp_path / "app", tmp_path / "data"
    for folder in (app / "output", app / "empty", data / "nothing"):
        folder.mkdir(parents=True)
    (app / "output/stale.txt").write_text("stale")
    (app / "output/kept.txt").write_text("kept")
    (app / "main.py").write_text(
        "import os, pathlib\n"
        "pathlib.Path('output/kept.txt').write_text('kept')\n"
        "print(os.path.isdir('empty'), os.path.isdir('data/nothing'))\n"
    )
    (data / "a.csv").write_text("1")
    args = [str(app), "-i", f"d={data}", "--outputs", str(tmp_path / "out")]
    done = local(*args)
    assert (done.returncode, done.stdout) == (0, "True True\n"), done.stderr
    assert os.listdir(tmp_path / "out") == ["kept.txt"]
    assert "left out stale.txt: it came with the code, unchanged" in done.stderr
    os.mkfifo(data / "fifo")
    done = local(*args)
    assert done.returncode == Exit.USAGE
    assert "data/fifo is a FIFO" in done.stderr


def test_output_longer_than_a_termination_message_is_complete(local: Any) -> None:
    done = local("-c", "print('x' * 20000)")
    assert done.stdout == "x" * 20_000 + "\n"


@pytest.mark.parametrize("repeat", [1, 3000])
def test_bytes_that_are_not_text_reach_a_pipe(short: Path, repeat: int) -> None:
    code = f"import os\nfor _ in range({repeat}): os.write(1, bytes(range(256)))"
    command = [*PROGRAM, "run", "--local", "-c", code]
    done = subprocess.run(
        command, env={**os.environ, "TMPDIR": str(short)}, capture_output=True, timeout=60
    )
    assert done.stdout == bytes(range(256)) * repeat
    assert b"stdout is not UTF-8 text" in done.stderr
    assert b"shortened" not in done.stderr


def test_a_file_in_code_and_input_is_refused_as_in_a_cluster(local: Any, tmp_path: Path) -> None:
    app, data = tmp_path / "app", tmp_path / "data"
    for folder in (app / "data", data):
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text("1,2\n")
    (app / "main.py").write_text("print(1)")
    done = local(str(app), "-i", str(data))
    assert (done.returncode, done.stdout) == (Exit.INFRASTRUCTURE, "")
    assert "PathConflict: data/a.csv is in the code and in an input" in done.stderr
    assert "hint:" in done.stderr


def test_a_timeout_is_124(local: Any) -> None:
    done = local("-c", "print('began', flush=True); import time; time.sleep(600)", "--timeout", "3")
    assert (done.returncode, done.stdout) == (Exit.TIMEOUT, "began\n")
    assert "hint:" in done.stderr


def test_inputs_from_s3_use_the_same_sync(local: Any, s3_server: S3Server) -> None:
    s3_server.put("cli-local/in/a.txt", b"from S3")
    env = {
        names.ENV_S3_ENDPOINT: s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": "us-east-1",
    }
    code = "print(open('data/a.txt').read())"
    done = local("-c", code, "-i", f"s3://{BUCKET}/cli-local/in/", **env)
    assert (done.returncode, done.stdout) == (0, "from S3\n"), done.stderr
    done = local("-c", code, "-i", f"s3://{BUCKET}/cli-local/absent/", **env)
    assert (done.returncode, done.stdout) == (Exit.INFRASTRUCTURE, "")
    assert "InputNotFound" in done.stderr
    s3_server.delete("cli-local/")


def test_a_long_tmpdir_works(local: Any, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    assert local("-c", "print(1)", TMPDIR=str(folder)).stdout == "1\n"
    assert list(folder.iterdir()) == []


def test_ctrl_c_stops_the_code_and_removes_all_files(short: Path, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    code = (
        f"import os, pathlib, time; pathlib.Path({str(marker)!r}).write_text(str(os.getpid())); "
        "print('x', flush=True); time.sleep(60)"
    )
    # A shell sets SIGINT to ignored for background jobs; the tests and their children inherit it.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *PROGRAM, "run", "--local", "-c", code],
        env={**os.environ, "TMPDIR": str(short)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for(marker, process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == Exit.CANCELLED
    assert "Traceback" not in errors
    wait_until(lambda: not Path(f"/proc/{marker.read_text()}").exists())
    assert list(short.iterdir()) == []


def _wait_for(marker: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (marker.exists() and marker.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_without_the_executor_the_error_names_the_package() -> None:
    hide = (
        "import importlib.util, sys; sys.modules['nanogrid_executor'] = None\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = "
        "lambda n, *a: None if n == 'nanogrid_executor' else find(n, *a)\n"
        "from nanogrid.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide, "run", "--local", "-c", "1"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == Exit.INFRASTRUCTURE
    assert "nanogrid-executor" in done.stderr
    assert "Traceback" not in done.stderr


def _cpu_seconds(*command: str) -> float:
    """The least CPU time of some runs."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_SECONDS)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(spent)


def test_help_is_fast() -> None:
    """In units of a bare Python, because machines differ and may be busy."""
    assert _cpu_seconds(*PROGRAM, "--help") < 40 * _cpu_seconds(sys.executable, "-c", "")
