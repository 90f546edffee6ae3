"""Python code of a session: what a script or an earlier execution may do to its interpreter."""

import pytest

from support.session_sandbox import SandboxPod

pytestmark = pytest.mark.integration

BOTH = pytest.mark.parametrize("context", ["a", None])

ASYNC = """
import asyncio
async def late():
    try:
        await asyncio.sleep(3600)
    finally:
        print("cancelled")
task = asyncio.create_task(late())
await asyncio.sleep(0)
async with asyncio.timeout(60):
    print([x async for x in numbers()] if "numbers" in globals() else "no generator")
await asyncio.sleep(0, "value")
"""


@BOTH
def test_await_at_the_top_level(pod: SandboxPod, context: str | None) -> None:
    seen = pod.run(ASYNC, context=context)
    assert (seen.err, seen.ended.exit_code) == ("", 0)
    assert seen.bundles == [{"text/plain": "'value'"}]
    # A context keeps its loop and its tasks; a script ends as asyncio.run() would.
    assert seen.out == "no generator\n" + ("" if context else "cancelled\n")


@BOTH
def test_an_error_after_await_is_that_of_the_user(pod: SandboxPod, context: str | None) -> None:
    seen = pod.run("import asyncio\nawait asyncio.sleep(0)\n1 / 0\n", context=context)
    assert seen.ended.exit_code == 1
    assert 'execution_1.py", line 3, in <module>\n' in seen.err
    assert seen.err.endswith("ZeroDivisionError: division by zero\n")
    assert "interpreter.py" not in seen.err


@BOTH
def test_code_that_uses_asyncio_itself(pod: SandboxPod, context: str | None) -> None:
    code = "import asyncio\nasync def f():\n    return 7\nprint(asyncio.run(f()))"
    assert pod.run(code, context=context).out == "7\n"
    closing = "import asyncio\nawait asyncio.sleep(0)\nasyncio.get_event_loop().stop"
    assert pod.run(closing, context=context).ended.exit_code == 0


@BOTH
def test_a_byte_order_mark_is_ignored_as_in_a_file(pod: SandboxPod, context: str | None) -> None:
    seen = pod.run("\ufeffprint('가')\n1 / 0", context=context)
    assert seen.out == "가\n"
    assert seen.err.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    "harm",
    [
        "sys.stdout.close(); sys.stderr.close()",
        "sys.__stdout__.close()",
        "sys.stdout.detach()",
        "sys.stdout = sys.stderr = None",
        "del sys.stdout",
        "os.close(1); os.close(2)",
        "os.close(1); kept = open('/dev/null', 'w'); assert kept.fileno() == 1",
        "os.dup2(os.open('log.txt', os.O_CREAT | os.O_WRONLY), 1)",
        "sys.stdin.close(); os.close(0)",
        "sys.stdout = io.StringIO(); sys.stdout.close()",
    ],
)
def test_a_context_survives_what_code_does_to_its_streams(pod: SandboxPod, harm: str) -> None:
    assert pod.run("import io, os, sys; x = 41", context="a").ended.exit_code == 0
    pod.run(harm, context="a")
    code = "print('가', x + 1, repr(sys.stdin.read())); print('err', file=sys.stderr)"
    code += "; os.system('echo child')"
    seen = pod.run(code + "; sys.stdout.write('no newline')", context="a", stdin="in")
    assert (seen.out, seen.err) == ("가 42 'in'\nchild\nno newline", "err\n")
    assert not seen.ended.context_new
    failed = pod.run("1 / 0", context="a")
    assert failed.err.endswith("ZeroDivisionError: division by zero\n")
    # The end of the process closes the streams: nothing keeps them open.
    assert pod.run("os._exit(3)", context="a").ended.exit_code == 3


@BOTH
def test_a_broken_excepthook_does_not_hide_the_error(pod: SandboxPod, context: str | None) -> None:
    code = "import sys\ndef hook(*a):\n    raise ValueError('hook')\nsys.excepthook = hook\n1 / 0"
    seen = pod.run(code, context=context)
    assert seen.ended.exit_code == 1
    assert seen.err.startswith("Error in sys.excepthook:\n")
    assert "ValueError: hook" in seen.err
    assert seen.err.endswith("ZeroDivisionError: division by zero\n")
    assert "interpreter.py" not in seen.err
