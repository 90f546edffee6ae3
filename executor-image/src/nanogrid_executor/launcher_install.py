"""Copies the launcher to a directory that any Python 3.11 can run.

The commands of the pod's containers:

    sync-input  ["python3", "-P", "-S", "-c", START, "sync"]
    agent       ["python3", "-P", "-S", "-c", START, "agent"]
    sandbox     ["python3", "-I", "-S", "/opt/nanogrid/launcher/__main__.py"]

``START`` calls :func:`nanogrid_executor.__main__.main`. A directory and ``-m`` would work too, but
import ``runpy`` first.

The directory holds plain files: ``__main__.py`` and the whole folder ``launcher``, which imports
only itself and the standard library. Its subfolder ``waiting_site`` is for the user's own Python.
An init container can copy the directory to a volume for other images. ``__main__.py`` runs on any
Python 3, so that it can report a version that is too old.
"""

import os
import py_compile
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "launcher"
PYTHON: Final = (3, 11)
UNSUITABLE: Final = (
    64  # launcher.main.EXIT_UNSUITABLE, for a Python that cannot import the launcher
)
MAIN: Final = f"""\
import sys

if sys.version_info < {PYTHON}:
    sys.stderr.write(
        "nanogrid launcher: Python %d.%d is too old, {PYTHON[0]}.{PYTHON[1]} or later is needed\\n"
        % sys.version_info[:2]
    )
    sys.exit({UNSUITABLE})
folder = __file__.rpartition("/")[0]
if folder not in sys.path:
    sys.path.insert(0, folder)
try:
    from nanogrid_executor.launcher.main import main
except ImportError as error:
    sys.stderr.write("nanogrid launcher: this Python lacks a standard module: %s\\n" % error)
    sys.exit({UNSUITABLE})
sys.exit(main(sys.argv))
"""


def install(target: Path) -> None:
    """Write the launcher's directory with its byte code, which a read-only root cannot cache.

    Existing files are replaced, so that a restarted container can run it again. All users can read
    the files: the sandbox may run as another user.
    """
    old = os.umask(0o022)
    try:
        _install(target)
    finally:
        os.umask(old)


def _install(target: Path) -> None:
    package = target / "nanogrid_executor"
    folder = package / FOLDER.name
    sources = {package / "__init__.py": FOLDER.parent / "__init__.py"}
    sources |= {folder / source.relative_to(FOLDER): source for source in FOLDER.rglob("*.py")}
    for copy, source in sources.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
        py_compile.compile(
            str(copy),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    (target / "__main__.py").write_text(MAIN)
