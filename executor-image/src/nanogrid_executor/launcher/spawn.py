"""Starts the user's process with fork and exec. Standard library only.

``subprocess`` would work too, but its imports cost the launcher 10 ms before each job. The launcher
has one thread, so a fork is safe. ``exec`` gives the process its own, ordinary dumpable flag and
default signal handlers. The child resets what exec keeps: ignored signals and the signal mask.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable

from nanogrid_executor.launcher import start_failure
from nanogrid_executor.launcher.start_failure import StartFailure
from nanogrid_executor.launcher.values import NamedTuple

TYPE_CHECKING = False  # see nanogrid_executor.launcher.values
if TYPE_CHECKING:
    from typing import Final

DEFAULT_ENV: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",  # noqa: S108 the only writable directory that every image has
    "USER": "nanogrid",  # the name in /etc/passwd that the pod has for the sandbox
    "LOGNAME": "nanogrid",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",  # output printed before a timeout must be in the result
}
ERROR_BYTES: Final = 4000  # of an error message of the child; below PIPE_BUF, so one write


class SpawnError(Exception):
    """The process could not be started."""

    def __init__(self, failure: StartFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Limits(NamedTuple):
    """Limits of the kernel for user code; None is no limit.

    Processes are counted per user ID, threads included. Each job has its own user ID.
    """

    file_bytes: int | None = None
    processes: int | None = None

    def apply(self) -> None:
        """Set them for this process and its children, which cannot raise them."""
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.file_bytes, self.file_bytes))
        if self.processes is not None:
            resource.setrlimit(resource.RLIMIT_NPROC, (self.processes, self.processes))


NO_LIMITS: Final = Limits()


class SpawnedProcess(NamedTuple):
    """A started process and our ends of its pipes; ``stdin`` is None when there is no input."""

    pid: int
    stdin: int | None
    stdout: int
    stderr: int


def environment(given: dict[str, str], path: str | None) -> dict[str, str]:
    """The environment of user code: the given variables over defaults; only PATH is inherited.

    Args:
        given: the job's own variables.
        path: the launcher's PATH, which names the image's program directories.
    """
    defaults = dict(DEFAULT_ENV)
    if path:
        defaults["PATH"] = path
    return {**defaults, **given}


def spawn(
    argv: list[str],
    cwd: str,
    env: dict[str, str],
    *,
    with_stdin: bool,
    limits: Limits = NO_LIMITS,
    before_exec: Callable[[], None] | None = None,
) -> SpawnedProcess:
    """Start a process in a new session.

    Args:
        argv: the program and its arguments.
        cwd: its working directory.
        env: its whole environment.
        with_stdin: whether the process gets a pipe as its standard input.
        limits: of the process and its children.
        before_exec: called in the child before exec. If it forks again, it returns in the process
            that executes the program.

    Raises:
        SpawnError: the program or the directory does not exist or cannot be used, or the kernel
            refuses another process.
    """
    pipes: list[int] = []
    try:
        stdout, child_stdout = _pipe(pipes)
        stderr, child_stderr = _pipe(pipes)
        error_reader, error_writer = _pipe(pipes)  # exec closes the writer: end of file is success
        if with_stdin:
            child_stdin, stdin = _pipe(pipes)
        else:
            child_stdin, stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), None
            pipes.append(child_stdin)
        pid = os.fork()
    except OSError as error:
        _close(pipes)
        raise SpawnError(
            start_failure.system_failure("no process can be started", error)
        ) from error
    if pid == 0:
        streams = (child_stdin, child_stdout, child_stderr)
        _run_child(error_writer, streams, lambda: _start(before_exec, argv, cwd, env, limits))
    _close([child_stdin, child_stdout, child_stderr, error_writer])
    report = os.read(error_reader, 4096).decode(errors="replace")
    os.close(error_reader)
    if report:
        _close([stdout, stderr] + ([stdin] if stdin is not None else []))
        os.waitpid(pid, 0)
        code, cause, message = report.split(" ", 2)
        raise SpawnError(StartFailure(cause, message, int(code)))
    return SpawnedProcess(pid, stdin, stdout, stderr)


def _run_child(error_writer: int, streams: tuple[int, int, int], run: Callable[[], None]) -> None:
    """The child's side of the fork; never returns. Writes an error to ``error_writer``."""
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        for target, source in enumerate(streams):
            os.dup2(source, target)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        run()
    except SpawnError as error:
        _write_failure(error_writer, error.failure)
    except BaseException as error:  # the child must never continue in the launcher's own code
        failure = start_failure.system_failure("the process cannot be prepared", error)
        _write_failure(error_writer, failure)
    finally:
        os._exit(127)


def _start(
    before_exec: Callable[[], None] | None,
    argv: list[str],
    cwd: str,
    env: dict[str, str],
    limits: Limits,
) -> None:
    if before_exec is not None:
        before_exec()
    limits.apply()
    _exec(argv, cwd, env)


def _write_failure(error_writer: int, failure: StartFailure) -> None:
    text = f"{failure.exit_code} {failure.cause} {failure.message}"
    os.write(error_writer, text.encode(errors="backslashreplace")[:ERROR_BYTES])


def _exec(argv: list[str], cwd: str, env: dict[str, str]) -> None:
    try:
        os.chdir(cwd)
    except OSError as error:
        message = f"working directory {cwd}: {error.strerror}"
        raise SpawnError(StartFailure(start_failure.PERMISSION, message)) from error
    failure = start_failure.check_script(argv[0], env.get("PATH", os.defpath))
    if failure is not None:
        raise SpawnError(failure)
    try:
        os.execvpe(argv[0], argv, env)  # noqa: S606 on purpose without a shell
    except OSError as error:
        raise SpawnError(start_failure.explain(error, argv, env)) from error
    except ValueError as error:
        raise SpawnError(start_failure.explain_value(error, argv, env)) from error


def _pipe(opened: list[int]) -> tuple[int, int]:
    """A pipe that no other program inherits; appends both ends to ``opened``."""
    ends = os.pipe2(os.O_CLOEXEC)
    opened.extend(ends)
    return ends


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
