"""One log line of the platform, the same in all programs. Pure, standard library only.

JSON is one object per line. Text is ``TIME LEVEL LOGGER MESSAGE key=value …`` in one line; the
lines of a traceback follow, each with :data:`CONTINUED` in front, so that no text of a user looks
like a line of its own. Both forms escape what cannot be printed, hide credentials, and are bounded.
"""

import json
import math
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from argparse import ArgumentParser

TEXT: Final = "text"
JSON: Final = "json"
FORMATS: Final = (TEXT, JSON)
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
ENV_FORMAT: Final = "NANOGRID_LOG_FORMAT"
ENV_LEVEL: Final = "NANOGRID_LOG_LEVEL"

# What a line about a job always has, in this order.
JOB_FIELDS: Final = ("namespace", "job", "uid", "requestId", "attempt")
# What every line has. No field of a caller replaces them.
OWN_FIELDS: Final = ("time", "level", "component", "logger", "message", "exception")

CONTINUED: Final = "  | "
LINE_BYTES: Final = 16_000  # container runtimes split lines of more than 16 KiB
MESSAGE_CHARS: Final = 4_000
EXCEPTION_CHARS: Final = 8_000
FIELD_CHARS: Final = 1_000
KEY_CHARS: Final = 64
FIELDS: Final = 32  # in addition to those of the job
_SHARES: Final = (1, 4, 16, 64, 256)  # of these limits, until the line is short enough

# Credentials: of a header, in a URL, in the query of a presigned URL, and in any other query. What
# repeats is bounded or ends at one character: a search in a hostile text must not take long.
_HIDDEN_NAMES: Final = (
    r"token|secret|passw(?:or)?d|signature|credential|sig|api[-_]?key|access[-_]?key(?:[-_]?id)?"
)
_HIDDEN: Final = (
    r"(?i)(?:(?P<scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<url>://)[^/\s@:?#]*(?::[^/\s@]*)?@"
    r"|(?P<query>\bX-Amz-(?:Signature|Credential|Security-Token)="
    rf"|[?&][\w.-]{{0,32}}?(?:{_HIDDEN_NAMES})=)[^&\s\"'<>]+)"
)


def job_line_fields(
    namespace: str, job: str, uid: str, request_id: str, attempt: int
) -> dict[str, Any]:
    """The fields of each line about a job."""
    return dict(zip(JOB_FIELDS, (namespace, job, uid, request_id, attempt), strict=True))


