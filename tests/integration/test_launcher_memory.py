"""The memory frames of the real launcher: to agents that ask for them, and to older ones."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nanogrid_executor.launcher import cgroup, frames
from nanogrid_executor.paths import Paths
from support.executor_pod import HELD, HOLDS, WAIT_SECONDS
from support.session_sandbox import RecordingSink, SandboxPod
from support.waiting import wait_until

pytestmark = [
    pytest.mark.alone,
    pytest.mark.integration,
    pytest.mark.skipif(cgroup.locate().source == cgroup.RUSAGE, reason="needs a cgroup"),
]

LASTS = "import time; time.sleep(2.5)"


@contextmanager
def launcher(paths: Paths, launcher_dir: str) -> Iterator[socket.socket]:
    """A connected launcher; the socket is the agent's end."""
    Path(paths.socket).parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(paths.socket)
        listener.listen(1)
        listener.settimeout(WAIT_SECONDS)
        process = subprocess.Popen([sys.executable, "-I", "-S", launcher_dir, paths.socket])
        try:
            sock, _ = listener.accept()
            with sock:
                sock.settimeout(WAIT_SECONDS)
                yield sock
        finally:
            process.kill()
            process.wait()


def frames_of(sock: socket.socket, paths: Paths, code: str, **more: Any) -> list[tuple[bytes, Any]]:
    """Run code to its end; all frames that came. A frame that shows HELD lets it continue."""
    run = {
        "argv": [sys.executable, "-c", code],
        "cwd": paths.workspace,
        "env": {},
        "stdin": "",
        "timeoutSeconds": 60.0,
        "graceSeconds": 1.0,
        **more,
    }
    frames.send_json(sock, frames.RUN, run)
    found = []
    while not found or found[-1][0] != frames.EXITED:
        frame = frames.receive(sock)
        assert frame is not None
        found.append((frame[0], json.loads(frame[1])))
        if frame[0] == frames.MEMORY and found[-1][1]["peakMemoryBytes"] >= HELD:
            Path(f"{paths.workspace}/go").touch()
    return found


def test_an_agent_that_asks_gets_the_memory_of_running_code(
    paths: Paths, launcher_dir: str
) -> None:
    with launcher(paths, launcher_dir) as sock:
        found = frames_of(sock, paths, HOLDS, liveMemory=True)

    kinds = [kind for kind, _ in found]
    peaks = [value["peakMemoryBytes"] for kind, value in found if kind == frames.MEMORY]
    assert kinds[0] == frames.STARTED
    assert kinds[-1] == frames.EXITED
    assert max(peaks) >= HELD
    assert found[-1][1]["exitCode"] == 0


def test_an_older_agent_gets_only_the_frames_that_it_knows(paths: Paths, launcher_dir: str) -> None:
    with launcher(paths, launcher_dir) as sock:
        kinds = {kind for kind, _ in frames_of(sock, paths, LASTS)}

    assert kinds == {frames.STARTED, frames.EXITED}


def test_code_of_less_than_a_second_sends_no_memory(paths: Paths, launcher_dir: str) -> None:
    with launcher(paths, launcher_dir) as sock:
        kinds = {kind for kind, _ in frames_of(sock, paths, "pass", liveMemory=True)}

    assert kinds == {frames.STARTED, frames.EXITED}


def test_a_session_has_the_memory_of_its_whole_sandbox(pod: SandboxPod) -> None:
    """Also of a context whose execution has ended."""
    wait_until(lambda: pod.sandbox.memory_bytes is not None, WAIT_SECONDS)
    before = pod.sandbox.memory_bytes or 0

    pod.run(f"data = b'x' * {HELD}", context="a")
    wait_until(lambda: (pod.sandbox.memory_bytes or 0) >= before + HELD // 2, WAIT_SECONDS)

    thread = threading.Thread(target=pod.run, args=(HOLDS,), kwargs={"sink": RecordingSink()})
    thread.start()
    wait_until(lambda: (pod.sandbox.memory_bytes or 0) >= before + HELD * 3 // 2, WAIT_SECONDS)
    Path(f"{pod.paths.workspace}/go").touch()
    thread.join(WAIT_SECONDS)
    assert not thread.is_alive()
