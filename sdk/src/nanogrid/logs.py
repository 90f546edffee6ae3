"""Logs of the platform's servers: as text, or as one JSON object per line.

In JSON each line has ``time`` (UTC), ``level``, ``logger`` and ``message``, and ``error`` with the
traceback if there is one. It also has what it is about: the fields of :func:`about` around the
call, for example the job.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

FORMATS: Final = ("text", "json")
TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
FIELDS: Final = "fields"  # of a record: more fields of one line, as `extra={FIELDS: {…}}`

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default=NOTHING)


@contextmanager
def about(fields: Mapping[str, Any]) -> Iterator[None]:
    """What is logged inside is about these: fields of each line, in addition to those outside."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


class JsonFormatter(logging.Formatter):
    """One JSON object per line. Text of users cannot add a line or a field."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {**_about.get(), **getattr(record, FIELDS, {})}
        line |= {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def configure(level: str, style: str) -> None:
    """Log to stderr, all loggers of the process.

    Args:
        level: the lowest level, such as INFO.
        style: one of :data:`FORMATS`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
