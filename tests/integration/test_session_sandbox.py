"""A session's sandbox with real processes: contexts, streams, interruption, ends, leftovers."""

import os
import threading
from pathlib import Path

import pytest

from nanogrid.reasons import Reason
from nanogrid_executor.agent.start_reasons import reason_of
from nanogrid_executor.paths import Paths
from support.session_sandbox import RecordingSink, SandboxPod, running
from support.waiting import wait_until

pytestmark = pytest.mark.integration


MEGABYTE = 1 << 20


def test_code_without_a_context_runs_like_a_script(pod: SandboxPod) -> None:
    seen = pod.run("import os, sys; print(__name__, os.getcwd(), sys.argv, __file__)")
    here = pod.paths.workspace
    assert seen.out == f"__main__ {here} ['{here}/execution_1.py'] {here}/execution_1.py\n"
    end = seen.ended
    assert (end.exit_code, end.signal, end.error, end.context_new) == (0, None, None, False)
    assert end.memory_source == "process-tree"
    assert end.peak_memory_bytes
    assert seen.starts
    assert seen.bundles == []
    assert seen.err == ""


# The launcher sees the start and the output of the next execution at once.
STOP = """
import linecache, os, signal
class Stopping(dict):
    def __setitem__(self, name, value):
        os.kill({pid}, signal.SIGSTOP)
        super().__setitem__(name, value)
linecache.cache = Stopping()
"""
CONTINUE = """
print("first")
os.kill({pid}, signal.SIGCONT)
"""


def test_an_execution_starts_before_its_output(paths: Paths, launcher_dir: str) -> None:
    with running(paths, launcher_dir, own_pids=False) as pod:
        pid = pod.launcher_pid()
        pod.run(STOP.format(pid=pid), context="main")
        sink = RecordingSink()
        started: list[int] = []
        sink.on_output = lambda _: started.append(len(sink.starts))

        pod.run(CONTINUE.format(pid=pid), context="main", sink=sink)

        assert (sink.out, sink.err) == ("first\n", "")
        assert started[0] == 1


POOL = """
import multiprocessing, os
def double(x):
    return 2 * x
if __name__ == "__main__":
    assert os.path.exists(__file__)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(double, [1, 2]))
"""


def test_a_script_is_a_file_while_it_runs_so_that_multiprocessing_can_spawn(
    pod: SandboxPod,
) -> None:
    seen = pod.run(POOL)
    assert (seen.out, seen.err) == ("[2, 4]\n", "")
    assert os.listdir(pod.paths.workspace) == []
    Path(pod.paths.workspace, "execution_2.py").write_text("mine")
    assert pod.run("print(1)").out == "1\n"
    assert Path(pod.paths.workspace, "execution_2.py").read_text() == "mine"


def test_a_script_has_its_declared_encoding(pod: SandboxPod) -> None:
    code = "# coding: latin-1\nprint(repr(open(__file__, 'rb').read()[-4:]), 'é')#é\xff"
    assert pod.run(code, encoding="latin-1").out == "b'#\\xe9\\xff' é\n".replace("b'#", "b')#")
    assert pod.run("print(1)", encoding="no-such-encoding").out == "1\n"


def test_variables_are_kept_in_a_context_and_only_there(pod: SandboxPod) -> None:
    assert pod.run("x = 41", context="a").ended.context_new
    assert pod.run("print(x + 1)", context="a").out == "42\n"
    for place in ("b", None):
        seen = pod.run("print(x)", context=place)
        assert (seen.ended.exit_code, seen.out) == (1, "")
        assert "NameError: name 'x' is not defined" in seen.err
    assert [(c.name, c.executions, c.busy) for c in pod.sandbox.contexts()] == [
        ("a", 2, False),
        ("b", 1, False),
    ]


def test_a_shell_runs_in_the_workspace(pod: SandboxPod) -> None:
    seen = pod.run("pwd; echo $0 >&2; read x; echo got $x; exit 3", shell=True, stdin="1\n")
    assert seen.out == f"{pod.paths.workspace}\ngot 1\n"
    assert seen.err in ("bash\n", "sh\n")
    assert seen.ended.exit_code == 3


@pytest.mark.parametrize("context", ["a", None])
def test_a_traceback_has_only_lines_of_the_users_code(pod: SandboxPod, context: str | None) -> None:
    seen = pod.run("def f(x):\n    return 1 / x\n\nf(0)\n", context=context)
    assert seen.ended.exit_code == 1
    assert 'execution_1.py", line 4, in <module>\n    f(0)\n' in seen.err
    assert 'execution_1.py", line 2, in f\n    return 1 / x\n' in seen.err
    assert "interpreter.py" not in seen.err
    assert seen.err.endswith("ZeroDivisionError: division by zero\n")


