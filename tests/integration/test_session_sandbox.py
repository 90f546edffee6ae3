"""A session's sandbox with real processes: contexts, streams, interruption, the ways to end."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.session_sandbox import Seen, Session, can_unshare, running, wait_for
from nanogrid_executor.paths import Paths

pytestmark = pytest.mark.integration

MEGABYTE = 1 << 20


@pytest.fixture
def session(paths: Paths, launcher_dir: str) -> Iterator[Session]:
    with running(paths, launcher_dir, own_pids=can_unshare()) as session:
        yield session


def test_a_process_of_its_own_runs_like_a_script(session: Session) -> None:
    seen = session.run("import os, sys; print(__name__, os.getcwd(), sys.argv, __file__)")
    here = session.paths.workspace
    assert seen.out == f"__main__ {here} ['{here}/execution_1.py'] {here}/execution_1.py\n"
    end = seen.ended
    assert (end.exit_code, end.signal, end.error, end.context_new) == (0, None, None, False)
    assert end.memory_source == "process-tree"
    assert end.peak_memory_bytes
    assert seen.starts
    assert seen.bundles == []
    assert seen.err == ""


POOL = """
import multiprocessing, os
def double(x):
    return 2 * x
if __name__ == "__main__":
    assert os.path.exists(__file__)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [1, 2]))
