"""Logs of the platform's programs: as text, or as one JSON object per line.

:mod:`.log_line` has the form. A line also has what it is about: the fields of :func:`about` around
the call, for example those of a job. Tasks inherit them, and so do the threads of
:mod:`nanogrid.threads` and of ``asyncio.to_thread``. Lines of libraries, warnings and uncaught
errors have the same form.
"""

import contextlib
import contextvars
import logging
import sys
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar

from nanogrid.log_line import chosen, job_line_fields, log_line
from nanogrid.types import Json

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

FIELDS: Final = "fields"  # of a record: more fields of one line, as `extra={FIELDS: {…}}`

# Their lines of the level DEBUG have headers, URLs and bodies, with credentials.
QUIET_LIBRARIES: Final = ("boto3", "botocore", "kubernetes_asyncio", "s3transfer", "urllib3")

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default=NOTHING)

log = logging.getLogger("nanogrid")


@contextmanager
def about(fields: Mapping[str, Any]) -> Iterator[None]:
    """What is logged inside is about these: fields of each line, in addition to those outside."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def note(fields: Mapping[str, Any]) -> None:
    """Add fields, until the :func:`about` around this ends: what a request is about, once known."""
    _about.set({**_about.get(), **fields})


def background(work: Coroutine[Any, Any, T], name: str | None = None) -> "asyncio.Task[T]":
    """A task that is about nothing: what a request starts first, and others use later."""
    import asyncio  # late: the command line logs too, and starts without it

    context = contextvars.copy_context()
    context.run(_about.set, NOTHING)
    return asyncio.create_task(work, name=name, context=context)


def fields_of_job(body: Json) -> dict[str, Any]:
    """The fields of lines about an ExecutionJob. Never fails: a log is no reason to."""
    meta, spec, status = (_part(body, name) for name in ("metadata", "spec", "status"))
    uid = meta.get("uid", "")
    request_id = status.get("requestId") or spec.get("requestId") or uid
    namespace, name = meta.get("namespace", ""), meta.get("name", "")
    return job_line_fields(namespace, name, uid, request_id, attempt_of(status))


def attempt_of(status: Json) -> int:
    """The attempt that has ended a job, else the current one; 0 if it is not readable.

    Never fails: the API server does not check what a result contains.
    """
    if "attempt" in (ended := _part(status, "result")):
        return _number(ended["attempt"])
    attempts = status.get("attempts")
    if not isinstance(attempts, list) or not attempts:
        return 0
    last = attempts[-1]
    return _number(last.get("number")) + 1 if isinstance(last, dict) else 0


def _part(body: Json, name: str) -> Json:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


class OncePerMinute:
    """Bounds how often one line is logged: thousands of objects may have the same fault."""

    def __init__(self) -> None:
        self._last: float | None = None

    def now(self) -> bool:
        """Whether the line is due: the last one is a minute old."""
        now = time.monotonic()
        due = self._last is None or now - self._last >= 60
        if due:
            self._last = now
        return due


class LineFormatter(logging.Formatter):
    """Formats records as :mod:`.log_line` does.

    Args:
        style: one of :data:`nanogrid.log_line.FORMATS`.
        component: the program.
        fields: of every line, for a program that is about one job.
    """

    def __init__(
        self, style: str, component: str = "", fields: Mapping[str, Any] = NOTHING
    ) -> None:
        super().__init__()
        self._form = style
        self._component = component
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        try:
            message = record.getMessage()
        except Exception as e:  # arguments that do not fit the message, or have no text
            message = f"{record.msg} ({type(e).__name__}: {e})"
        return log_line(
            self._form,
            seconds=record.created,
            level=record.levelname,
            component=self._component,
            logger=record.name,
            message=message,
            fields={**self._fields, **_about.get(), **getattr(record, FIELDS, {})},
            exception=trace,
        )


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to a stream, which may be closed or full: no reason to fail, or to write more."""

    def handleError(self, record: logging.LogRecord) -> None:
        """The line is lost."""


def start(
    component: str,
    environ: Mapping[str, str],
    style: str | None = None,
    level: str | None = None,
    *,
    stream: TextIO | None = None,
    fields: Mapping[str, Any] = NOTHING,
    default_level: str = "INFO",
) -> None:
    """Log to stderr: all loggers of the process, warnings, and uncaught errors.

    A program calls it before it reads its settings, so that an error of those has this form too.

    Args:
        component: the program, as each line names it.
        environ: has form and level.
        style: of the command line; it wins. See :func:`nanogrid.log_line.add_options`.
        level: of the command line.
        stream: in place of stderr.
        fields: of every line, for a program that is about one job.
        default_level: without a level.
    """
    style, level = chosen(environ, style, level, default=default_level)
    configure(level, style, component, stream=stream, fields=fields)


def configure(
    level: str,
    style: str,
    component: str = "",
    *,
    stream: TextIO | None = None,
    fields: Mapping[str, Any] = NOTHING,
) -> None:
    """As :func:`start`, with a level and a form that are known."""
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(style, component, fields))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for library in QUIET_LIBRARIES:
        logging.getLogger(library).setLevel(max(logging.INFO, logging.root.level))
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return sys.__excepthook__(kind, error, trace)
    return log.critical("uncaught error: the process ends", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread is not None else ""
    found = (args.exc_type, args.exc_value, args.exc_traceback)
    log.error("uncaught error of a thread", exc_info=found, extra={FIELDS: {"thread": name}})


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    error = args.exc_value
    found = (args.exc_type, error, args.exc_traceback) if error is not None else None
    where = repr(args.object) if args.object is not None else ""
    with contextlib.suppress(Exception):  # the interpreter may be ending
        log.error("an error that nothing can raise", exc_info=found, extra={FIELDS: {"in": where}})