def log_line(
    style: str,
    *,
    seconds: float,
    level: str,
    component: str,
    logger: str,
    message: str,
    fields: Mapping[str, Any],
    exception: str = "",
) -> str:
    """A line without its end; text has further lines if there is an error.

    Args:
        style: one of :data:`FORMATS`.
        seconds: when, since the epoch.
        level: such as INFO.
        component: the program, such as ``operator``.
        logger: the part of the program.
        message: what has happened.
        fields: what it is about. Values that are no numbers are shown as text.
        exception: the traceback.
    """
    build = _json_line if style == JSON else _text_line
    head = (_timestamp(seconds), level, component, logger)
    line = ""
    for share in _SHARES:
        line = build(
            head,
            _short(message, MESSAGE_CHARS // share),
            _bounded(fields, share),
            _middle_cut(exception, EXCEPTION_CHARS // share),
        )
        if len(line.encode()) <= LINE_BYTES:
            break
    return line


def add_options(parser: "ArgumentParser") -> None:
    """Add ``--log-format`` and ``--log-level``, which win over the environment variables."""
    parser.add_argument(
        "--log-format", choices=FORMATS, help=f"form of logs (default: {ENV_FORMAT}, else text)"
    )
    parser.add_argument(
        "--log-level",
        choices=LEVELS,
        type=str.upper,
        help=f"lowest level of logs (default: {ENV_LEVEL}, else INFO)",
    )


def chosen(
    environ: Mapping[str, str],
    style: str | None = None,
    level: str | None = None,
    *,
    default: str = "INFO",
) -> tuple[str, str]:
    """Form and lowest level of logs: those of the command line, else of the environment.

    A value that is not known counts as absent: a log must be able to say what is wrong with it.
    """
    style = style or environ.get(ENV_FORMAT, "").lower()
    level = level or environ.get(ENV_LEVEL, "").upper()
    return style if style in FORMATS else TEXT, level if level in LEVELS else default


def _timestamp(seconds: float) -> str:
    whole = math.floor(seconds)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{text}.{int((seconds - whole) * 1000):03d}Z"


def _json_line(
    head: tuple[str, str, str, str], message: str, fields: dict[str, Any], exception: str
) -> str:
    line: dict[str, Any] = dict(zip(OWN_FIELDS, (*head, message), strict=False))
    line |= fields
    if exception:
        line["exception"] = exception
    return _escaped(json.dumps(line, ensure_ascii=False, allow_nan=False))


def _text_line(
    head: tuple[str, str, str, str], message: str, fields: dict[str, Any], exception: str
) -> str:
    when, level, _, logger = head
    own = [name for name in fields if name not in JOB_FIELDS]
    items = [f"{_key(name)}={_value(fields[name])}" for name in (*own, *_job_of(fields))]
    line = " ".join([when, level, _escaped(logger), _escaped(message), *items])
    # Not splitlines, which would also split at characters that the escape shows.
    trace = exception.split("\n") if exception else []
    return "".join([line, *(f"\n{CONTINUED}{_escaped(each)}" for each in trace)])


def _job_of(fields: Mapping[str, Any]) -> list[str]:
    return [name for name in JOB_FIELDS if name in fields]


def _bounded(fields: Mapping[str, Any], share: int) -> dict[str, Any]:
    """The fields of the job first, then as many others as may be in a line."""
    others = [name for name in fields if name not in JOB_FIELDS and name not in OWN_FIELDS]
    whole = share < _SHARES[-1]  # the names of a job are short, and are cut last
    limit = FIELD_CHARS // share
    job = {name: _plain(fields[name], FIELD_CHARS if whole else 16) for name in _job_of(fields)}
    return job | {
        _short(str(name), KEY_CHARS): _plain(fields[name], limit)
        for name in others[: FIELDS // share]
    }


def _plain(value: object, limit: int) -> Any:
    """A value that JSON has, of bounded length."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 1 << 63:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, bytes):
        value = value[: 4 * limit + 4].decode("utf-8", "backslashreplace")
    return _short(_text(value), limit)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as e:  # a log never fails, also about an object that cannot show itself
        return f"<{type(value).__name__}: no text: {type(e).__name__}>"


def _short(text: str, limit: int) -> str:
    if len(text) > limit:
        # Hidden first: a cut could leave a part of a credential that is not recognized.
        shown = _hidden(text[: 2 * limit])[:limit]
        return f"{shown}… ({len(text) - limit} more characters)"
    return _hidden(text)


def _middle_cut(trace: str, limit: int) -> str:
    """A traceback with its begin and its end, where the error is."""
    if len(trace) <= limit:
        return _hidden(trace)
    head, tail = limit // 4, limit - limit // 4
    left = len(trace) - head - tail
    begin, end = _hidden(trace[: 2 * head])[:head], _hidden(trace[-2 * tail :])[-tail:]
    return f"{begin}\n… ({left} more characters)\n{end}"


def _hidden(text: str) -> str:
    """The text without credentials, and with escapes for what UTF-8 does not have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode()
    if "://" not in text and " " not in text and "=" not in text:
        return text
    return re.sub(_HIDDEN, _hide, text)


def _hide(found: re.Match[str]) -> str:
    kept = found["scheme"] or found["url"] or found["query"]
    return f"{kept}***@" if found["url"] else f"{kept}***"


def _escaped(text: str) -> str:
    """The text in one line; what cannot be printed becomes the escape of JSON."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _key(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def _value(value: object) -> str:
    text = json.dumps(value) if not isinstance(value, str) else value
    plain = text and text.isprintable() and not any(c in text for c in ' "=')
    return text if plain else _escaped(json.dumps(text, ensure_ascii=False))
