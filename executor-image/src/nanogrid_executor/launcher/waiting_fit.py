"""Which jobs the waiting interpreter can run: those whose own new process would be the same.

Standard library only; see :mod:`nanogrid_executor.launcher.waiting`.
"""

import os
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from nanogrid_executor.launcher import start_failure

COMMAND: Final = ["python3", "main.py"]
JOB_BYTES: Final = 48 * 1024  # fits into an empty pipe; larger jobs get a new process
# Variables that matter only when a program starts, or when C code is loaded. The reads of Python
# code are recorded.
AT_START: Final = ("HOME", "LANG", "GCONV_PATH", "LOCPATH")  # HOME: the user's site-packages
AT_START_PREFIXES: Final = (
    "PYTHON",
    *("LC_", "LD_", "MALLOC_", "GLIBC_", "MIMALLOC_"),  # C library and memory
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_"),  # threads of numpy
    *("OPENSSL_", "ARROW_", "POLARS_", "RAYON_", "TF_", "CUDA_"),
)
READ_AT_IMPORT: Final = {"matplotlibrc": "matplotlib"}  # settings in the working directory


class Waiting(NamedTuple):
    """The interpreter that waits, as far as a job can differ from it.

    ``python`` is its program, ``modules`` are the top-level names that only preloading has loaded,
    ``variables`` those that the modules have read.
    """

    cwd: str
    env: dict[str, str]
    python: str | None
    modules: Collection[str] = ()
    variables: Collection[str] = ()


def fits(
    waiting: Waiting, argv: list[str], cwd: str, env: dict[str, str], files: Iterable[str]
) -> bool:
    """Whether a new process for the job would be the same as the one that waits.

    Args:
        waiting: the interpreter.
        argv: the job's command.
        cwd: its working directory.
        env: its whole environment.
        files: the names in ``cwd``. A file like ``json.py`` hides a module of the same name.
    """
    python = start_failure.find(argv[0], env["PATH"]) if argv[:2] == COMMAND else None
    if python is None or not os.path.isabs(python) or python != waiting.python:
        return False
    if cwd != waiting.cwd or not can_be_passed(argv, env):
        return False
    names = waiting.env.keys() | env.keys()
    changed = [name for name in names if waiting.env.get(name) != env.get(name)]
    if any(name.startswith(AT_START_PREFIXES) or name in AT_START for name in changed):
        return False
    if not set(changed).isdisjoint(waiting.variables):
        return False
    return {_module_of(name) for name in files}.isdisjoint(waiting.modules)


def _module_of(file: str) -> str:
    """The module that would be another one if it was imported with this file in ``cwd``."""
    return READ_AT_IMPORT.get(file, file.partition(".")[0])


def can_be_passed(argv: list[str], env: dict[str, str]) -> bool:
    """Whether exec would accept these values; if not, exec itself finds the user's mistake."""
    texts = [*argv, *env, *env.values()]
    if any("\0" in text for text in texts) or any(not name or "=" in name for name in env):
        return False
    try:
        return len(encode(argv, env)) <= JOB_BYTES
    except UnicodeEncodeError:
        return False


def encode(argv: list[str], env: dict[str, str], *, with_stdin: bool = False) -> bytes:
    """The job as sitecustomize.py reads it. NUL separates the texts: none of them can have one."""
    variables = [f"{name}={value}" for name, value in env.items()]
    fields = [str(len(argv)), "1" if with_stdin else "0", *argv, *variables]
    return b"\0".join(os.fsencode(field) for field in fields)
