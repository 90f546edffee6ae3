"""The command that runs an execution of a session: Python, a context, or a shell. Pure.

Standard library only.
"""

import os
from typing import Any, Final

from nanogrid_executor.launcher import spawn

DEFAULT_ENV: Final = {"MPLBACKEND": "Agg"}  # figures become results; there is no screen
LIBRARY: Final = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from nanogrid_executor.launcher.%s import main; main(int(sys.argv[2]))"
)
SHELL: Final = 'command -v bash >/dev/null 2>&1 && exec bash -c "$1"; exec sh -c "$1"'


def arguments(spec: dict[str, Any], *, context: bool) -> list[str]:
    """The program and its arguments; ``"{control}"`` stands for the control socket's number."""
    if spec["shell"]:
        return ["/bin/sh", "-c", SHELL, "sh", spec["code"]]
    module = "context_interpreter" if context else "interpreter"
    return ["python3", "-c", BOOT % module, LIBRARY, "{control}"]


def environment(spec: dict[str, Any], path: str | None, *, context: bool) -> dict[str, str]:
    """The program's environment; a context gets the variables of each execution later.

    Args:
        spec: the ``RUN`` message.
        path: the launcher's PATH.
        context: whether the program is a context.
    """
    given = {} if context else spec["env"]
    return spawn.environment({**DEFAULT_ENV, **given}, path)


def interpreter_request(
    number: int, spec: dict[str, Any], filename: str, *, context: bool
) -> dict[str, Any]:
    """What the interpreter in the process reads first; a context also gets env and stdin."""
    return {
        "number": number,
        "code": spec["code"],
        "filename": filename,
        "env": spec["env"] if context else {},
        "stdin": spec["stdin"].encode() if context and spec["stdin"] else None,
    }
