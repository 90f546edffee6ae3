"""Copies the launcher to a directory that any Python 3.11 can run, and names the commands.

The pod's commands, for who writes its manifest:

    sync-input  ["python3", "-m", "nanogrid_executor", "sync"]
    agent       ["python3", "-m", "nanogrid_executor", "agent"]
    sandbox     ["python3", "-I", "-S", "/opt/nanogrid/launcher"]

The directory holds plain files (``__main__.py`` and the package's standard-library-only modules),
so that a later init container can put it on a volume for images that are not ours.
"""

import py_compile
import shutil
from pathlib import Path
from typing import Final

MODULES: Final = ("__init__", "execute", "frames", "launcher", "measure", "spawn")
MAIN: Final = """\
import sys

from nanogrid_executor.launcher import main

sys.exit(main(sys.argv))
"""


def install(target: Path) -> None:
    """Write the launcher's directory, compiled, so that a read-only root costs no start-up time."""
    package = target / "nanogrid_executor"
    package.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parent
    for module in MODULES:
        shutil.copyfile(source / f"{module}.py", package / f"{module}.py")
        py_compile.compile(
            str(package / f"{module}.py"),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    (target / "__main__.py").write_text(MAIN)
