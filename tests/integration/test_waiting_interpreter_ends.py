"""An interpreter that waits: how it ends without a job, and what of its work counts for the job."""

import os
import signal
import socket
from pathlib import Path

import pytest

from nanogrid_executor.launcher import frames, main, spawn
from nanogrid_executor.launcher.signals import Signals
from nanogrid_executor.launcher.waiting import WaitingInterpreter
from support.executor_pod import UNSHARE, can_unshare
from support.waiting import wait_until
from support.waiting_pod import COMMAND, WAIT_SECONDS, launcher

pytestmark = pytest.mark.integration

MEGABYTE = 1 << 20


def exists(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


def test_sigterm_ends_the_launcher(launcher_dir: str, tmp_path: Path) -> None:
    with launcher(launcher_dir, tmp_path) as connected:
        connected.wait_until_ready()
        pid = connected.waiting_pid()
        connected.process.send_signal(signal.SIGTERM)
        assert connected.process.wait(WAIT_SECONDS) == main.EXIT_TERMINATED
        assert not exists(pid)


def test_sigterm_ends_it_while_it_imports(launcher_dir: str, tmp_path: Path) -> None:
    with launcher(
        launcher_dir, tmp_path, "--preload=this_one_takes_long", python_dir=slow(tmp_path)
    ) as connected:
        wait_until((tmp_path / "imports").exists)
        pid = connected.waiting_pid()
        connected.process.send_signal(signal.SIGTERM)
        assert connected.process.wait(WAIT_SECONDS) == main.EXIT_TERMINATED
        assert not exists(pid)


def slow(folder: Path) -> str:
    """A Python whose module this_one_takes_long never ends to import."""
    packages = folder / "venv/lib" / Path(os.__file__).parent.name / "site-packages"
    packages.mkdir(parents=True)
    (folder / "venv/bin").mkdir()
    real = Path(os.path.realpath(f"/proc/{os.getpid()}/exe"))
    (folder / "venv/bin/python3").symlink_to(real)
    (folder / "venv/pyvenv.cfg").write_text(f"home = {real.parent}\n")
    code = "import signal\nopen('imports', 'w').close()\nsignal.pause()\n"
    (packages / "this_one_takes_long.py").write_text(code)
    return str(folder / "venv/bin")


def test_the_end_of_the_agent_ends_both(launcher_dir: str, tmp_path: Path) -> None:
    with launcher(launcher_dir, tmp_path) as connected:
        connected.wait_until_ready()
        pid = connected.waiting_pid()
        connected.close()
        assert connected.process.returncode == main.EXIT_UNAVAILABLE
        assert not exists(pid)


def test_it_ends_when_the_launcher_is_killed(launcher_dir: str, tmp_path: Path) -> None:
    with launcher(launcher_dir, tmp_path) as connected:
        connected.wait_until_ready()
        pid = connected.waiting_pid()
        connected.process.kill()
        wait_until(lambda: not exists(pid))


def test_after_its_death_jobs_get_new_processes(launcher_dir: str, tmp_path: Path) -> None:
    with launcher(launcher_dir, tmp_path) as connected:
        connected.wait_until_ready()
        pid = connected.waiting_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not exists(pid))
        seen = connected.run("print('ok')")
        assert (seen.stdout, seen.exited["exitCode"]) == ("ok\n", 0)
        assert seen.started["pid"] != pid
        assert "no interpreter waits: it ended (SIGKILL)" in connected.close()


def test_one_that_is_stopped_does_not_delay_the_job_for_ever(
    launcher_dir: str, tmp_path: Path
) -> None:
    with launcher(launcher_dir, tmp_path) as connected:
        connected.wait_until_ready()
        pid = connected.waiting_pid()
        os.kill(pid, signal.SIGSTOP)
        seen = connected.run("print('ok')")
        assert (seen.stdout, exists(pid)) == ("ok\n", False)
        assert "it did not take the job" in connected.close()


def test_without_python_the_launcher_is_ready(launcher_dir: str, tmp_path: Path) -> None:
    with launcher(launcher_dir, tmp_path / "absent") as connected:
        connected.wait_until_ready()
        connected.folder = tmp_path
        assert connected.run("print('ok')").stdout == "ok\n"
        assert "no interpreter waits: working directory" in connected.close()


