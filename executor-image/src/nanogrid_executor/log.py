"""Log lines on stdout, one per event, with values. They need no logging import.

A container is about one job: :func:`about` sets the fields of the job, and every line has them, of
whichever thread. Lines have the form of :mod:`nanogrid.log_line`, uncaught errors too.
"""

import os
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from nanogrid.log_line import LEVELS, chosen, job_line_fields, log_line

if TYPE_CHECKING:
    from nanogrid import wire


class _Process:
    """How this process logs, and the job that it is about."""

    def __init__(self) -> None:
        self.component = "executor"
        self.style, self.level = chosen({})
        self.fields: Mapping[str, Any] = {}


_process: Final = _Process()


def start(component: str, style: str | None = None, level: str | None = None) -> None:
    """Log as this component, uncaught errors too. The environment has what is None."""
    _process.component = component
    _process.style, _process.level = chosen(os.environ, style, level)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def about(fields: Mapping[str, Any]) -> None:
    """All further lines of the process have these fields."""
    _process.fields = fields


def about_task(task: "wire.PodTask") -> None:
    """All further lines of the process are about the job of this task."""
    about(job_line_fields(task.namespace, task.job, task.uid, task.request_id, task.attempt))


def form() -> tuple[str, str, str]:
    """Lowest level, form and component, for the logs of libraries."""
    return _process.level, _process.style, _process.component


def fields() -> Mapping[str, Any]:
    """What all lines are about."""
    return _process.fields


def log(event: str, **values: object) -> None:
    """Write a line about a step."""
    write("INFO", event, values)


def warn(event: str, **values: object) -> None:
    """Write a line about what did not work as it should."""
    write("WARNING", event, values)


def write(
    level: str,
    event: str,
    values: Mapping[str, object],
    *,
    logger: str = "",
    error: BaseException | None = None,
) -> None:
    """Write a line, unless its level is below the one of the process.

    Args:
        level: such as INFO.
        event: what has happened.
        values: what it is about, in addition to the job.
        logger: of a library; else the component.
        error: whose traceback the line has.
    """
    if level in LEVELS and LEVELS.index(level) < LEVELS.index(_process.level):
        return
    line = log_line(
        _process.style,
        seconds=time.time(),
        level=level,
        component=_process.component,
        logger=logger or f"nanogrid.{_process.component}",
        message=event,
        fields={**_process.fields, **values},
        exception=_trace(error),
    )
    # One write, so that the lines of two threads do not mix.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _trace(error: BaseException | None) -> str:
    if error is None:
        return ""
    import traceback  # late: few lines have one

    return "".join(traceback.format_exception(error)).rstrip("\n")


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    write("CRITICAL", "uncaught-error", {}, error=error.with_traceback(trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and args.exc_type is not SystemExit:
        thread = args.thread.name if args.thread is not None else ""
        write("ERROR", "uncaught-error", {"thread": thread}, error=args.exc_value)
