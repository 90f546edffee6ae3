"""Programs that forge their result, against a real agent and launcher in a PID namespace."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid_executor.launcher.signals import SI_USER
from nanogrid_executor.paths import Paths
from support.executor_pod import UNSHARE, Pod, can_unshare, running
from support.forging_programs import EPILOGUE, FORGERIES, PRELUDE, Forgery
from support.s3_server import make_task

SYSTEM_PYTHON = "/usr/bin/python3"
LIMIT = ["prlimit", "--sigpending=4000"]
DROP = ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs"]
WRAP = [*UNSHARE, *LIMIT, *DROP]

pytestmark = [
    pytest.mark.security,
    pytest.mark.integration,
    pytest.mark.skipif(not can_unshare(), reason="this machine allows no PID namespaces"),
    pytest.mark.skipif(os.getuid() != 0, reason="needs root to drop its rights"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers of x86-64"),
    pytest.mark.skipif(
        not os.access(SYSTEM_PYTHON, os.X_OK), reason="needs a Python that every user may execute"
    ),
]


@pytest.fixture
def stranger(paths: Paths, launcher_dir: str) -> Iterator[dict[str, Any]]:
    """What runs a program as another user than the agent's, as PID 1's child."""
    os.chmod(paths.root, 0o755)
    os.chmod(launcher_dir, 0o755)
    os.chmod(paths.workspace, 0o777)
    os.makedirs(paths.run_dir, exist_ok=True)
    old = os.umask(0)  # the socket and the workspace belong to root here
    try:
        yield {"wrap": WRAP, "python": SYSTEM_PYTHON, "command": [SYSTEM_PYTHON, "main.py"]}
    finally:
        os.umask(old)


def test_there_are_25_forging_programs() -> None:
    assert len({forgery.name for forgery in FORGERIES}) == len(FORGERIES) >= 25


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
def test_a_program_cannot_forge_its_result(
    run: Any, stranger: dict[str, Any], forgery: Forgery
) -> None:
    ended = run(forgery.program, **stranger)

    result = ended.result
    assert (result.status, result.reason) == ("FAILED", forgery.reason), ended
    assert result.exit_code == forgery.exit_code
    if forgery.stdout is not None:
        assert result.stdout == f"{forgery.stdout}tried\n"
    for name in forgery.refused:
        assert f"{name} refused\n" in result.stderr
        assert f"{name} done" not in result.stderr


@pytest.mark.parametrize(("code", "status"), [(0, "SUCCESS"), (7, "FAILED")])
def test_control_the_exit_code_decides(
    run: Any, stranger: dict[str, Any], code: int, status: str
) -> None:
    ended = run(PRELUDE + EPILOGUE.replace("(7)", f"({code})"), **stranger)

    assert (ended.result.status, ended.result.exit_code) == (status, code), ended
    assert ended.result.stdout == "tried\n"


SLEEPS = "import time; print('so far', flush=True); time.sleep(60)"


def launcher_pid(pod: Pod) -> int:
    """The launcher's PID in this namespace: it is the child of ``unshare``."""
    children = Path(f"/proc/{pod.sandbox.pid}/task/{pod.sandbox.pid}/children")
    return int(children.read_text().split()[0])


@pytest.mark.parametrize(("agent_too", "reason"), [(True, "Terminated"), (False, "Signaled")])
def test_control_a_stop_from_outside_of_the_namespace(
    paths: Paths, launcher_dir: str, stranger: dict[str, Any], agent_too: bool, reason: str
) -> None:
    """The kubelet stops both containers; a stop of the sandbox alone is no termination."""
    task = make_task(code_inline=SLEEPS, command=stranger["command"])
    with running(task, paths, launcher_dir, python=[*WRAP, SYSTEM_PYTHON]) as pod:
        assert pod.sandbox.stdout is not None
        pod.sandbox.stdout.readline()
        os.kill(launcher_pid(pod), signal.SIGTERM)
        if agent_too:
            assert pod.sandbox.wait(60) == 143
            pod.agent.send_signal(signal.SIGTERM)
        ended = pod.wait()

    assert (ended.result.reason, ended.result.exit_code) == (reason, 143)


WITNESS = """
import os, signal, struct, subprocess, sys
sys.path.insert(0, LAUNCHER)
from nanogrid_executor.launcher.signals import STOP_SIGNALS, _signalfd
stop = _signalfd(STOP_SIGNALS)
attack = subprocess.run([sys.executable, "-c", ATTACK])
seen = []
try:
    while True:
        seen.append(struct.unpack_from("=IiiI", os.read(stop, 128)))
except BlockingIOError:
    print(seen[-1][2:] if seen else None)
"""
RT_SIGQUEUEINFO = "queue(-1)"
LOSE_SENDER = next(f.code for f in FORGERIES if f.name == "no room for the sender in PID 1")


@pytest.mark.parametrize(
    ("attack", "code", "sender"),
    [("os.kill(1, 15)", SI_USER, 2), (RT_SIGQUEUEINFO, -1, 0), (LOSE_SENDER, SI_USER, 0)],
    ids=["kill", "rt_sigqueueinfo", "no room for the sender"],
)
def test_control_what_the_kernel_shows_of_a_sender(attack: str, code: int, sender: int) -> None:
    """The PID alone can be forged. Without room for it, the code SI_USER can be forged, too."""
    source = str(Path(__file__).parents[2] / "executor-image/src")
    witness = f"LAUNCHER = {source!r}\nATTACK = {PRELUDE + attack!r}\n{WITNESS}"

    seen = subprocess.run(
        [*UNSHARE, SYSTEM_PYTHON, "-c", witness], capture_output=True, text=True, check=True
    )

    assert seen.stdout == f"({code}, {sender})\n", seen