def test_a_function_of_an_earlier_execution_keeps_its_lines(pod: SandboxPod) -> None:
    pod.run("def f(x):\n    return 1 / x  # here", context="a")
    assert "return 1 / x  # here" in pod.run("f(0)", context="a").err


@pytest.mark.parametrize("context", ["a", None])
def test_a_syntax_error(pod: SandboxPod, context: str | None) -> None:
    seen = pod.run("print(1)\nx = = 2", context=context)
    assert (seen.ended.exit_code, seen.out) == (1, "")
    assert 'execution_1.py", line 2' in seen.err
    assert "SyntaxError" in seen.err
    assert "interpreter.py" not in seen.err


@pytest.mark.parametrize("context", ["a", None])
def test_sys_exit_ends_only_the_execution(pod: SandboxPod, context: str | None) -> None:
    for code, expected in (("3", 3), ("", 0), ("'why'", 1)):
        seen = pod.run(f"y = 1; import sys; print('x'); sys.exit({code})", context=context)
        assert (seen.ended.exit_code, seen.out) == (expected, "x\n")
        assert seen.err == ("why\n" if expected == 1 else "")
        assert not seen.ended.context_lost
    if context:
        assert pod.run("print(y)", context="a").out == "1\n"


def test_top_level_await(pod: SandboxPod) -> None:
    pod.run("import asyncio\nevent = asyncio.Event()", context="a")
    seen = pod.run("await asyncio.sleep(0)\nevent.set()\nawait event.wait()", context="a")
    assert (seen.ended.exit_code, seen.bundles) == (0, [{"text/plain": "True"}])
    assert pod.run("asyncio.run(asyncio.sleep(0))", context="a").ended.exit_code == 0


def test_standard_input(pod: SandboxPod) -> None:
    for context in ("a", None):
        assert pod.run("print(input() + input())", context=context, stdin="가\n나").out == (
            "가나\n"
        )
        assert "EOFError" in pod.run("input()", context=context).err


def test_the_environment_is_that_of_one_execution(pod: SandboxPod) -> None:
    code = "import os; print(os.environ.get('A'), os.environ.get('PATH') is not None)"
    assert pod.run(code, context="a", env={"A": "1", "PATH": "/x"}).out == "1 True\n"
    assert pod.run("import os; print(os.environ['PATH'])", context="a").out != "/x\n"
    assert pod.run(code, context="a").out == "None True\n"
    assert pod.run(code, env={"A": "2"}).out == "2 True\n"
    names = pod.run("import os; print(sorted(os.environ))").out
    known = ["HOME", "LANG", "LOGNAME", "MPLBACKEND", "PATH", "PYTHONUNBUFFERED", "USER"]
    assert set(eval(names)) - {"LC_CTYPE"} == set(known)


def test_all_output_of_children_and_of_c_is_captured(pod: SandboxPod) -> None:
    code = (
        "import ctypes, os, subprocess\nprint('python')\nos.write(2, b'raw')\n"
        "subprocess.run(['echo', 'child'])\nctypes.CDLL(None).printf(b'buffered')"
    )
    for context in ("a", None):
        seen = pod.run(code + ";", context=context)
        assert sorted(seen.out.split()) == ["buffered", "child", "python"]
        assert seen.err == "raw"


