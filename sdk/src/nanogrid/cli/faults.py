"""Errors on their way to the user: two lines on stderr and an exit code, never a traceback."""

import sys
from collections.abc import Callable

import typer

from nanogrid.cli.exits import Exit


class Fault(Exception):
    """Something a user can mend; ``cure`` says how, ``code`` is the exit code."""

    def __init__(self, message: str, cure: str = "", code: int = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure
        self.code = code


class UsageFault(Fault):
    """The arguments cannot be meant that way."""

    def __init__(self, message: str, cure: str = "") -> None:
        super().__init__(message, cure, Exit.USAGE)


def fault_of(error: BaseException) -> Fault | None:
    """The fault that an error is to the user; None for one that is our own mistake."""
    if isinstance(error, Fault):
        return error
    from nanogrid.client import errors

    if isinstance(error, errors.NanoGridError):
        return Fault(error.message, error.cure, _code(error))
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Fault(f"{where}{error.strerror or error}", "Check the path and its permissions.")
    if isinstance(error, UnicodeDecodeError):
        return UsageFault(f"this is not UTF-8 text: {error}", "Save it as UTF-8.")
    return None


def _code(error: Exception) -> int:
    from nanogrid.client import errors

    codes: tuple[tuple[type[Exception], int], ...] = (
        (errors.Forbidden, Exit.FORBIDDEN),
        (errors.Unauthorized, Exit.FORBIDDEN),
        (errors.Unreachable, Exit.UNREACHABLE),
        (errors.NotConfigured, Exit.UNREACHABLE),
        (errors.Invalid, Exit.USAGE),
        (errors.InvalidRequest, Exit.USAGE),
        (errors.WaitTimeout, Exit.TIMEOUT),
        (errors.ExecutionTimeout, Exit.TIMEOUT),
        (errors.OutOfMemory, Exit.OOM),
        (errors.Cancelled, Exit.CANCELLED),
        (errors.JobFailed, Exit.INFRASTRUCTURE),
    )
    for kind, code in codes:
        if isinstance(error, kind):
            return code
    if isinstance(error, errors.ApiError) and (error.status == 0 or error.status >= 500):
        return Exit.UNREACHABLE
    return Exit.FAILED


def guarded(work: Callable[[], None]) -> None:
    """Do a command's work; whatever a user may have caused ends as text and exit code.

    Raises:
        typer.Exit: with the code of :class:`~nanogrid.cli.exits.Exit`.
    """
    try:
        work()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise typer.Exit(Exit.CANCELLED) from None
    except BrokenPipeError:
        _hush()
        raise typer.Exit(Exit.BROKEN_PIPE) from None
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            raise
        show(fault)
        raise typer.Exit(fault.code) from None


def show(fault: Fault) -> None:
    """Write a fault to stderr."""
    sys.stderr.write(f"error: {fault.message}\n")
    if fault.cure:
        sys.stderr.write(f"how to mend: {fault.cure}\n")


def _hush() -> None:
    """Point stdout to nowhere, so that Python's last flush does not complain."""
    import os

    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
