"""All log calls of all packages: what a call may say itself, and what it leaves to the fields.

The fields of a job come from the context. A call that names the job in its text would show it in
one form and hide it in the other, so none does.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from nanogrid.log_line import JOB_FIELDS, LEVELS, OWN_FIELDS

ROOT = Path(__file__).parents[2]
SOURCES = ("operator/src", "gateway/src", "sdk/src", "executor-image/src")
EXECUTOR = "executor-image/src"
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
EVENTS = {"log", "warn", "write"}  # of nanogrid_executor.log
# A text that names a job: its fields do that.
NAMES_A_JOB = re.compile(
    r"uid=|\bjob %|requestId|request_id|(?<!://)(?<!ConfigMap )%s/%s|attempt %"
)
# What these print is the result of a command, or the user's output.
MAY_PRINT = re.compile(
    r"sdk/src/nanogrid/(cli|codegen)/|/launcher/|gateway/src/nanogrid_gateway/web/snippets"
)
IMPORTS_WORK = (
    "operator/src/nanogrid_operator/__main__.py",
    "gateway/src/nanogrid_gateway/command_line.py",
)


class Call(NamedTuple):
    """A call that writes a log line."""

    file: str
    node: ast.Call

    @property
    def where(self) -> str:
        return f"{self.file}:{self.node.lineno}"

    @property
    def text(self) -> ast.expr:
        """The message, or the name of the event."""
        skipped = self.node.args[1:] if self._level_is_first else self.node.args
        return skipped[0]

    @property
    def _level_is_first(self) -> bool:
        function = self.node.func
        name = function.attr if isinstance(function, ast.Attribute) else ast.unparse(function)
        return name == "write" or (isinstance(function, ast.Attribute) and name == "log")


def trees() -> Iterator[tuple[str, ast.Module]]:
    for source in SOURCES:
        for path in sorted((ROOT / source).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def calls() -> list[Call]:
    found = []
    for file, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            function = node.func
            if isinstance(function, ast.Attribute) and function.attr in METHODS:
                if isinstance(function.value, ast.Name) and function.value.id == "log":
                    found.append(Call(file, node))
            elif (
                file.startswith(EXECUTOR)
                and "/launcher/" not in file
                and not file.endswith("/nanogrid_executor/log.py")
                and isinstance(function, ast.Name)
                and function.id in EVENTS
            ):
                found.append(Call(file, node))
    return found


ALL = calls()
BY_PLACE = pytest.mark.parametrize("call", ALL, ids=[call.where for call in ALL])


def test_the_calls_of_all_packages_are_found() -> None:
    for source in SOURCES:
        assert len([c for c in ALL if c.file.startswith(source)]) >= 2, source
    assert len(ALL) > 150


@BY_PLACE
def test_a_text_is_constant_and_leaves_the_job_to_the_fields(call: Call) -> None:
    text = call.text
    if call.file.endswith("session/api/server.py") and isinstance(text, ast.Name):
        return  # a message of the server's library
    assert isinstance(text, ast.Constant), "values belong into arguments"
    assert isinstance(text.value, str)
    assert not NAMES_A_JOB.search(text.value)
    if call.file.startswith(EXECUTOR):
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", text.value), "the name of an event"


@BY_PLACE
def test_no_value_takes_the_place_of_a_field_that_each_line_has(call: Call) -> None:
    given = {keyword.arg for keyword in call.node.keywords} - {
        "exc_info",
        "extra",
        "error",
        "logger",
    }
    assert not given & {*JOB_FIELDS, *OWN_FIELDS}


@BY_PLACE
def test_an_error_that_is_unexpected_has_its_traceback(call: Call) -> None:
    """A line says `failed` or `unexpected` about an error that only its traceback explains."""
    text = call.text
    if not (isinstance(text, ast.Constant) and re.search("unexpected", str(text.value))):
        return
    named = {keyword.arg for keyword in call.node.keywords}
    method = call.node.func.attr if isinstance(call.node.func, ast.Attribute) else ""
    assert "exc_info" in named or method == "exception"


def test_loggers_are_named_after_the_platform() -> None:
    found = 0
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger":
                if not node.args or not isinstance(node.args[0], ast.Constant):
                    continue
                name = node.args[0].value
                assert name.startswith(("nanogrid", "aiohttp", "kopf")), f"{file}: {name}"
                found += 1
    assert found > 20


def test_no_program_prints_in_place_of_a_log() -> None:
    for file, tree in trees():
        printed = [
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        ]
        if file in IMPORTS_WORK:  # the answer to --check
            assert len(printed) == 1, file
        elif not MAY_PRINT.search(file):
            assert printed == [], file


def test_levels_are_those_of_logging() -> None:
    import logging

    assert [logging.getLevelName(each) for each in LEVELS] == [10, 20, 30, 40]