"""


def test_a_script_is_a_file_while_it_runs_so_that_processes_can_be_spawned(
    session: Session,
) -> None:
    seen = session.run(POOL)
    assert (seen.out, seen.err) == ("[2, 4]\n", "")
    assert os.listdir(session.paths.workspace) == []
    Path(session.paths.workspace, "execution_2.py").write_text("mine")
    assert session.run("print(1)").out == "1\n"
    assert Path(session.paths.workspace, "execution_2.py").read_text() == "mine"


def test_variables_live_on_in_a_context_and_only_there(session: Session) -> None:
    assert session.run("x = 41", context="a").ended.context_new
    assert session.run("print(x + 1)", context="a").out == "42\n"
    for place in ("b", None):
        seen = session.run("print(x)", context=place)
        assert (seen.ended.exit_code, seen.out) == (1, "")
        assert "NameError: name 'x' is not defined" in seen.err
    assert [(c.name, c.executions, c.busy) for c in session.port.contexts()] == [
        ("a", 2, False),
        ("b", 1, False),
    ]


def test_a_shell_runs_in_the_workspace(session: Session) -> None:
    seen = session.run("pwd; echo $0 >&2; read x; echo got $x; exit 3", shell=True, stdin="1\n")
    assert seen.out == f"{session.paths.workspace}\ngot 1\n"
    assert seen.err in ("bash\n", "sh\n")
    assert seen.ended.exit_code == 3


@pytest.mark.parametrize("context", ["a", None])
def test_a_traceback_has_the_lines_of_the_code_and_nothing_of_ours(
    session: Session, context: str | None
) -> None:
    seen = session.run("def f(x):\n    return 1 / x\n\nf(0)\n", context=context)
    assert seen.ended.exit_code == 1
    assert 'execution_1.py", line 4, in <module>\n    f(0)\n' in seen.err
    assert 'execution_1.py", line 2, in f\n    return 1 / x\n' in seen.err
    assert "context_host" not in seen.err
    assert seen.err.endswith("ZeroDivisionError: division by zero\n")


def test_a_function_of_an_earlier_execution_keeps_its_lines(session: Session) -> None:
    session.run("def f(x):\n    return 1 / x  # here", context="a")
    assert "return 1 / x  # here" in session.run("f(0)", context="a").err


@pytest.mark.parametrize("context", ["a", None])
def test_a_syntax_error(session: Session, context: str | None) -> None:
    seen = session.run("print(1)\nx = = 2", context=context)
    assert (seen.ended.exit_code, seen.out) == (1, "")
    assert 'execution_1.py", line 2' in seen.err
    assert "SyntaxError" in seen.err
    assert "context_host" not in seen.err


@pytest.mark.parametrize("context", ["a", None])
def test_sys_exit_ends_the_execution_only(session: Session, context: str | None) -> None:
    for code, expected in (("3", 3), ("", 0), ("'why'", 1)):
        seen = session.run(f"y = 1; import sys; print('x'); sys.exit({code})", context=context)
        assert (seen.ended.exit_code, seen.out) == (expected, "x\n")
        assert seen.err == ("why\n" if expected == 1 else "")
        assert not seen.ended.context_lost
    if context:
        assert session.run("print(y)", context="a").out == "1\n"


def test_top_level_await(session: Session) -> None:
    session.run("import asyncio\nevent = asyncio.Event()", context="a")
    seen = session.run("await asyncio.sleep(0)\nevent.set()\nawait event.wait()", context="a")
    assert (seen.ended.exit_code, seen.bundles) == (0, [{"text/plain": "True"}])
    assert session.run("asyncio.run(asyncio.sleep(0))", context="a").ended.exit_code == 0


def test_standard_input(session: Session) -> None:
    for context in ("a", None):
        assert session.run("print(input() + input())", context=context, stdin="가\n나").out == (
            "가나\n"
        )
        assert "EOFError" in session.run("input()", context=context).err


def test_environment_is_that_of_one_execution(session: Session) -> None:
    code = "import os; print(os.environ.get('A'), os.environ.get('PATH') is not None)"
    assert session.run(code, context="a", env={"A": "1", "PATH": "/x"}).out == "1 True\n"
    assert session.run("import os; print(os.environ['PATH'])", context="a").out != "/x\n"
    assert session.run(code, context="a").out == "None True\n"
    assert session.run(code, env={"A": "2"}).out == "2 True\n"
    names = session.run("import os; print(sorted(os.environ))").out
    known = ["HOME", "LANG", "MPLBACKEND", "PATH", "PYTHONUNBUFFERED"]
    assert set(eval(names)) - {"LC_CTYPE"} == set(known)


def test_output_of_children_and_of_c_is_captured_to_its_end(session: Session) -> None:
    code = (
        "import ctypes, os, subprocess\nprint('python')\nos.write(2, b'raw')\n"
        "subprocess.run(['echo', 'child'])\nctypes.CDLL(None).printf(b'buffered')"
    )
    for context in ("a", None):
        seen = session.run(code + ";", context=context)
        assert sorted(seen.out.split()) == ["buffered", "child", "python"]
        assert seen.err == "raw"


def test_contexts_run_side_by_side_and_each_has_its_output(session: Session) -> None:
    code = "import time\nfor i in range(200):\n    print({!r}, i)\n    time.sleep(0.001)"
    seen = {name: Seen() for name in ("a", "b")}
    orders = {name: session.order(code.format(name), context=name) for name in seen}
    ends = {}

    def run(name: str) -> None:
        ends[name] = session.port.run(orders[name], seen[name])

    threads = [threading.Thread(target=run, args=(name,)) for name in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, sink in seen.items():
        assert sink.out == "".join(f"{name} {i}\n" for i in range(200))
        assert ends[name].exit_code == 0


def interrupt_at(session: Session, number: int, word: bytes) -> Seen:
    """A sink that interrupts an execution when it has written a word."""
    asked = threading.Event()

    def look(out: bytes) -> None:
        if word in out and not asked.is_set():
            asked.set()
            assert session.port.interrupt(number)

    return Seen(on_output=look)


def test_an_interrupted_context_keeps_its_variables(session: Session) -> None:
    sink = interrupt_at(session, 1, b"so far")
    session.run("import time; x = 7; print('so far'); time.sleep(60)", context="a", sink=sink)
    end = sink.ended
    assert (end.exit_code, end.signal, end.interrupted) == (130, "SIGINT", True)
    assert not end.timed_out
    assert not end.context_lost
    assert sink.err.endswith("KeyboardInterrupt\n")
    assert "context_host" not in sink.err
    seen = session.run("print(x)", context="a")
    assert (seen.out, seen.ended.context_new) == ("7\n", False)
    assert not session.port.interrupt(1)


def test_an_interrupt_reaches_what_the_execution_started_and_nothing_before(
    session: Session,
) -> None:
    session.run("import subprocess, os; old = subprocess.Popen(['sleep', '60'])", context="a")
    sink = interrupt_at(session, 2, b"go")
    session.run("print('go'); os.system('sleep 60'); print('next')", context="a", sink=sink)
    assert sink.ended.duration_millis < 10_000
    assert session.run("print(old.poll())", context="a").out == "None\n"


def test_an_interrupted_process_gets_sigterm(session: Session) -> None:
    sink = interrupt_at(session, 1, b"so far")
    session.run("import time; print('so far'); time.sleep(60)", sink=sink)
    assert (sink.ended.exit_code, sink.ended.signal) == (143, "SIGTERM")
    assert sink.ended.interrupted


def test_a_timeout_keeps_the_context(session: Session) -> None:
    session.run("x = 7", context="a")
    seen = session.run("import time; time.sleep(60)", context="a", timeout_seconds=0.3)
    assert seen.ended.timed_out
    assert not seen.ended.context_lost
    assert seen.ended.duration_millis < 5000
    assert session.run("print(x)", context="a").out == "7\n"


STUBBORN = """
import time
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("no")
"""


def test_a_context_that_will_not_stop_is_ended(session: Session) -> None:
    seen = session.run(STUBBORN, context="a", timeout_seconds=0.3, grace_seconds=0.6)
    end = seen.ended
    assert (end.exit_code, end.signal) == (137, "SIGKILL")
    assert end.timed_out
    assert end.context_lost
    assert seen.out == "no\nno\n"
    assert session.port.contexts() == []
    assert session.run("1", context="a").ended.context_new


DEAF = "import os, time; print('last words'); os.closerange(3, 99); time.sleep(60)"


@pytest.mark.parametrize(
    ("code", "expected", "name"),
    [
        ("import os; print('last words'); os._exit(3)", 3, None),
        ("import os; print('last words'); os.kill(os.getpid(), 11)", 139, "SIGSEGV"),
        (
            "import os; print('last words'); os.closerange(3, 99); import time; time.sleep(60)",
            137,
            "SIGKILL",
        ),
    ],
)
def test_a_context_that_dies_is_told_and_begun_anew(
    session: Session, code: str, expected: int, name: str | None
) -> None:
    session.run("x = 1", context="a")
    seen = session.run(code, context="a")
    assert (seen.ended.exit_code, seen.ended.signal) == (expected, name)
    assert seen.out == "last words\n"
    assert seen.ended.context_lost
    again = session.run("print('x' in globals())", context="a")
    assert (again.out, again.ended.context_new) == ("False\n", True)


def test_a_context_that_dies_while_it_is_idle(session: Session) -> None:
    session.run("import os, threading; threading.Timer(0.1, os._exit, (0,)).start()", context="a")
    assert wait_for(lambda: session.port.contexts() == [])
    assert session.run("1", context="a").ended.context_new


def test_a_fork_that_comes_to_the_end_of_the_code(session: Session) -> None:
    seen = session.run("import os; pid = os.fork(); print('both') or 5", context="a")
    assert seen.bundles == [{"text/plain": "5"}]
    seen = session.run("print(os.waitpid(pid, 0)[1]); print('one')", context="a")
    assert seen.out.endswith("0\none\n")


def test_there_is_a_most_of_contexts(session: Session) -> None:
    for index in range(8):
        assert session.run("1", context=f"c{index}").ended.exit_code == 0
    end = session.run("1", context="more").ended
    assert end.exit_code == 126
    assert "there are 8 contexts already" in (end.error or "")
    assert "c7" in (end.error or "")
    assert session.port.drop_context("c3")
    assert not session.port.drop_context("c3")
    assert session.run("1", context="more").ended.exit_code == 0
    assert len(session.port.contexts()) == 8


def test_a_busy_context_takes_nothing_else(session: Session) -> None:
    sink = Seen()
    started = threading.Event()
    sink.on_output = lambda out: started.set()
    order = session.order("print(1); import time; time.sleep(60)", context="a")
    thread = threading.Thread(target=session.port.run, args=(order, sink))
    thread.start()
    assert started.wait(10)
    assert [context.busy for context in session.port.contexts()] == [True]
    assert "busy with execution 1" in (session.run("2", context="a").ended.error or "")
    assert session.run("print(3)").out == "3\n"
    assert session.port.drop_context("a")
    thread.join(10)
    assert not thread.is_alive()


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


def test_a_daemon_ends_with_its_execution_and_not_with_that_of_another(session: Session) -> None:
    def alive(name: str) -> str:
        path = f"/proc/{Path(session.paths.workspace, name).read_text()}"
        return session.run(f"import os; print(os.path.exists({path!r}))", context="look").out

    session.run("x = 1", context="a")
    session.run(DAEMON.format(path=f"{session.paths.workspace}/of_a"), context="a")
    assert session.run(DAEMON.format(path=f"{session.paths.workspace}/fresh")).ended.exit_code == 0
    assert alive("fresh") == "False\n"
    assert alive("of_a") == "True\n"
    assert session.run("print(x)", context="a").out == "1\n"
    assert session.port.drop_context("a")
    assert alive("of_a") == "False\n"


def test_who_kills_its_keeper_is_ended_itself(session: Session) -> None:
    session.run("x = 1", context="a")
    seen = session.run("import os, time; os.kill(os.getppid(), 9); time.sleep(60)")
    assert (seen.ended.exit_code, seen.ended.signal) == (137, "SIGKILL")
    assert seen.ended.duration_millis < 10_000
    assert session.run("print(x)", context="a").out == "1\n"


def test_a_flood_is_handed_on_in_constant_memory(session: Session) -> None:
    code = "import os\nfor _ in range(800): os.write(1, b'x' * 65536)\nprint('end')"
    for context in ("a", None):
        sizes = {"bytes": 0}
        sink = Seen()
        sink.output = lambda stream, data, sizes=sizes: sizes.update(  # type: ignore[method-assign]
            bytes=sizes["bytes"] + len(data)
        )
        session.run(code, context=context, sink=sink)
        assert sink.ended.exit_code == 0
        assert sizes["bytes"] == 800 * 65536 + 4
    peak = launcher_status(session, "VmHWM")
    assert peak < 64 * MEGABYTE


def launcher_pid(session: Session) -> int:
    """The launcher itself, which may run below ``unshare``."""
    pid = session.launchers[-1].pid
    if session.wrap:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0])
    return pid


def launcher_status(session: Session, name: str) -> int:
    """A value in kB of the launcher's /proc/PID/status, in bytes."""
    for line in Path(f"/proc/{launcher_pid(session)}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def test_output_of_a_thread_that_lives_on_is_not_another_contexts(session: Session) -> None:
    code = (
        "import threading, time\ndef talk():\n    while True:\n        print('tick')\n"
        "        time.sleep(0.005)\nthreading.Thread(target=talk, daemon=True).start()"
    )
    session.run(code, context="a")
    assert session.run("import time; time.sleep(0.1); print('mine')", context="b").out == "mine\n"
    assert "mine\n" in session.run("print('mine')", context="a").out


def test_memory_and_time_are_those_of_one_execution(session: Session) -> None:
    large = session.run("x = bytearray(100 << 20); del x", context="a").ended
    small = session.run("y = 1", context="a").ended
    other = session.run("z = bytearray(50 << 20); import time; time.sleep(0.1)").ended
    assert large.peak_memory_bytes
    assert small.peak_memory_bytes
    assert other.peak_memory_bytes
    assert 100 * MEGABYTE <= large.peak_memory_bytes < 130 * MEGABYTE
    assert small.peak_memory_bytes < 40 * MEGABYTE
    assert 50 * MEGABYTE <= other.peak_memory_bytes < 70 * MEGABYTE
    spin = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.3: pass"
    for context in ("a", None):
        busy = session.run(spin, context=context).ended
        assert busy.cpu_millis is not None
        assert 300 <= busy.cpu_millis < 1500
    assert (session.run("1", context="a").ended.cpu_millis or 0) < 100


def test_rich_results(session: Session) -> None:
    code = (
        "class Table:\n    def __repr__(self): return 'a table'\n"
        "    def _repr_html_(self): return '<table/>'\n"
        "display(Table())\nprint('between')\nTable()"
    )
    bundle = {"text/plain": "a table", "text/html": "<table/>"}
    for context in ("a", None):
        seen = session.run(code, context=context)
        assert (seen.bundles, seen.out) == ([bundle, bundle], "between\n")
    assert session.run("1;", context="a").bundles == []
    assert session.run("None", context="a").bundles == []
    large = session.run("'x' * (5 << 20)", context="a").bundles
    assert len(large) == 1
    assert "left out" in large[0]["text/plain"]
    allowed = session.run("'x' * (3 << 20)", context="a").bundles
    assert len(allowed[0]["text/plain"]) == (3 << 20) + 2


PYPLOT = """
class Figure:
    def __init__(self, number): self.number = number
    def savefig(self, file, format, bbox_inches):
        if self.number == 3: raise ValueError("no data")
        file.write(b"png of %d" % self.number)
    def __repr__(self): return f"Figure({self.number})"
_open = {}
def figure(number=None):
    number = number or max(_open, default=0) + 1
    return _open.setdefault(number, Figure(number))
def get_fignums(): return sorted(_open)
def close(figure): _open.pop(figure.number, None)
"""


def test_open_figures_are_results_and_closed(session: Session) -> None:
    package = Path(session.paths.workspace, "matplotlib")
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "figure.py").write_text("from matplotlib.pyplot import Figure\n")
    (package / "pyplot.py").write_text(PYPLOT)
    code = "from matplotlib import pyplot as plt, figure\nfor _ in range(3): plt.figure()\n"
    for context in ("a", None):
        seen = session.run(code + "plt.figure(2)", context=context)
        assert [bundle["text/plain"] for bundle in seen.bundles] == ["Figure(2)", "Figure(1)"]
        assert seen.bundles[1]["image/png"] == "cG5nIG9mIDE="
        assert "figure 3 cannot be drawn: ValueError: no data" in seen.err
        assert seen.ended.exit_code == 0
    assert session.run("print(plt.get_fignums())", context="a").out == "[]\n"
    assert len(session.run("plt.figure(); 1/0", context="a").bundles) == 1


