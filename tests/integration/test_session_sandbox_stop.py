"""How executions and contexts of a session stop: interrupts, timeouts, losses, leftovers."""

import threading
from pathlib import Path

import pytest

from support.session_sandbox import RecordingSink, SandboxPod
from support.waiting import wait_for, wait_until

pytestmark = pytest.mark.integration


MEGABYTE = 1 << 20


def interrupt_at(pod: SandboxPod, number: int, marker: bytes) -> RecordingSink:
    """A sink that interrupts an execution when its output contains ``marker``."""
    requested = threading.Event()

    def look(out: bytes) -> None:
        if marker in out and not requested.is_set():
            requested.set()
            assert pod.sandbox.interrupt(number)

    return RecordingSink(on_output=look)


def test_an_interrupted_context_keeps_its_variables(pod: SandboxPod) -> None:
    sink = interrupt_at(pod, 1, b"so far")
    pod.run("import time; x = 7; print('so far'); time.sleep(60)", context="a", sink=sink)
    end = sink.ended
    assert (end.exit_code, end.signal, end.interrupted) == (130, "SIGINT", True)
    assert not end.timed_out
    assert not end.context_lost
    assert sink.err.endswith("KeyboardInterrupt\n")
    assert "interpreter.py" not in sink.err
    seen = pod.run("print(x)", context="a")
    assert (seen.out, seen.ended.context_new) == ("7\n", False)
    assert not pod.sandbox.interrupt(1)


def test_an_interrupt_reaches_only_processes_that_the_execution_started(
    pod: SandboxPod,
) -> None:
    pod.run("import subprocess, os; old = subprocess.Popen(['sleep', '60'])", context="a")
    sink = interrupt_at(pod, 2, b"go")
    pod.run("print('go'); os.system('sleep 60'); print('next')", context="a", sink=sink)
    assert sink.ended.interrupted
    assert not sink.ended.timed_out
    assert pod.run("print(old.poll())", context="a").out == "None\n"


def test_an_interrupted_process_gets_sigterm(pod: SandboxPod) -> None:
    sink = interrupt_at(pod, 1, b"so far")
    pod.run("import time; print('so far'); time.sleep(60)", sink=sink)
    assert (sink.ended.exit_code, sink.ended.signal) == (143, "SIGTERM")
    assert sink.ended.interrupted


def test_a_timeout_keeps_the_context(pod: SandboxPod) -> None:
    pod.run("x = 7", context="a")
    seen = pod.run("import time; time.sleep(60)", context="a", timeout_seconds=0.3)
    assert seen.ended.timed_out
    assert not seen.ended.context_lost
    assert pod.run("print(x)", context="a").out == "7\n"


STUBBORN = """
import time
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("no")
"""


def test_a_context_that_ignores_interrupts_is_killed(pod: SandboxPod) -> None:
    pod.run("import time", context="a")
    seen = pod.run(STUBBORN, context="a", timeout_seconds=0.5, grace_seconds=1.5)
    end = seen.ended
    assert (end.exit_code, end.signal) == (137, "SIGKILL")
    assert end.timed_out
    assert end.context_lost
    assert seen.out == "no\nno\n"
    assert pod.sandbox.contexts() == []
    assert pod.run("1", context="a").ended.context_new


@pytest.mark.parametrize(
    ("code", "expected", "name"),
    [
        ("import os; print('last output'); os._exit(3)", 3, None),
        ("import os; print('last output'); os.kill(os.getpid(), 11)", 139, "SIGSEGV"),
        (
            "import os; print('last output'); os.closerange(3, 99); import time; time.sleep(60)",
            137,
            "SIGKILL",
        ),
    ],
)
def test_a_lost_context_is_reported_and_started_again(
    pod: SandboxPod, code: str, expected: int, name: str | None
) -> None:
    pod.run("x = 1", context="a")
    seen = pod.run(code, context="a")
    assert (seen.ended.exit_code, seen.ended.signal) == (expected, name)
    assert seen.out == "last output\n"
    assert seen.ended.context_lost
    again = pod.run("print('x' in globals())", context="a")
    assert (again.out, again.ended.context_new) == ("False\n", True)


def test_a_context_that_ends_while_it_is_idle(pod: SandboxPod) -> None:
    pod.run("import os, threading; threading.Timer(0.1, os._exit, (0,)).start()", context="a")
    assert wait_for(lambda: pod.sandbox.contexts() == [])
    assert pod.run("1", context="a").ended.context_new


DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in (0, 1, 2): os.close(fd)
        open({path!r}, "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists({path!r}) or not open({path!r}).read(): time.sleep(0.01)
"""


def test_a_daemon_ends_with_its_own_execution_only(pod: SandboxPod) -> None:
    def alive(name: str) -> str:
        path = f"/proc/{Path(pod.paths.workspace, name).read_text()}"
        return pod.run(f"import os; print(os.path.exists({path!r}))", context="look").out

    pod.run("x = 1", context="a")
    pod.run(DAEMON.format(path=f"{pod.paths.workspace}/of_a"), context="a")
    assert pod.run(DAEMON.format(path=f"{pod.paths.workspace}/fresh")).ended.exit_code == 0
    assert alive("fresh") == "False\n"
    assert alive("of_a") == "True\n"
    assert pod.run("print(x)", context="a").out == "1\n"
    assert pod.sandbox.drop_context("a")
    assert alive("of_a") == "False\n"


def test_a_process_that_kills_its_subreaper_is_killed(pod: SandboxPod) -> None:
    pod.run("x = 1", context="a")
    seen = pod.run("import os, time; os.kill(os.getppid(), 9); time.sleep(60)")
    assert (seen.ended.exit_code, seen.ended.signal) == (137, "SIGKILL")
    assert not seen.ended.timed_out
    assert pod.run("print(x)", context="a").out == "1\n"


def test_a_sink_that_raises_ends_the_execution(pod: SandboxPod) -> None:
    class Broken(RecordingSink):
        def output(self, stream: object, data: bytes) -> None:
            raise RuntimeError("the reader is gone")

    with pytest.raises(RuntimeError, match="the reader is gone"):
        pod.run("x = 1\nwhile True: print(1)", context="a", sink=Broken())
    assert wait_for(lambda: [c.busy for c in pod.sandbox.contexts()] == [False])
    assert pod.run("print(x)", context="a").out == "1\n"


BACKGROUND = "(while :; do date +%s%N > alive; sleep 0.02; done) & echo $! > pid; echo started"


def wait_for_change(path: Path) -> None:
    """Wait until the file's content changes: its writer runs."""
    wait_until(lambda: path.exists() and path.read_text())
    before = path.read_text()
    wait_until(lambda: path.read_text() not in ("", before))


@pytest.mark.parametrize("shell", [True, False])
def test_processes_continue_after_their_execution_when_asked_for(
    pod: SandboxPod, shell: bool
) -> None:
    alive = Path(pod.paths.workspace, "alive")
    code = BACKGROUND if shell else f"import os\nos.system({BACKGROUND!r})\nos.write(2, b'e')"
    seen = pod.run(code, shell=shell, keep_processes=True, stdin="unread")
    assert (seen.out, seen.ended.exit_code) == ("started\n", 0)
    assert seen.err == ("" if shell else "e")
    wait_for_change(alive)
    assert pod.run("print('next')").out == "next\n"
    assert pod.run("print('in a context')", context="a").out == "in a context\n"
    wait_for_change(alive)
    # Another execution finds and ends it; then its tree goes.
    assert pod.run("kill $(cat pid) && echo ended", shell=True).out == "ended\n"
    wait_until(lambda: pod.run("kill -0 $(cat pid)", shell=True).ended.exit_code)


def test_without_asking_processes_end_with_their_execution(pod: SandboxPod) -> None:
    assert pod.run(BACKGROUND, shell=True).out == "started\n"
    check = "kill -0 $(cat pid) 2>/dev/null && echo alive; true"
    assert pod.run(check, shell=True).out == ""


def test_kept_processes_end_with_the_session_and_may_write(pod: SandboxPod) -> None:
    flood = "yes > /dev/stderr & yes & echo $! > pid; echo started"
    seen = pod.run(flood, shell=True, keep_processes=True)
    assert "started\n" in seen.out
    assert seen.ended.exit_code == 0
    assert pod.run("kill -0 $(cat pid) && echo alive", shell=True).out == "alive\n"
    pod.sandbox.close()
    assert pod.launchers[-1].wait(30) == 0


@pytest.mark.parametrize("end", ["exit 3", "kill -9 $$"])
def test_the_end_of_the_program_is_reported_with_kept_processes(pod: SandboxPod, end: str) -> None:
    seen = pod.run(f"{BACKGROUND}; {end}", shell=True, keep_processes=True)
    assert (seen.ended.exit_code, seen.ended.signal) in [(3, None), (137, "SIGKILL")]
    wait_for_change(Path(pod.paths.workspace, "alive"))


def test_a_timeout_ends_kept_processes(pod: SandboxPod) -> None:
    code = f"{BACKGROUND}; sleep 600"
    seen = pod.run(code, shell=True, keep_processes=True, timeout_seconds=0.5, grace_seconds=0.2)
    assert seen.ended.timed_out
    check = "kill -0 $(cat pid) 2>/dev/null && echo alive; true"
    assert pod.run(check, shell=True).out == ""


def test_nothing_to_keep_is_an_ordinary_end(pod: SandboxPod) -> None:
    for _ in range(3):
        assert pod.run("echo done", shell=True, keep_processes=True).out == "done\n"
        assert pod.run("print(1); display(2)", keep_processes=True).bundles == [{"text/plain": "2"}]
