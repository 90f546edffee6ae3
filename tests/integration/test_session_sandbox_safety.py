"""What user code of a session cannot access; what happens when a container ends."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanogrid_executor.paths import Paths
from support.executor_pod import UNSHARE
from support.session_sandbox import SandboxPod, can_unshare
from support.waiting import wait_for

pytestmark = pytest.mark.integration


needs_pids = pytest.mark.skipif(not can_unshare(), reason="this machine allows no PID namespaces")


FDS = """
import json, os, stat
def of(fd):
    try:
        return os.readlink(f"/proc/self/fd/{fd}").split(":")[0]
    except FileNotFoundError:
        return None
found = [of(fd) for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2]
print(json.dumps([kind for kind in found if kind]))
"""


def test_user_code_has_only_its_streams_and_one_socket(pod: SandboxPod) -> None:
    pod.run("x = 1", context="other")
    # A context has copies of its own stdout and stderr, in case that its code closes them.
    for context, copies in (("a", ["pipe", "pipe"]), (None, [])):
        assert json.loads(pod.run(FDS, context=context).out) == [*copies, "socket"]
    shell = pod.run("ls -l /proc/self/fd | grep -c 'socket\\|pipe'", shell=True)
    assert shell.out == "2\n", "stderr, and the pipe to grep"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {FDS!r}])"
    for context in ("a", None):
        assert json.loads(pod.run(child, context=context).out) == []


def test_that_socket_connects_to_the_launcher_not_to_the_agent(pod: SandboxPod) -> None:
    code = (
        "import os, socket, stat\n"
        "fds = [fd for fd in range(3, 50) if os.path.exists(f'/proc/self/fd/{fd}')]\n"
        "peer = socket.socket(fileno=os.dup(fds[0]))\n"
        "print(repr(peer.getpeername()), repr(peer.getsockname()))"
    )
    seen = pod.run(code)
    assert seen.out == "'' ''\n", seen.err  # a socket pair has no name; the agent's socket has one


ATTACK = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, call):
    try:
        print(name, "done", call())
    except OSError as error:
        print(name, "refused")
def syscall(*args):
    got = libc.syscall(*args)
    if got < 0:
        raise OSError(ctypes.get_errno(), "")
    return got
for pid in sorted({1, os.getppid(), *SUBREAPERS}):
    name = "launcher" if pid == 1 else "subreaper"
    attempt(f"{name} environ", lambda: open(f"/proc/{pid}/environ").read())
    attempt(f"{name} mem", lambda: open(f"/proc/{pid}/mem", "rb"))
    attempt(f"{name} fds", lambda: os.listdir(f"/proc/{pid}/fd"))
    attempt(f"{name} getfd", lambda: syscall(438, os.pidfd_open(pid), 0, 0))
    attempt(f"{name} ptrace", lambda: syscall(101, 16, pid, 0, 0))
os.kill(1, signal.SIGKILL)
os.kill(1, signal.SIGSTOP)
os.kill(1, signal.SIGTERM)
"""


SYSTEM_PYTHON = "/usr/bin/python3"


DROP = ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--no-new-privs"]


@needs_pids
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become an unprivileged user")
@pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the system call numbers are those of x86-64"
)
@pytest.mark.skipif(
    not os.access(SYSTEM_PYTHON, os.X_OK), reason="needs a Python that all users can run"
)
def test_user_code_cannot_access_launcher_or_subreapers(paths: Paths, launcher_dir: str) -> None:
    os.chmod(paths.root, 0o755)
    os.chmod(launcher_dir, 0o755)
    os.makedirs(paths.run_dir, exist_ok=True)
    pod = SandboxPod(paths, launcher_dir, [*UNSHARE, *DROP], python=SYSTEM_PYTHON)
    old = os.umask(0)  # socket and workspace belong to root here, not to the uid of the sandbox
    try:
        pod.sandbox.start()
        assert wait_for(lambda: os.path.exists(paths.socket))
        pod.launch()
        assert pod.sandbox.wait_available(60)
    finally:
        os.umask(old)
    try:
        other = pod.run("import os; print(os.getppid())", context="other").out
        subreapers = f"SUBREAPERS = [{int(other)}]\n"
        for context in ("a", None):
            lines = pod.run(subreapers + ATTACK, context=context).out.splitlines()
            kinds = ("environ", "mem", "fds", "getfd", "ptrace")
            assert lines == [
                f"{name} {kind} refused"
                for name in ("launcher", "subreaper", "subreaper")
                for kind in kinds
            ]
        assert pod.run("print(1)", context="other").ended.context_new is False
    finally:
        pod.kill()


def test_the_launchers_own_secrets_are_not_inherited(pod: SandboxPod) -> None:
    for changes in ({"context": "a"}, {}, {"shell": True}):
        code = "env" if changes.get("shell") else "import os; print(os.environ)"
        assert "SECRET" not in pod.run(code, **changes).out


def test_the_socket_is_gone_while_code_can_run(pod: SandboxPod) -> None:
    code = f"import os; print(sorted(os.listdir({pod.paths.run_dir!r})))"
    assert pod.run(code).out == "['launcher.lock']\n"


@pytest.fixture
def small_cgroup() -> Iterator[str]:
    """A cgroup v1 of 96 MiB."""
    line = next(
        (line for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line),
        None,
    )
    if line is None:
        pytest.skip("this machine has no memory controller of cgroup v1")
    path = f"/sys/fs/cgroup/memory{line.split(':')[2]}/sandbox-{os.getpid()}"
    try:
        os.mkdir(path)
    except OSError as error:
        pytest.skip(f"this machine allows no cgroups: {error}")
    Path(path, "memory.limit_in_bytes").write_text(str(96 << 20))
    yield path
    assert wait_for(lambda: not Path(path, "cgroup.procs").read_text())
    os.rmdir(path)


HOG = "x = 1\nprint('so far')\ny = bytearray(300 << 20)"


def test_an_oom_kill_is_reported_and_ends_one_process_only(
    small_cgroup: str, paths: Paths, launcher_dir: str
) -> None:
    join = ["sh", "-c", f'echo $$ > {small_cgroup}/cgroup.procs; exec "$@"', "sh"]
    pod = SandboxPod(paths, launcher_dir, join)
    pod.sandbox.start()
    pod.launch()
    try:
        assert pod.sandbox.wait_available(60)
        pod.run("x = 1", context="b")
        for context in ("a", None):
            seen = pod.run(HOG, context=context)
            assert seen.out == "so far\n"
            assert (seen.ended.exit_code, seen.ended.signal) == (137, "SIGKILL")
            assert seen.ended.oom_killed
            assert not seen.ended.sandbox_lost
            assert seen.ended.context_lost == (context is not None)
            assert (seen.ended.peak_memory_bytes or 0) > 40 << 20
        after = pod.run("print(x)", context="b")
        assert (after.out, after.ended.oom_killed) == ("1\n", False)
    finally:
        pod.kill()
