"""Starting the user's process: fork and exec by hand. Standard library only.

``subprocess`` would do, and costs the launcher 10 ms of imports before each job. The launcher has
one thread, so a fork is safe. ``exec`` gives the process its own, ordinary dumpable flag and
default signal handlers; what exec leaves as it was (ignored signals, the signal mask) is reset.
"""

import os
import resource
import signal
from collections.abc import Callable
from typing import Final, NamedTuple

DEFAULT_ENV: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/tmp",  # noqa: S108 the one writable place that every image has
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",  # what was printed before a timeout must be in the result
}


class SpawnError(Exception):
    """The process could not be started; ``exit_code`` is what a shell would give."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Process(NamedTuple):
    """A started process and our ends of its pipes; ``stdin`` is None when there is no text."""

    pid: int
    stdin: int | None
    stdout: int
    stderr: int


def environment(given: dict[str, str], path: str | None) -> dict[str, str]:
    """The environment of user code: what was given, over defaults; nothing is inherited but PATH.

    Args:
        given: the job's own variables.
        path: the launcher's PATH: where the image keeps its programs.
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
    first: Callable[[int], None] | None = None,
) -> Process:
    """Start a process in a session of its own.

    Args:
        argv: the program and its arguments.
        cwd: its working directory.
        env: its whole environment.
        with_stdin: whether there will be text for it to read.
        first: called in the child before exec, with the fd whose closing tells of the exec; what
            forks again there returns in the process that is to be the program.

    Raises:
        SpawnError: the program or the directory does not exist or may not be used.
    """
    pipes: list[int] = []
    try:
        stdout, child_stdout = _pipe(pipes)
        stderr, child_stderr = _pipe(pipes)
        told, tell = _pipe(pipes)
        if with_stdin:
            child_stdin, stdin = _pipe(pipes)
        else:
            child_stdin, stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), None
            pipes.append(child_stdin)
        pid = os.fork()
    except OSError as error:
        _close(pipes)
        raise SpawnError(f"cannot start a process: {error.strerror}", 126) from error
    if pid == 0:
        streams = (child_stdin, child_stdout, child_stderr)
        _become(tell, streams, lambda: _start(tell, first, argv, cwd, env))
    _close([child_stdin, child_stdout, child_stderr, tell])
    complaint = os.read(told, 4096).decode(errors="replace")
    os.close(told)
    if complaint:
        _close([stdout, stderr] + ([stdin] if stdin is not None else []))
        os.waitpid(pid, 0)
        code, _, message = complaint.partition(" ")
        raise SpawnError(message, int(code))
    return Process(pid, stdin, stdout, stderr)


def _become(tell: int, streams: tuple[int, int, int], run: Callable[[], None]) -> None:
    """The child's side of the fork: never returns. Its last words go to ``tell``."""
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()
        for target, source in enumerate(streams):
            os.dup2(source, target)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        run()
    except SpawnError as error:
        os.write(tell, f"{error.exit_code} {error}".encode()[:4000])
    except BaseException as error:  # nothing may climb up into the launcher's own code
        os.write(tell, f"126 cannot start the process: {error}".encode()[:4000])
    finally:
        os._exit(127)


def _start(
    tell: int,
    first: Callable[[int], None] | None,
    argv: list[str],
    cwd: str,
    env: dict[str, str],
) -> None:
    if first is not None:
        first(tell)
    _exec(argv, cwd, env)


def _exec(argv: list[str], cwd: str, env: dict[str, str]) -> None:
    try:
        os.chdir(cwd)
    except OSError as error:
        raise SpawnError(f"working directory {cwd}: {error.strerror}", 126) from error
    try:
        os.execvpe(argv[0], argv, env)  # noqa: S606 no shell is the point
    except FileNotFoundError as error:
        raise SpawnError(f"{argv[0]}: not found", 127) from error
    except OSError as error:
        raise SpawnError(f"{argv[0]}: {error.strerror}", 126) from error


def _pipe(opened: list[int]) -> tuple[int, int]:
    """A pipe whose ends no other program inherits; both are noted in ``opened``."""
    ends = os.pipe2(os.O_CLOEXEC)
    opened.extend(ends)
    return ends


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