def test_imports_that_take_too_long_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = socket.socketpair()
    monkeypatch.setenv("PATH", slow(tmp_path))
    child = os.fork()
    if child == 0:  # a launcher of its own: signals and children are those of a process
        code = 1
        try:
            waiting = WaitingInterpreter(
                Signals(), spawn.NO_LIMITS, str(tmp_path), ["this_one_takes_long"], 0.5
            )
            waiting.wait_for(left)
            code = 0
        finally:
            os._exit(code)
    left.close()
    with right:
        right.settimeout(WAIT_SECONDS)
        assert frames.receive(right) == (frames.READY, b"")
        frames.send(right, frames.CANCEL)
        assert os.waitpid(child, 0)[1] == 0


def test_a_job_that_comes_early_gets_a_new_process(launcher_dir: str, tmp_path: Path) -> None:
    python = slow(tmp_path)
    with launcher(
        launcher_dir, tmp_path, "--preload=this_one_takes_long", python_dir=python
    ) as connected:
        wait_until((tmp_path / "imports").exists)
        assert connected.run("print('ok')").stdout == "ok\n"


def busy(folder: Path) -> str:
    """A Python with a module that uses a second of CPU time and 64 MiB."""
    python = slow(folder)
    packages = next(folder.glob("venv/lib/*/site-packages"))
    code = "import time\nDATA = bytearray(b'x') * (64 << 20)\nwhile time.process_time() < 1: pass\n"
    (packages / "busy.py").write_text(code)
    return python


@pytest.mark.alone
def test_the_import_is_memory_of_the_job_but_not_its_cpu_time(
    launcher_dir: str, tmp_path: Path
) -> None:
    with launcher(launcher_dir, tmp_path, "--preload=busy", python_dir=busy(tmp_path)) as waiting:
        waiting.wait_until_ready()
        pid = waiting.waiting_pid()
        seen = waiting.run("import time\ntime.sleep(0.3)")
        assert seen.started["pid"] == pid
        assert seen.exited["cpuMillis"] < 900
        assert seen.exited["peakMemoryBytes"] > 60 * MEGABYTE


@pytest.mark.alone
def test_an_interpreter_that_is_not_used_is_no_memory_of_the_job(
    launcher_dir: str, tmp_path: Path
) -> None:
    with launcher(launcher_dir, tmp_path, "--preload=busy", python_dir=busy(tmp_path)) as waiting:
        waiting.wait_until_ready()
        seen = waiting.run("", ["python3", "-c", "import time; time.sleep(0.3)"])
        assert seen.exited["cpuMillis"] < 900
        assert seen.exited["peakMemoryBytes"] < 60 * MEGABYTE


def test_timeout_and_cancellation(launcher_dir: str, tmp_path: Path) -> None:
    with launcher(launcher_dir, tmp_path) as connected:
        connected.wait_until_ready()
        seen = connected.run("import time; time.sleep(600)", timeoutSeconds=0.2)
        assert (seen.exited["timedOut"], seen.exited["signal"]) == (True, "SIGTERM")
    with launcher(launcher_dir, tmp_path) as connected:
        connected.wait_until_ready()
        connected.send()
        frames.send(connected.sock, frames.CANCEL)
        assert connected.receive().exited["cancelled"]


@pytest.mark.skipif(not can_unshare(), reason="needs PID namespaces")
@pytest.mark.parametrize("command", [COMMAND, ["python3", "./main.py"]])
def test_as_pid_1_the_job_sees_no_other_process(
    launcher_dir: str, tmp_path: Path, command: list[str]
) -> None:
    code = "import os; print(len([p for p in os.listdir('/proc') if p.isdigit()]))"
    wrap = tuple(UNSHARE)
    with launcher(launcher_dir, tmp_path, wrap=wrap) as connected:
        connected.wait_until_ready()
        seen = connected.run(code, command)
        assert (seen.stdout, seen.exited["exitCode"]) == ("2\n", 0)
