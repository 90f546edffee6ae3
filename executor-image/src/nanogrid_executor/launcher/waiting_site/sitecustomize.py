"""Runs inside the user's own Python while it starts: makes it wait for its job.

Standard library only. :mod:`nanogrid_executor.launcher.waiting` puts this folder first on
PYTHONPATH. Python imports ``sitecustomize`` late in its start, and opens its script only
afterwards. So the script may appear while the process waits here. When the job arrives, Python
continues by itself: ``__main__``, tracebacks and ``sys.path[0]`` are those of an ordinary start.

This file imports nothing that an ordinary start does not import, so it leaves no trace in
``sys.modules``.
"""

import io
import os
import sys
import time

FOLDER = os.path.dirname(__file__)
VARIABLE = "NANOGRID_WAITING"  # three descriptors and the modules; also in waiting.py
ERROR_LETTERS = 300
READ_BYTES = 64 * 1024


def wait(setting: str) -> None:
    """Import the modules, report that this process waits, and take over the job's values."""
    control, report, stdin, names = setting.split(" ")
    job_fd, report_fd, stdin_fd = int(control), int(report), int(stdin)
    for fd in (job_fd, report_fd, stdin_fd):
        os.set_inheritable(fd, False)  # a module may start programs
    lines = preload([name for name in names.split(",") if name])
    send(report_fd, [*lines, "waits"])
    job = read_all(job_fd)
    if not job:
        os._exit(0)  # the launcher has ended
    count, has_stdin, *fields = (os.fsdecode(field) for field in job.split(b"\0"))
    argv, variables = fields[: int(count)], fields[int(count) :]
    sys.argv[:] = argv[1:]
    sys.orig_argv[:] = argv
    os.environ.clear()
    for variable in variables:
        name, _, value = variable.partition("=")
        os.environ[name] = value
    if "TZ" in os.environ:
        time.tzset()
    if has_stdin == "1":
        use_stdin(stdin_fd)
    os.close(stdin_fd)
    os.close(job_fd)
    send(report_fd, ["starts"])
    os.close(report_fd)


def preload(names: list[str]) -> list[str]:
    """Import modules; what the launcher must know of it, as lines of a kind and a text."""
    before = top_level()
    failures = []
    variables: set[str] = set()
    plain = type(os.environ)
    os.environ.__class__ = recorder(plain, variables)
    streams = [os.dup(fd) for fd in (1, 2)]  # what an import prints is no output of the job
    silence = os.open(os.devnull, os.O_WRONLY)
    for fd in (1, 2):
        os.dup2(silence, fd)
    for name in names:
        try:
            __import__(name)
        except BaseException as error:  # also SystemExit: the process waits without the module
            text = " ".join(f"{name}: {type(error).__name__}: {error}".split())
            failures.append(f"failed {text[:ERROR_LETTERS]}")
    sys.stdout.flush()
    sys.stderr.flush()
    for fd, stream in zip((1, 2), streams, strict=True):
        os.dup2(stream, fd)
        os.close(stream)
    os.close(silence)
    os.environ.__class__ = plain
    modules = top_level() - before
    return [
        *failures,
        *(f"module {name}" for name in sorted(modules)),
        *(f"variable {name}" for name in sorted(variables)),
    ]


def top_level() -> set[str]:
    """The names of loaded modules and packages, without submodules."""
    return {name.partition(".")[0] for name in list(sys.modules)}


def recorder(plain: type, names: set[str]) -> type:
    """A class of environments that records which variables Python code reads."""

    def read(self: object, name: object) -> object:
        if isinstance(name, str) and "\n" not in name:
            names.add(name)
        return plain.__getitem__(self, name)  # type: ignore[index]

    return type(plain.__name__, (plain,), {"__getitem__": read})


def use_stdin(fd: int) -> None:
    """Make a pipe the standard input, as Python does at its start."""
    os.dup2(fd, 0)
    old = sys.__stdin__
    if old is None:
        return
    buffer = open(0, "rb", closefd=False)  # noqa: SIM115 it stays open
    buffer.raw.name = "<stdin>"  # type: ignore[attr-defined]
    text = io.TextIOWrapper(
        buffer,
        encoding=old.encoding,
        errors=old.errors,
        newline="\n",
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
    text.mode = "r"  # type: ignore[misc]
    sys.stdin = sys.__stdin__ = text  # type: ignore[misc]


def send(fd: int, lines: list[str]) -> None:
    """Write lines to the launcher."""
    data = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
    while data:
        data = data[os.write(fd, data) :]


def read_all(fd: int) -> bytes:
    """Read to the end of file."""
    parts = []
    while part := os.read(fd, READ_BYTES):
        parts.append(part)
    return b"".join(parts)


def start() -> None:
    """Leave no trace in the environment and in sys.path, and wait."""
    sys.path[:] = [folder for folder in sys.path if folder != FOLDER]
    sys.path_importer_cache.pop(FOLDER, None)
    setting = os.environ.pop(VARIABLE, "")
    if not setting:
        return  # a subinterpreter: it inherits sys.path
    del os.environ["PYTHONPATH"]
    try:
        wait(setting)
    except BaseException:
        os._exit(70)  # the user's code must not run in a state between; sysexits.h: EX_SOFTWARE


start()
# The image's own. Without one this raises the error that Python expects and ignores.
del sys.modules["sitecustomize"]
import sitecustomize  # type: ignore[import-not-found] # noqa: E402, F401
