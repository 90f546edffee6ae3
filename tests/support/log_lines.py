"""Reads the platform's log lines, in both forms."""

import json
import re
from typing import Any

from nanogrid.log_line import CONTINUED, JOB_FIELDS

_TEXT = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<level>[A-Z]+) (?P<logger>\S+) "
    r"(?P<message>.*?)(?P<fields>( [\w.-]+=(\"(?:[^\"\\]|\\.)*\"|[^\s\"=]*))*)"
)
_FIELD = re.compile(r" ([\w.-]+)=(\"(?:[^\"\\]|\\.)*\"|[^\s\"=]*)")


def of_json(text: str) -> list[dict[str, Any]]:
    """All lines; each must be one JSON object."""
    return [json.loads(line) for line in text.splitlines()]


def of_text(text: str) -> list[dict[str, Any]]:
    """All lines, with the traceback of each; another line is an error."""
    found: list[dict[str, Any]] = []
    for line in text.splitlines():
        if line.startswith(CONTINUED):
            found[-1].setdefault("exception", []).append(line.removeprefix(CONTINUED))
            continue
        match = _TEXT.fullmatch(line)
        assert match is not None, line
        own = {name: match[name] for name in ("time", "level", "logger", "message")}
        found.append(own | {name: _value(value) for name, value in _FIELD.findall(match["fields"])})
    return found


def parsed(text: str, style: str) -> list[dict[str, Any]]:
    """All lines of a program that logs in this form."""
    return of_json(text) if style == "json" else of_text(text)


def missing(line: dict[str, Any]) -> list[str]:
    """The fields of a job that a line does not have."""
    return [name for name in JOB_FIELDS if name not in line]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
