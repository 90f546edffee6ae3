"""How errors reach the user: two lines on stderr and an exit code, never a traceback."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from nanogrid.cli.app.exits import Exit
from nanogrid.visible_text import printable_lines

if TYPE_CHECKING:
    from nanogrid.client.errors import NanoGridError


class CliError(Exception):
    """An error that the user can fix; ``hint`` says how, ``code`` is the exit code."""

    def __init__(self, message: str, hint: str = "", code: int = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class UsageError(CliError):
    """The arguments are invalid; exit code 2."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, Exit.USAGE)


def as_cli_error(error: BaseException) -> CliError | None:
    """Convert an error for the user; None for a bug, which keeps its traceback."""
    if isinstance(error, CliError):
        return error
    from nanogrid.client import errors

    if isinstance(error, errors.NanoGridError):
        return CliError(error.message, command_hint(error), _code(error))
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return CliError(f"{where}{error.strerror or error}", "Check the path and its permissions.")
    if isinstance(error, UnicodeDecodeError):
        return UsageError(f"the text is not UTF-8: {error}", "Save the file as UTF-8.")
    return None


def command_hint(error: "NanoGridError") -> str:
    """The hint of the client's error in the terms of the command line."""
    from nanogrid.client import errors
    from nanogrid.hints import Surface, hint_for

    if error.command_hint:
        return error.command_hint
    reason = str(getattr(error, "reason", ""))
    if reason and error.hint == errors.hint_of(reason):
        return hint_for(reason, Surface.CLI)
    if error.hint == error.default_hint:
        return next((text for kind, text in _hints() if isinstance(error, kind)), error.hint)
    return error.hint


def _hints() -> "tuple[tuple[type[Exception], str], ...]":
    """The hints of error classes whose own hint is for Python."""
    from nanogrid.client import errors
    from nanogrid.client.jobs import full_output

    return (
        (errors.NotConfigured, "Set KUBECONFIG, or use --context or --kubeconfig."),
        (errors.WaitTimeout, "The job continues. `nanogrid cancel JOB` stops it."),
        (errors.NotFound, "Check name and namespace. `nanogrid list -A` lists all jobs."),
        (errors.Invalid, "Correct the option or the field that the message names."),
        (errors.Conflict, "Use another name, or run the command again."),
        (full_output.NotKept, "Write important text to a file in output/."),
    )


def _code(error: Exception) -> int:
    from nanogrid.client import errors
    from nanogrid.client.jobs import result

    codes: tuple[tuple[type[Exception], int], ...] = (
        (errors.Forbidden, Exit.FORBIDDEN),
        (errors.Unauthorized, Exit.FORBIDDEN),
        (errors.Unreachable, Exit.UNREACHABLE),
        (errors.NotConfigured, Exit.UNREACHABLE),
        (errors.Invalid, Exit.USAGE),
        (errors.InvalidRequest, Exit.USAGE),
        (errors.WaitTimeout, Exit.TIMEOUT),
        (result.ExecutionTimeout, Exit.TIMEOUT),
        (result.OutOfMemory, Exit.OOM),
        (result.Cancelled, Exit.CANCELLED),
        (result.JobFailed, Exit.INFRASTRUCTURE),
    )
    for kind, code in codes:
        if isinstance(error, kind):
            return code
    if isinstance(error, errors.ApiError) and (error.status == 0 or error.status >= 500):
        return Exit.UNREACHABLE
    return Exit.FAILED


def exit_on_error(work: Callable[[], None]) -> None:
    """Run a command; print errors that the user can fix, and exit with their code.

    Raises:
        typer.Exit: with a code of :class:`~nanogrid.cli.app.exits.Exit`.
    """
    try:
        work()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        raise typer.Exit(Exit.CANCELLED) from None
    except BrokenPipeError:
        _discard_stdout()
        raise typer.Exit(Exit.BROKEN_PIPE) from None
    except Exception as error:
        known = as_cli_error(error)
        if known is None:
            raise
        print_error(known.message, known.hint)
        raise typer.Exit(known.code) from None


def print_error(message: str, hint: str = "") -> None:
    """Write an error and its hint to stderr, one line each."""
    sys.stderr.write(f"error: {printable_lines(message)}\n")
    if hint:
        sys.stderr.write(f"hint: {printable_lines(hint)}\n")
    sys.stderr.flush()


def on_terminal() -> bool:
    """Whether a user can answer a question."""
    return sys.stdin.isatty()


def confirm(question: str) -> None:
    """Ask for confirmation, on a terminal only.

    Raises:
        CliError: there is no terminal, or the answer is no.
    """
    if not on_terminal():
        raise CliError(f"no terminal to confirm: {question}", "Use --yes to skip the question.")
    if not typer.confirm(question, err=True):
        raise CliError("nothing was changed")


def _discard_stdout() -> None:
    """Redirect stdout to /dev/null, so that Python's final flush raises no error."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
