"""The form of a log line: JSON and text, hostile texts, limits, and credentials."""

import json
import math
import subprocess
import sys
from typing import Any

import pytest

from nanogrid.log_line import (
    CONTINUED,
    EXCEPTION_CHARS,
    FORMATS,
    JOB_FIELDS,
    LINE_BYTES,
    MESSAGE_CHARS,
    OWN_FIELDS,
    chosen,
    job_line_fields,
    log_line,
)

JOB = job_line_fields("team-a", "sales", "uid-1", "r-1", 2)
TRACE = 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: no'

# What users choose or send, and what breaks lines, terminals, JSON or fields.
HOSTILE = [
    "two\nlines",
    "\r\n2026-01-01T00:00:00.000Z INFO nanogrid.reconcile forged uid=x",
    'x", "level": "CRITICAL"}\n{"message": "forged"}',
    "\x00\x1b[31mred\x07\x7f",
    "c1 \x85 \x9b31m",
    "separators \u2028 \u2029 \x0b \x0c \x1c",
    "\u202egpj.exe",
    "not UTF-8: \udc80\udcff",
    "half of a pair: \ud83d",
    "Ⅷ 판매 보고서 😀",
    'a="b" c=d',
    "%s %(name)s {0}",
    "\\n is no line end",
    "",
    " ",
]


def line(style: str, message: str = "done", trace: str = "", **fields: Any) -> str:
    return log_line(
        style,
        seconds=1764538463.1239,
        level="INFO",
        component="operator",
        logger="nanogrid.reconcile",
        message=message,
        fields={**JOB, **fields},
        exception=trace,
    )


def parsed(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return found


def test_a_line_in_json() -> None:
    assert line("json", "retry in 2.0 s", TRACE, seconds=2.5, ok=True) == (
        '{"time": "2025-11-30T21:34:23.123Z", "level": "INFO", "component": "operator", '
        '"logger": "nanogrid.reconcile", "message": "retry in 2.0 s", "namespace": "team-a", '
        '"job": "sales", "uid": "uid-1", "requestId": "r-1", "attempt": 2, "seconds": 2.5, '
        '"ok": true, "exception": "Traceback (most recent call last):\\n  '
        'File \\"a.py\\", line 1\\nValueError: no"}'
    )


def test_a_line_in_text() -> None:
    assert line("text", "retry in 2.0 s", TRACE, seconds=2.5, ok=True, why="a b") == (
        "2025-11-30T21:34:23.123Z INFO nanogrid.reconcile retry in 2.0 s seconds=2.5 ok=true "
        'why="a b" namespace=team-a job=sales uid=uid-1 requestId=r-1 attempt=2\n'
        "  | Traceback (most recent call last):\n"
        '  |   File "a.py", line 1\n'
        "  | ValueError: no"
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_adds_a_line_or_a_field_in_json(text: str) -> None:
    whole = line("json", text, text or "x", why=text, **{f"k{text}": 1})

    assert whole.isprintable()
    found = parsed(whole)
    shown = text.encode("utf-8", "backslashreplace").decode()
    for key in ("message", "why"):
        assert found[key] == shown
    assert (found["level"], found["uid"]) == ("INFO", "uid-1")
    assert len(found) == len(OWN_FIELDS) + len(JOB_FIELDS) + 2


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_looks_like_a_line_of_its_own_in_text(text: str) -> None:
    whole = line("text", text, text or "x", why=text, **{f"k{text}": 1})

    first, *others = whole.split("\n")
    assert first.isprintable()
    assert first.endswith(" namespace=team-a job=sales uid=uid-1 requestId=r-1 attempt=2")
    assert others
    for each in others:
        assert each.startswith(CONTINUED)
        assert each.isprintable()
    assert whole.splitlines() == whole.split("\n"), "no other character ends a line"


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("character", ["x", "\x00", "\udc80", "😀", "\U000e0001", '"'])
def test_a_line_is_bounded_and_keeps_the_fields_of_the_job(style: str, character: str) -> None:
    long = character * 100_000
    fields = {f"k{n}{character * 100}": long for n in range(500)}

    whole = line(style, long, "\n".join([long] * 10), **fields)

    assert len(whole.encode()) <= LINE_BYTES
    if style == "json":
        assert parsed(whole).items() >= JOB.items()
    else:
        assert "uid=uid-1 requestId=r-1 attempt=2" in whole


def test_the_end_of_a_long_traceback_stays() -> None:
    found = parsed(line("json", trace="frame\n" * 5000 + "ValueError: the cause"))["exception"]

    assert found.startswith("frame")
    assert found.endswith("ValueError: the cause")
    assert "more characters" in found


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1, 1),
        (True, True),
        (None, None),
        (1.5, 1.5),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (1 << 80, str(1 << 80)),
        ([1, "a"], "[1, 'a']"),
        ({"a": 1}, "{'a': 1}"),
        (b"caf\xe9", "caf\\xe9"),
        (ValueError("bad"), "bad"),
        (Broken(), "<Broken: no text: RuntimeError>"),
    ],
)
def test_any_value_can_be_a_field(value: Any, shown: Any) -> None:
    assert parsed(line("json", value=value))["value"] == shown
    assert " value=" in line("text", value=value)


