"""Copies the launcher to a directory that any Python 3.11 can run, and names the commands.

The pod's commands, for who writes its manifest:

    sync-input  ["python3", "-m", "nanogrid_executor", "sync"]
    agent       ["python3", "-m", "nanogrid_executor", "agent"]
    sandbox     ["python3", "-I", "-S", "/opt/nanogrid/launcher"]

The directory holds plain files (``__main__.py`` and the package's standard-library-only modules),
so that an init container can put it on a volume for images that are not ours. ``__main__.py`` is
written for any Python 3, to tell one that is too old from one that is broken.
"""

import os
import py_compile
from pathlib import Path
from typing import Final

MODULES: Final = (
    "__init__",
    "execute",
    "frames",
    "gauge",
    "launcher",
    "measure",
    "signals",
    "spawn",
    # Of sessions only, imported late.
    "session_cell",
    "session_frames",
    "session_gauge",
    "session_processes",
    "session_run",
    "session_serve",
    "session_worker",
    # Imported by the user's Python, not by the launcher.
    "context_host",
    "rich",
)
PYTHON: Final = (3, 11)
UNSUITABLE: Final = 64  # launcher.EXIT_UNSUITABLE, for who cannot even import the launcher
MAIN: Final = f"""\
import sys

if sys.version_info < {PYTHON}:
    sys.stderr.write(
        "nanogrid launcher: Python %d.%d is too old, {PYTHON[0]}.{PYTHON[1]} or later is needed\\n"
        % sys.version_info[:2]
    )
    sys.exit({UNSUITABLE})
try:
    from nanogrid_executor.launcher import main
except ImportError as error:
    sys.stderr.write("nanogrid launcher: this Python lacks a standard module: %s\\n" % error)
    sys.exit({UNSUITABLE})
sys.exit(main(sys.argv))
"""


def install(target: Path) -> None:
    """Write the launcher's directory, compiled, so that a read-only root costs no start-up time.

    What is there already is replaced, so that a container that starts again does no harm. Files
    are readable for everybody: the sandbox may run as another user.
    """
    old = os.umask(0o022)
    try:
        _install(target)
    finally:
        os.umask(old)


def _install(target: Path) -> None:
    package = target / "nanogrid_executor"
    package.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parent
    for module in MODULES:
        (package / f"{module}.py").write_bytes((source / f"{module}.py").read_bytes())
        py_compile.compile(
            str(package / f"{module}.py"),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    (target / "__main__.py").write_text(MAIN)