def test_too_many_results_are_left_out(session: Session) -> None:
    seen = session.run("for i in range(300): display(i)", context="a")
    assert len(seen.bundles) == 201
    assert "left out" in seen.bundles[-1]["text/plain"]


def test_code_of_some_megabytes(session: Session) -> None:
    text = "x" * (3 << 20)
    for context in ("a", None):
        assert session.run(f"print(len('{text}'))", context=context).out == f"{3 << 20}\n"


def test_forged_words_to_the_launcher_harm_only_their_context(session: Session) -> None:
    find = (
        "import os, stat\nfds = [fd for fd in range(3, 50) if os.path.exists(f'/proc/self/fd/{fd}')"
        " and stat.S_ISSOCK(os.fstat(fd).st_mode)]\n"
    )
    session.run("x = 1", context="b")
    for words in (b"Z\0\0\0\1x", b"D\xff\xff\xff\xff", b"D\0\0\0\1x", b"X\0\0\0\1x"):
        seen = session.run(f"{find}os.write(fds[0], {words!r})\nprint(1);", context="a")
        assert seen.ended.exit_code is not None
        assert session.run("print(x)", context="b").out == "1\n"
    bundles = session.run(f"{find}os.write(fds[0], b'D\\0\\0\\0\\1x');", context="c").bundles
    assert "no JSON" in bundles[0]["text/plain"]


