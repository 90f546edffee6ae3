"""What user code of a session cannot reach, and what follows when a container goes away."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.pod import UNSHARE
from integration.session_sandbox import Seen, Session, can_unshare, running, wait_for
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.sandbox import LauncherSandbox

pytestmark = pytest.mark.integration

needs_pids = pytest.mark.skipif(not can_unshare(), reason="PID namespaces cannot be made here")


@pytest.fixture
def session(paths: Paths, launcher_dir: str) -> Iterator[Session]:
    with running(paths, launcher_dir, own_pids=can_unshare()) as session:
        yield session


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


def test_user_code_has_its_streams_and_one_socket_of_its_own(session: Session) -> None:
    session.run("x = 1", context="other")
    for context in ("a", None):
        assert json.loads(session.run(FDS, context=context).out) == ["socket"]
    shell = session.run("ls -l /proc/self/fd | grep -c 'socket\\|pipe'", shell=True)
    assert shell.out == "2\n", "stderr, and the pipe to grep"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {FDS!r}])"
    for context in ("a", None):
        assert json.loads(session.run(child, context=context).out) == []


def test_the_one_socket_leads_to_the_launcher_and_not_to_the_agent(session: Session) -> None:
    code = (
        "import os, socket, stat\n"
        "fds = [fd for fd in range(3, 50) if os.path.exists(f'/proc/self/fd/{fd}')]\n"
        "peer = socket.socket(fileno=os.dup(fds[0]))\n"
        "print(repr(peer.getpeername()), repr(peer.getsockname()))"
    )
    seen = session.run(code)
    assert seen.out == "'' ''\n", seen.err  # a pair without a name; the agent's has one


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
keepers = {os.getppid(), *KEEPERS}
for pid in sorted({1, *keepers}):
    name = "launcher" if pid == 1 else "keeper"
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
@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody without rights")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers are x86-64's")
@pytest.mark.skipif(not os.access(SYSTEM_PYTHON, os.X_OK), reason="needs a Python for everybody")
def test_user_code_cannot_reach_into_launcher_or_keepers(paths: Paths, launcher_dir: str) -> None:
    os.chmod(paths.root, 0o755)
    os.chmod(launcher_dir, 0o755)
    os.makedirs(paths.run_dir, exist_ok=True)
    session = Session(paths, launcher_dir, [*UNSHARE, *DROP], python=SYSTEM_PYTHON)
    old = os.umask(0)  # the socket and the workspace belong to root here, not to one uid
    try:
        session.port.start()
        assert wait_for(lambda: os.path.exists(paths.socket))
        session.launch()
        assert session.port.wait_available(20)
    finally:
        os.umask(old)
    try:
        other = session.run("import os; print(os.getppid())", context="other").out
        keepers = f"KEEPERS = [{int(other)}]\n"
        for context in ("a", None):
            lines = session.run(keepers + ATTACK, context=context).out.splitlines()
            kinds = ("environ", "mem", "fds", "getfd", "ptrace")
            assert lines == [
                f"{name} {kind} refused"
                for name in ("launcher", "keeper", "keeper")
                for kind in kinds
            ]
        assert session.run("print(1)", context="other").ended.context_new is False
    finally:
        session.kill()


def test_the_launchers_own_secrets_are_not_inherited(session: Session) -> None:
    for changes in ({"context": "a"}, {}, {"shell": True}):
        code = "env" if changes.get("shell") else "import os; print(os.environ)"
        assert "SECRET" not in session.run(code, **changes).out


def test_the_socket_is_gone_while_code_can_run(session: Session) -> None:
    code = f"import os; print(sorted(os.listdir({session.paths.run_dir!r})))"
    assert session.run(code).out == "['launcher.lock']\n"


@pytest.fixture
def small_cgroup() -> Iterator[str]:
    """A cgroup v1 of 96 MiB."""
    line = next(
        (line for line in Path("/proc/self/cgroup").read_text().splitlines() if ":memory:" in line),
        None,
    )
    if line is None:
        pytest.skip("there is no memory controller of cgroup v1 here")
    path = f"/sys/fs/cgroup/memory{line.split(':')[2]}/sandbox-{os.getpid()}"
    try:
        os.mkdir(path)
    except OSError as error:
        pytest.skip(f"cgroups cannot be made here: {error}")
    Path(path, "memory.limit_in_bytes").write_text(str(96 << 20))
    yield path
    assert wait_for(lambda: not Path(path, "cgroup.procs").read_text())
    os.rmdir(path)


HOG = "x = 1\nprint('so far')\ny = bytearray(300 << 20)"


def test_an_oom_kill_is_told_and_ends_one_process_only(
    small_cgroup: str, paths: Paths, launcher_dir: str
) -> None:
    join = ["sh", "-c", f'echo $$ > {small_cgroup}/cgroup.procs; exec "$@"', "sh"]
    session = Session(paths, launcher_dir, join)
    session.port.start()
    session.launch()
    try:
        assert session.port.wait_available(20)
        session.run("x = 1", context="b")
        for context in ("a", None):
            seen = session.run(HOG, context=context)
            assert seen.out == "so far\n"
            assert (seen.ended.exit_code, seen.ended.signal) == (137, "SIGKILL")
            assert seen.ended.oom_killed
            assert not seen.ended.sandbox_lost
            assert seen.ended.context_lost == (context is not None)
            assert (seen.ended.peak_memory_bytes or 0) > 40 << 20
        after = session.run("print(x)", context="b")
        assert (after.out, after.ended.oom_killed) == ("1\n", False)
    finally:
        session.kill()


def test_a_launcher_that_is_killed(session: Session) -> None:
    session.run("x = 1", context="a")
    sink = Seen(on_output=lambda out: session.launchers[0].kill() if out == b"1\n" else None)
    seen = session.run("print(1, flush=True); import time; time.sleep(60)", context="a", sink=sink)
    assert seen.ended.sandbox_lost
    assert seen.ended.exit_code is None
    assert seen.ended.error == "the launcher has gone"
    assert seen.out == "1\n"
    assert not session.port.available
    lost = session.run("1").ended
    assert lost.sandbox_lost
    assert lost.error == "no sandbox is connected"
    assert session.port.contexts() == []
    assert not session.port.interrupt(1)
    assert not session.port.wait_available(0.05)
    session.launch()
    assert session.port.wait_available(20)
    assert session.port.restarts == 1
    assert session.run("print(2)", context="a").out == "2\n"


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
def test_code_of_the_old_container_never_connects_in_the_new_ones_place(session: Session) -> None:
    mark = f"{session.paths.workspace}/stolen"
    thief = THIEF.format(path=session.paths.socket, mark=mark)
    for restart in range(1, 6):
        begin = f"import threading\nthreading.Thread(target=exec, args=({thief!r},)).start()"
        for name in ("a", "b"):
            assert session.run(begin, context=name).ended.exit_code == 0
        session.launchers[-1].kill()
        assert wait_for(lambda: os.path.exists(session.paths.socket))
        session.launch()
        assert session.port.wait_available(20)
        assert session.port.restarts == restart
    assert not os.path.exists(mark)


def test_a_thief_would_be_seen(paths: Paths, tmp_path: Path) -> None:
    """The positive control: the same code does connect when it meets an open socket."""
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


def test_closing_ends_everything_and_the_launcher_exits_with_0(session: Session) -> None:
    session.run("import os; print(os.getpid())", context="a")
    launcher = session.launchers[0]
    session.port.close()
    assert launcher.wait(10) == 0
    assert not session.port.available
    assert not os.path.exists(session.paths.socket)


def test_an_agent_that_goes_without_a_word_ends_everything(session: Session) -> None:
    pid_file = Path(session.paths.workspace, "pid")
    session.run(f"import os; open({str(pid_file)!r}, 'w').write(str(os.getpid()))", context="a")
    link = session.port._link
    assert link is not None
    link.hang_up()
    assert session.launchers[0].wait(10) == 76
    assert wait_for(lambda: os.path.exists(session.paths.socket))
    session.launch()
    assert session.port.wait_available(20)
    assert session.run("1", context="a").ended.context_new


def test_a_new_agent_waits_for_the_end_of_the_old_ones_launcher(
    paths: Paths, launcher_dir: str
) -> None:
    with running(paths, launcher_dir, own_pids=False) as session:
        link = session.port._link
        assert link is not None
        again = LauncherSandbox(paths.socket, paths.workspace)
        again.start()
        try:
            assert not wait_for(lambda: os.path.exists(paths.socket), 0.5)
            session.port.close()
            assert session.launchers[0].wait(10) == 0
            assert wait_for(lambda: os.path.exists(paths.socket))
            session.launch()
            assert again.wait_available(20)
        finally:
            again.close()


def test_sigterm_interrupts_what_runs_and_ends_the_launcher(session: Session) -> None:
    session.run("x = 1", context="b")
    pid = session.launchers[0].pid
    if session.wrap:
        pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    sink = Seen(on_output=lambda out: os.kill(pid, signal.SIGTERM) if out == b"1\n" else None)
    seen = session.run("print(1); import time; time.sleep(60)", context="a", sink=sink)
    assert seen.ended.interrupted
    assert seen.ended.exit_code == 130
    assert session.launchers[0].wait(10) == 143


def test_two_executions_of_one_number(session: Session) -> None:
    order = session.order("import time; time.sleep(60)")
    thread = threading.Thread(target=session.port.run, args=(order, Seen()))
    thread.start()
    assert wait_for(lambda: session.port.interrupt(order.number) or not thread.is_alive())
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(ValueError, match="at most"):
        session.run("x" * (17 << 20))
    assert session.run("print(1)").out == "1\n"


def test_a_strange_first_word_is_refused_and_a_launcher_still_comes(
    paths: Paths, launcher_dir: str
) -> None:
    import socket

    session = Session(paths, launcher_dir, [])
    session.port.start()
    try:
        with socket.socket(socket.AF_UNIX) as stranger:
            # Between bind and listen the socket is there and refuses: a launcher tries again, too.
            assert wait_for(lambda: stranger.connect_ex(paths.socket) == 0)
            stranger.sendall(b"Z\0\0\0\0")
            assert wait_for(lambda: os.path.exists(paths.socket))
        session.launch()
        assert session.port.wait_available(20)
        assert session.port.restarts == 0
        assert session.run("print(1)").out == "1\n"
    finally:
        session.kill()