def test_contexts_run_in_parallel_with_separate_outputs(pod: SandboxPod) -> None:
    code = "import time\nfor i in range(200):\n    print({!r}, i)\n    time.sleep(0.001)"
    seen = {name: RecordingSink() for name in ("a", "b")}
    specs = {name: pod.spec(code.format(name), context=name) for name in seen}
    ends = {}

    def run(name: str) -> None:
        ends[name] = pod.sandbox.run(specs[name], seen[name])

    threads = [threading.Thread(target=run, args=(name,)) for name in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, sink in seen.items():
        assert sink.out == "".join(f"{name} {i}\n" for i in range(200))
        assert ends[name].exit_code == 0


def test_a_fork_that_reaches_the_end_of_the_code(pod: SandboxPod) -> None:
    seen = pod.run("import os; pid = os.fork(); print('both') or 5", context="a")
    assert seen.bundles == [{"text/plain": "5"}]
    seen = pod.run("print(os.waitpid(pid, 0)[1]); print('one')", context="a")
    assert seen.out.endswith("0\none\n")


def test_the_number_of_contexts_is_limited(pod: SandboxPod) -> None:
    for index in range(8):
        assert pod.run("1", context=f"c{index}").ended.exit_code == 0
    end = pod.run("1", context="more").ended
    assert end.exit_code == 126
    assert reason_of(end.error_cause) is Reason.CONTEXT_LIMIT
    assert "'more' would be one more than 8: c0, c1" in (end.error or "")
    assert "c7" in (end.error or "")
    assert pod.sandbox.drop_context("c3")
    assert not pod.sandbox.drop_context("c3")
    assert pod.run("1", context="more").ended.exit_code == 0
    assert len(pod.sandbox.contexts()) == 8


def test_a_busy_context_refuses_other_executions(pod: SandboxPod) -> None:
    sink = RecordingSink()
    started = threading.Event()
    sink.on_output = lambda out: started.set()
    spec = pod.spec("print(1); import time; time.sleep(60)", context="a")
    thread = threading.Thread(target=pod.sandbox.run, args=(spec, sink))
    thread.start()
    assert started.wait(60)
    assert [context.busy for context in pod.sandbox.contexts()] == [True]
    assert "runs execution 1" in (pod.run("2", context="a").ended.error or "")
    assert pod.run("print(3)").out == "3\n"
    assert pod.sandbox.drop_context("a")
    thread.join(60)
    assert not thread.is_alive()


def test_a_flood_of_output_needs_constant_memory(pod: SandboxPod) -> None:
    code = "import os\nfor _ in range(800): os.write(1, b'x' * 65536)\nprint('end')"
    for context in ("a", None):
        sizes = {"bytes": 0}
        sink = RecordingSink()
        sink.output = lambda stream, data, sizes=sizes: sizes.update(  # type: ignore[method-assign]
            bytes=sizes["bytes"] + len(data)
        )
        pod.run(code, context=context, sink=sink)
        assert sink.ended.exit_code == 0
        assert sizes["bytes"] == 800 * 65536 + 4
    peak = launcher_status(pod, "VmHWM")
    assert peak < 64 * MEGABYTE


def launcher_status(pod: SandboxPod, name: str) -> int:
    """A value in kB of the launcher's /proc/PID/status, in bytes."""
    for line in Path(f"/proc/{pod.launcher_pid()}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def test_output_of_a_background_thread_stays_in_its_context(pod: SandboxPod) -> None:
    code = (
        "import threading, time\ndef talk():\n    while True:\n        print('tick')\n"
        "        time.sleep(0.005)\nthreading.Thread(target=talk, daemon=True).start()"
    )
    pod.run(code, context="a")
    assert pod.run("import time; time.sleep(0.1); print('mine')", context="b").out == "mine\n"
    assert "mine\n" in pod.run("print('mine')", context="a").out


def test_memory_and_time_are_those_of_one_execution(pod: SandboxPod) -> None:
    large = pod.run("x = bytearray(100 << 20); del x", context="a").ended
    small = pod.run("y = 1", context="a").ended
    other = pod.run("z = bytearray(50 << 20); import time; time.sleep(0.1)").ended
    assert large.peak_memory_bytes
    assert small.peak_memory_bytes
    assert other.peak_memory_bytes
    assert 100 * MEGABYTE <= large.peak_memory_bytes < 130 * MEGABYTE
    assert small.peak_memory_bytes < 40 * MEGABYTE
    assert 50 * MEGABYTE <= other.peak_memory_bytes < 70 * MEGABYTE
    spin = "import time; t = time.process_time()\nwhile time.process_time() < t + 0.3: pass"
    for context in ("a", None):
        busy = pod.run(spin, context=context).ended
        assert busy.cpu_millis is not None
        assert 300 <= busy.cpu_millis < 1500
    assert (pod.run("1", context="a").ended.cpu_millis or 0) < 100


def test_code_of_some_megabytes(pod: SandboxPod) -> None:
    text = "x" * (3 << 20)
    for context in ("a", None):
        assert pod.run(f"print(len('{text}'))", context=context).out == f"{3 << 20}\n"


def test_many_executions_leak_nothing(pod: SandboxPod) -> None:
    def descriptors(pid: object) -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    for index in range(20):
        pod.run("print(1)", context="a" if index % 2 else None)
    launcher = pod.launcher_pid()
    fds, mine, memory = descriptors(launcher), descriptors("self"), launcher_status(pod, "VmRSS")
    for index in range(200):
        seen = pod.run(f"print({index})", context="a" if index % 2 else None)
        assert seen.out == f"{index}\n"
    assert launcher_status(pod, "VmRSS") - memory < MEGABYTE
    # Those of the last execution may be closed after its end is reported.
    wait_until(lambda: descriptors(launcher) <= fds)
    wait_until(lambda: descriptors("self") <= mine)
    processes = pod.run("ls -d /proc/[0-9]* | wc -l", shell=True).out
    if pod.wrap:  # launcher, context and its subreaper, shell and its subreaper, ls, wc
        assert int(processes) <= 8