def test_a_sink_that_fails_ends_the_execution(session: Session) -> None:
    class Broken(Seen):
        def output(self, stream: object, data: bytes) -> None:
            raise RuntimeError("the reader is gone")

    with pytest.raises(RuntimeError, match="the reader is gone"):
        session.run("x = 1\nwhile True: print(1)", context="a", sink=Broken())
    assert wait_for(lambda: [c.busy for c in session.port.contexts()] == [False])
    assert session.run("print(x)", context="a").out == "1\n"


def test_many_executions_leave_nothing_behind(session: Session) -> None:
    def state() -> tuple[int, int]:
        pid = launcher_pid(session)
        return len(os.listdir(f"/proc/{pid}/fd")), launcher_status(session, "VmRSS")

    for index in range(20):
        session.run("print(1)", context="a" if index % 2 else None)
    fds, memory = state()
    mine = len(os.listdir("/proc/self/fd"))
    for index in range(200):
        seen = session.run(f"print({index})", context="a" if index % 2 else None)
        assert seen.out == f"{index}\n"
    fds_after, memory_after = state()
    assert fds_after == fds
    assert memory_after - memory < MEGABYTE
    assert len(os.listdir("/proc/self/fd")) == mine
    processes = session.run("ls -d /proc/[0-9]* | wc -l", shell=True).out
    if session.wrap:  # the launcher, the context and its keeper, the shell, its keeper, ls and wc
        assert int(processes) <= 8
