"""The kernel's limits for user code: size of a file, number of processes."""

from typing import Any

import pytest

from nanogrid import names
from nanogrid_executor.launcher.main import Options, read_options
from nanogrid_executor.launcher.spawn import Limits
from nanogrid_executor.paths import Paths
from support.session_sandbox import running

pytestmark = [pytest.mark.integration, pytest.mark.security]

OPTIONS = ("--max-file-bytes=100000", "--max-processes=123")
WRITE = """
import os
name = 'written'
with open(name, 'wb', buffering=0) as file:
    for count in (100_000, 1):
        try:
            file.write(bytes(count))
        except OSError as error:
            print(error.strerror)
print(os.path.getsize(name))
"""
SHOW = """
import resource
kinds = (resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE)
print([resource.getrlimit(kind) for kind in kinds])
"""
LIMITS = "[(100000, 100000), (123, 123), (0, 0)]\n"


def test_a_file_has_a_largest_size(run: Any) -> None:
    assert run(WRITE, options=OPTIONS).result.stdout == "File too large\n100000\n"
    assert run(WRITE).result.stdout == "100001\n"


def test_a_program_that_ignores_the_error_is_ended_by_the_signal(run: Any) -> None:
    code = f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n{WRITE}"
    result = run(code, options=OPTIONS).result

    assert (result.reason, result.signal) == ("Signaled", "SIGXFSZ")


def test_user_code_has_the_limits_and_cannot_raise_them(run: Any) -> None:
    assert run(SHOW, options=OPTIONS).result.stdout == LIMITS


@pytest.mark.parametrize("context", ["a", None])
def test_executions_of_a_session_have_them_too(
    paths: Paths, launcher_dir: str, context: str | None
) -> None:
    with running(paths, launcher_dir, own_pids=False, options=OPTIONS) as pod:
        assert pod.run(SHOW, context=context).out == LIMITS
        assert pod.run(WRITE, context=context).out == "File too large\n100000\n"


def test_options_of_the_launcher() -> None:
    assert read_options([]) == Options(Limits(), "/run/nanogrid/agent.sock", None, ())
    given = read_options(["/a.sock", *OPTIONS])
    assert given == Options(Limits(100_000, 123), "/a.sock", None, ())
    waits = read_options(["--wait-interpreter", "--preload=json,pandas.io"])
    assert (waits.waits_in, waits.preload) == (names.WORKSPACE, ("json", "pandas.io"))
    assert read_options(["--wait-interpreter=/a", "--preload="]).preload == ()
    with pytest.raises(ValueError, match="unknown options: --max-files"):
        read_options(["--max-files=1"])
