"""Errors of remote code: the last line of stderr, and the traceback as Python shows it."""

import subprocess
import sys
import traceback

import pytest

from nanogrid.client import Client, CodeFailed, ExecutionFailed
from nanogrid.client.remote_error import last_line, remote_traceback
from nanogrid.client.sessions.execution import Execution

CHAIN = """
try:
    {}['a']
except KeyError as e:
    raise ValueError('no rows') from e
"""
CONTEXT = "try:\n    1 / 0\nfinally:\n    raise OSError('disk')"
LOGGED = "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()\n"
GROUP = "raise ExceptionGroup('two', [ValueError('a'), KeyError('b')])"
NOTE = "e = ValueError('no rows')\ne.add_note('file a.csv')\nraise e"
# Code, the last line, the beginning of the traceback, and what it must not contain.
CASES = {
    "plain": ("raise ValueError('no rows')", "ValueError: no rows", "Traceback (most", "\x00"),
    "text before": ("import sys; print('w', file=sys.stderr); 1/0",
                    "ZeroDivisionError: division by zero", "Traceback (most", "w\n"),
    "cause": (CHAIN, "ValueError: no rows", "Traceback (most", "\x00"),
    "context": (CONTEXT, "OSError: disk", "Traceback (most", "\x00"),
    "logged before": (LOGGED + "raise ValueError('no rows')", "ValueError: no rows",
                      "Traceback (most", "ZeroDivision"),
    "syntax": ("x = = 1", "SyntaxError: invalid syntax", '  File "<string>"', "\x00"),
    "group": (GROUP, "KeyError: 'b'", "  + Exception Group Traceback", "\x00"),
    "note": (NOTE, "file a.csv", "Traceback (most", "\x00"),
    "exit with text": ("import sys; sys.exit('no config')", "no config", "", "\x00"),
    "silent": ("import sys; sys.exit(3)", "", "", "\x00"),
    "lines": ("raise ValueError('a\\nb')", "b", "Traceback (most", "\x00"),
    "escapes": ("raise ValueError('\\x1b[2J\\x9b1m ä')", "ValueError: \\x1b[2J\\x9b1m ä",
                "Traceback (most", "\x1b"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_traceback_of_real_code_is_found(case: str) -> None:
    code, line, begin, absent = CASES[case]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    stderr = done.stderr.decode()
    found = remote_traceback(stderr)
    assert last_line(stderr) == line
    assert found.startswith(begin) if begin else not found
    assert absent not in found
    if case in ("cause", "context"):
        assert found.count("Traceback (most recent call last):") == 2


@pytest.mark.parametrize("code", ["raise ValueError('no rows')", CHAIN])
def test_a_failed_job_is_shown_as_a_local_exception(client: Client, code: str) -> None:
    with pytest.raises(CodeFailed, match="no rows") as caught:
        client.run(code, check=True)
    error = caught.value
    assert error.last_line == "ValueError: no rows"
    assert str(error).splitlines()[-1] == error.last_line
    assert str(error).startswith("NonZeroExit: ")
    assert error.remote_traceback.endswith("ValueError: no rows")
    shown = "".join(traceback.format_exception(error))
    assert error.remote_traceback in shown


def test_a_silent_failure_has_neither(client: Client) -> None:
    with pytest.raises(CodeFailed) as caught:
        client.run("import os; os._exit(3)", check=True)
    assert (caught.value.last_line, caught.value.remote_traceback) == ("", "")
    assert not getattr(caught.value, "__notes__", [])


def test_a_failed_execution_of_a_session_has_both() -> None:
    stderr = "Traceback (most recent call last):\n  File \"<1>\", line 1\nKeyError: 'a'\n"
    raw = {"execution_num": 3, "success": False, "reason": "NonZeroExit", "stderr": stderr,
           "error": "Exit code 1.", "status": "FAILED"}  # fmt: skip
    with pytest.raises(ExecutionFailed, match="KeyError: 'a'") as caught:
        Execution(raw).raise_for_status()
    assert caught.value.last_line == "KeyError: 'a'"
    assert stderr.strip() in caught.value.__notes__[0]
