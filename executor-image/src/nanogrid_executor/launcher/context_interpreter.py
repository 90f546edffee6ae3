"""The interpreter of a context: one request after another in one namespace.

Standard library only; see :mod:`nanogrid_executor.launcher.interpreter`.
"""

from __future__ import annotations

import builtins
import ctypes
import linecache
import os
import signal
import sys
from io import TextIOWrapper

from nanogrid_executor.launcher.interpreter import (
    ENDED,
    INTERRUPTED,
    STARTED,
    Interpreter,
    exit_code,
    open_control,
    print_error,
)

REPLACE = "backslashreplace"

TYPE_CHECKING = False  # see interpreter
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any


class ContextInterpreter(Interpreter):
    """An interpreter that keeps its variables between requests."""

    def serve(self) -> None:
        """Serve requests until the launcher sends no more."""
        self.libc = ctypes.CDLL(None)
        streams = [StandardStream(1, "stdout", "strict"), StandardStream(2, "stderr", REPLACE)]
        signal.signal(signal.SIGINT, ignore)
        while (request := self.control.receive()) is not None:
            lines = request["code"].splitlines(keepends=True)
            entry = (len(request["code"]), None, lines, request["filename"])
            linecache.cache[request["filename"]] = entry  # no mtime: it is never checked
            before = {name: os.environ.get(name) for name in request["env"]}
            os.environ.update(request["env"])
            replace_stdin(request["stdin"])
            for stream in streams:
                stream.restore()
            self.control.send(STARTED)
            code = self._run_guarded(request)
            if os.getpid() != self.control.owner:
                os._exit(code)  # a fork that user code made has reached the end of the code
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            self.control.send(ENDED, code.to_bytes(4, "big") + bytes([self.was_interrupted]))

    def _run_guarded(self, request: dict[str, Any]) -> int:
        """Run a request; returns its exit code. No exception of user code leaves this method."""
        self.was_interrupted = False
        code = 0
        try:
            try:
                # Set for each request: user code may have installed a handler of its own.
                signal.signal(signal.SIGINT, signal.default_int_handler)
                self.run(request)
            finally:
                signal.signal(signal.SIGINT, ignore)
        except BaseException as error:
            signal.signal(signal.SIGINT, ignore)  # SIGINT may interrupt the line in finally
            code = self._report_error(error)
        try:
            self.finish()
        except BaseException as error:
            code = code or self._report_error(error)
        self.libc.fflush(None)
        return code

    def _report_error(self, error: BaseException) -> int:
        """Print an exception of user code; returns the exit code that it stands for."""
        code = 1
        try:
            if isinstance(error, SystemExit):
                return exit_code(error)
            if isinstance(error, KeyboardInterrupt):
                self.was_interrupted, code = True, INTERRUPTED
            print_error(error)
        except BaseException as second:  # user code broke its excepthook or its stderr
            os.write(2, f"{type(error).__name__}: {error}\n{second!r}\n".encode(errors="replace"))
        return code


class StandardStream:
    """stdout or stderr: an execution may close it or put a file in its place, the next has it."""

    def __init__(self, fd: int, name: str, errors: str) -> None:
        self.fd, self.name, self.errors = fd, name, errors
        self.kept = os.dup(fd)
        self.identity = identity_of(fd)

    def restore(self) -> None:
        """Restore the descriptor, and Python's stream if it is closed."""
        if identity_of(self.fd) != self.identity == identity_of(self.kept):
            os.dup2(self.kept, self.fd)
        for name in (self.name, f"__{self.name}__"):
            if is_closed(getattr(sys, name, None)):
                raw = open(self.fd, "wb", 0, closefd=False)  # noqa: SIM115 it outlives this call
                text = TextIOWrapper(raw, "utf-8", self.errors, write_through=True)
                setattr(sys, name, text)


def identity_of(fd: int) -> tuple[int, int] | None:
    """Device and inode behind a descriptor; None when it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_closed(stream: Any) -> bool:
    """Whether a stream accepts no text, or there is none."""
    try:
        return stream is None or bool(stream.closed)
    except ValueError:
        return True  # its buffer was detached
    except AttributeError:
        return False  # user code put an object of its own there


def ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing: between executions there is nothing to interrupt.

    A handler, not SIG_IGN: every program that user code starts would inherit SIG_IGN.
    """


def replace_stdin(text: bytes | None) -> None:
    """Make ``text`` the standard input of this process; None gives an empty one."""
    if text is None:
        fd = os.open(os.devnull, os.O_RDONLY)
    else:
        fd = os.memfd_create("stdin")
        with open(fd, "wb", closefd=False) as file:
            file.write(text)
        os.lseek(fd, 0, os.SEEK_SET)
    if fd:
        os.dup2(fd, 0)
        os.close(fd)
    else:  # user code had closed it
        os.set_inheritable(0, True)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115


def main(fd: int) -> None:
    """Entry point; the launcher's command calls it (see ``session_command.BOOT``)."""
    interpreter = ContextInterpreter(open_control(fd), context=True)
    builtins.display = interpreter.display  # type: ignore[attr-defined]
    interpreter.serve()
