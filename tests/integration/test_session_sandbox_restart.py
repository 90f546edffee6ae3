"""What happens when a session's launcher or agent ends, and which process may connect next."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from nanogrid_executor.paths import Paths
from nanogrid_executor.session.sandbox import LauncherSandbox
from support.session_sandbox import RecordingSink, SandboxPod, can_unshare, running
from support.waiting import wait_for

pytestmark = pytest.mark.integration


needs_pids = pytest.mark.skipif(not can_unshare(), reason="this machine allows no PID namespaces")


def test_a_killed_launcher(pod: SandboxPod) -> None:
    pod.run("x = 1", context="a")
    sink = RecordingSink(on_output=lambda out: pod.launchers[0].kill() if out == b"1\n" else None)
    seen = pod.run("print(1, flush=True); import time; time.sleep(60)", context="a", sink=sink)
    assert seen.ended.sandbox_lost
    assert seen.ended.exit_code is None
    assert seen.ended.error == "the launcher disconnected"
    assert seen.out == "1\n"
    assert not pod.sandbox.available
    lost = pod.run("1").ended
    assert lost.sandbox_lost
    assert lost.error == "no sandbox is connected"
    assert pod.sandbox.contexts() == []
    assert not pod.sandbox.interrupt(1)
    assert not pod.sandbox.wait_available(0.05)
    pod.launch()
    assert pod.sandbox.wait_available(60)
    assert pod.sandbox.restarts == 1
    assert pod.run("print(2)", context="a").out == "2\n"


THIEF = """
import socket, time
while True:
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect({path!r})
    except OSError:
        continue
    open({mark!r}, "w").write("connected")
    time.sleep(60)
"""


@needs_pids
def test_code_of_the_old_container_never_connects_in_place_of_the_new_launcher(
    pod: SandboxPod,
) -> None:
    mark = f"{pod.paths.workspace}/stolen"
    thief = THIEF.format(path=pod.paths.socket, mark=mark)
    for restart in range(1, 6):
        begin = f"import threading\nthreading.Thread(target=exec, args=({thief!r},)).start()"
        for name in ("a", "b"):
            assert pod.run(begin, context=name).ended.exit_code == 0
        pod.launchers[-1].kill()
        assert wait_for(lambda: os.path.exists(pod.paths.socket))
        pod.launch()
        assert pod.sandbox.wait_available(60)
        assert pod.sandbox.restarts == restart
    assert not os.path.exists(mark)


def test_the_same_code_connects_to_an_open_socket(paths: Paths, tmp_path: Path) -> None:
    """The positive control of the test above."""
    sandbox = LauncherSandbox(paths.socket, paths.workspace)
    sandbox.start()
    mark = tmp_path / "stolen"
    code = THIEF.format(path=paths.socket, mark=str(mark))
    thief = subprocess.Popen(["python3", "-c", code])
    try:
        assert wait_for(mark.exists)
    finally:
        thief.kill()
        thief.wait()
        sandbox.close()


def test_closing_kills_everything_and_the_launcher_exits_with_0(pod: SandboxPod) -> None:
    pod.run("import os; print(os.getpid())", context="a")
    launcher = pod.launchers[0]
    pod.sandbox.close()
    assert launcher.wait(60) == 0
    assert not pod.sandbox.available
    assert not os.path.exists(pod.paths.socket)


def test_an_agent_that_disconnects_without_close_ends_everything(pod: SandboxPod) -> None:
    pod.run("x = 1", context="a")
    pod.sandbox.disconnect()
    assert pod.launchers[0].wait(60) == 76
    assert wait_for(lambda: os.path.exists(pod.paths.socket))
    pod.launch()
    assert pod.sandbox.wait_available(60)
    assert pod.run("1", context="a").ended.context_new


def test_a_new_agent_waits_for_the_end_of_the_old_agents_launcher(
    paths: Paths, launcher_dir: str
) -> None:
    with running(paths, launcher_dir, own_pids=False) as pod:
        assert pod.sandbox.available
        again = LauncherSandbox(paths.socket, paths.workspace)
        again.start()
        try:
            assert not wait_for(lambda: os.path.exists(paths.socket), 0.5)
            pod.sandbox.close()
            assert pod.launchers[0].wait(60) == 0
            assert wait_for(lambda: os.path.exists(paths.socket))
            pod.launch()
            assert again.wait_available(60)
        finally:
            again.close()


def test_sigterm_interrupts_executions_and_ends_the_launcher(pod: SandboxPod) -> None:
    pod.run("x = 1", context="b")
    pid = pod.launcher_pid()
    sink = RecordingSink()
    sink.on_output = lambda out: os.kill(pid, signal.SIGTERM) if out == b"1\n" else None
    seen = pod.run("print(1); import time; time.sleep(60)", context="a", sink=sink)
    assert seen.ended.interrupted
    assert seen.ended.exit_code == 130
    assert pod.launchers[0].wait(60) == 143


def test_a_number_runs_only_once_and_a_message_has_a_maximum_length(pod: SandboxPod) -> None:
    spec, sink = pod.spec("import time; time.sleep(60)"), RecordingSink()
    thread = threading.Thread(target=pod.sandbox.run, args=(spec, sink))
    thread.start()
    assert wait_for(lambda: sink.starts)
    with pytest.raises(ValueError, match="runs already"):
        pod.sandbox.run(spec, RecordingSink())
    assert pod.sandbox.interrupt(spec.number)
    thread.join(60)
    assert not thread.is_alive()
    with pytest.raises(ValueError, match="the maximum is"):
        pod.run("x" * (17 << 20))
    assert pod.run("print(1)").out == "1\n"


def test_a_client_that_is_no_launcher_is_refused_and_a_launcher_can_connect(
    paths: Paths, launcher_dir: str
) -> None:
    import socket

    pod = SandboxPod(paths, launcher_dir, [])
    pod.sandbox.start()
    try:
        with socket.socket(socket.AF_UNIX) as stranger:
            # Between bind and listen the socket refuses connections; a launcher also tries again.
            assert wait_for(lambda: stranger.connect_ex(paths.socket) == 0)
            stranger.sendall(b"Z\0\0\0\0")
            assert wait_for(lambda: os.path.exists(paths.socket))
        pod.launch()
        assert pod.sandbox.wait_available(60)
        assert pod.sandbox.restarts == 0
        assert pod.run("print(1)").out == "1\n"
    finally:
        pod.kill()
