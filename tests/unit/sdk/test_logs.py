"""Logs as JSON: one object per line, with fields of what it is about."""

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from nanogrid.logs import FIELDS, LineFormatter, about, attempt_of, fields_of_job
from nanogrid.types import Json

Lines = io.StringIO


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, Lines]]:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(LineFormatter("json"))
    logger = logging.getLogger("nanogrid.test")
    logger.addHandler(handler)
    yield logger, text
    logger.removeHandler(handler)


def lines(text: Lines) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_a_line_has_time_level_logger_and_message(log: tuple[logging.Logger, Lines]) -> None:
    logger, text = log
    logger.warning("retry in %.1f s", 2)

    (line,) = lines(text)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "WARNING",
        "component": "",
        "logger": "nanogrid.test",
        "message": "retry in 2.0 s",
    }


def test_lines_have_the_fields_that_are_around_them(log: tuple[logging.Logger, Lines]) -> None:
    logger, text = log
    with about({"namespace": "team-a", "job": "sales"}):
        with about({"job": "other"}):
            logger.warning("inner", extra={FIELDS: {"status": 200}})
        logger.warning("outer")
    logger.warning("none")

    inner, outer, none = lines(text)
    assert (inner["namespace"], inner["job"], inner["status"]) == ("team-a", "other", 200)
    assert (outer["job"], "status" in outer) == ("sales", False)
    assert "job" not in none


async def test_tasks_at_the_same_time_have_their_own_fields(
    log: tuple[logging.Logger, Lines],
) -> None:
    logger, text = log

    async def work(job: str) -> None:
        with about({"job": job}):
            for _ in range(3):
                await asyncio.sleep(0)
                logger.warning(job)

    await asyncio.gather(*(work(job) for job in "abc"))

    assert len(lines(text)) == 9
    assert all(line["job"] == line["message"] for line in lines(text))


def test_an_error_has_its_traceback_in_the_same_line(log: tuple[logging.Logger, Lines]) -> None:
    logger, text = log
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("failed")

    (line,) = lines(text)
    assert line["message"] == "failed"
    assert "ValueError: two\nlines" in line["exception"]


def test_text_of_users_adds_no_line_and_no_field(log: tuple[logging.Logger, Lines]) -> None:
    logger, text = log
    forged = 'x", "level": "CRITICAL"}\n{"level": "CRITICAL", "message": "forged"}'
    with about({"path": forged, "level": "CRITICAL"}):
        logger.warning("%s", forged)

    (line,) = lines(text)
    assert (line["level"], line["message"], line["path"]) == ("WARNING", forged, forged)


@pytest.mark.parametrize(("style", "start"), [("json", "{"), ("text", "2")])
def test_a_process_logs_in_the_style_that_is_configured(style: str, start: str) -> None:
    code = (
        "import logging; from nanogrid import logs; "
        f"logs.configure('info', {style!r}); logging.debug('no'); logging.info('yes')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    (line,) = done.stderr.splitlines()
    assert line.startswith(start)
    assert "yes" in line


@pytest.mark.parametrize(
    ("status", "attempt"),
    [
        ({"result": {"attempt": 3}, "attempts": [{"number": 0}]}, 3),
        ({"attempts": [{"number": 0}, {"number": 1}]}, 2),
        ({}, 0),
        (None, 0),
        # No schema says what a result contains.
        ({"result": {"attempt": None}}, 0),
        ({"result": {"attempt": "three"}}, 0),
        ({"result": {"attempt": [1]}}, 0),
        ({"result": {"attempt": 1e300}}, 0),
        ({"result": ["attempt"]}, 0),
        ({"attempts": [{"number": None}]}, 1),
        ({"attempts": [{}]}, 1),
        ({"attempts": ["x"]}, 0),
        ({"attempts": {"number": 1}}, 0),
    ],
)
def test_the_attempt_of_a_status_that_can_be_anything(status: Json, attempt: int) -> None:
    body = {"metadata": {"uid": "u-1", "name": "sales"}, "status": status}

    assert attempt_of(status or {}) == attempt
    assert fields_of_job(body)["attempt"] == attempt
    assert fields_of_job(body)["job"] == "sales"


@pytest.mark.parametrize("part", ["metadata", "spec", "status"])
def test_an_odd_object_still_has_fields(part: str) -> None:
    assert set(fields_of_job({part: "x"})) == set(fields_of_job({}))


@pytest.mark.parametrize(("level", "lines"), [("DEBUG", 2), ("WARNING", 0)])
def test_a_library_logs_no_requests_with_credentials(level: str, lines: int) -> None:
    """A process of its own: the root logger of this one is that of the tests."""
    program = f"""
import logging
from nanogrid import logs
logs.configure({level!r}, "text")
logging.getLogger("nanogrid.test").debug("own line")
for name in logs.QUIET_LIBRARIES:
    logging.getLogger(name + ".request").debug("x-amz-security-token: CANARY")
logging.getLogger("botocore.credentials").info("a line of a library")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stderr.count("line") == lines
    assert "CANARY" not in done.stderr