def test_fields_do_not_replace_what_each_line_has() -> None:
    fields = dict.fromkeys(OWN_FIELDS, "forged")
    text = log_line(
        "json", seconds=0, level="INFO", component="", logger="l", message="m", fields=fields
    )

    found = parsed(text)
    assert (found["time"], found["logger"]) == ("1970-01-01T00:00:00.000Z", "l")
    assert "forged" not in str(found)


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize(
    "text",
    [
        "redis://user:CANARY@redis:6379/0 is away",
        "redis://:CANARY@redis:6379/0",
        "Authorization: Bearer CANARY.CANARY",
        "{'Authorization': 'Basic CANARY=='}",
        "GET https://s3/b/k?X-Amz-Signature=CANARY&X-Amz-Security-Token=CANARY",
        "GET https://s3/b/k?AWSAccessKeyId=CANARY&Signature=CANARY&Expires=1",
        "POST https://hooks.example.com/job?id=7&access_token=CANARY is away",
        "with url: /v1/traces?api-key=CANARY (Caused by",
        "https://CANARY@hooks.example.com/job is away",
        "https://user:CANARY?CANARY@hooks.example.com/job is away",
    ],
)
def test_credentials_are_hidden(style: str, text: str) -> None:
    assert "CANARY" not in line(style, text, text, why=text)
    assert "CANARY" not in line(style, text + "x" * 100_000, text + "x" * 100_000)


@pytest.mark.parametrize("before", range(MESSAGE_CHARS - 60, MESSAGE_CHARS + 60, 7))
def test_a_cut_leaves_no_part_of_a_credential(before: int) -> None:
    secret = " redis://user:CANARY-CANARY-CANARY@redis "
    head, tail = EXCEPTION_CHARS // 4, EXCEPTION_CHARS - EXCEPTION_CHARS // 4
    shift = before - MESSAGE_CHARS
    text = "x" * before + secret + "y" * 20_000
    trace = "x" * (head + shift) + secret + "y" * 20_000 + secret + "z" * (tail + shift)

    assert "CAN" not in line("json", text, trace)
    assert "ARY" not in line("json", text, trace)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/key@2",
        "https://host/path?a=b",
        "https://host?mail=a@b.c",
        "https://host/path?key=data/a.csv&tokens=7",
        "basic tests",
        "a bearer of news",
    ],
)
def test_what_is_no_credential_is_shown(text: str) -> None:
    assert parsed(line("json", text))["message"] == text


HOSTILE_REPEATS = ("://" + ":" * 8000, "?" * 8000, "?token" * 1300, "bearer" + " " * 8000)


def test_no_text_makes_the_search_for_credentials_slow() -> None:
    """The limit is far above what these lines need, and far below what a backtracking needs."""
    program = f"""
import resource
from nanogrid.log_line import log_line
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
for text in {HOSTILE_REPEATS!r} * 200:
    log_line("json", seconds=0, level="INFO", component="", logger="", message=text,
             fields=dict(), exception=text)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("environ", "options", "found"),
    [
        ({}, (None, None), ("text", "INFO")),
        ({"NANOGRID_LOG_FORMAT": "json", "NANOGRID_LOG_LEVEL": "debug"}, (None, None),
         ("json", "DEBUG")),
        ({"NANOGRID_LOG_FORMAT": "json", "NANOGRID_LOG_LEVEL": "DEBUG"}, ("text", "ERROR"),
         ("text", "ERROR")),
        ({"NANOGRID_LOG_FORMAT": "xml", "NANOGRID_LOG_LEVEL": "CHATTY"}, (None, None),
         ("text", "INFO")),
    ],
)  # fmt: skip
def test_options_win_over_the_environment(
    environ: dict[str, str], options: tuple[str | None, str | None], found: tuple[str, str]
) -> None:
    assert chosen(environ, *options) == found
