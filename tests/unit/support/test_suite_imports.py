"""Suites do not import each other: helpers that two of them use live in tests/support."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
SUITES = ("bench", "chaos", "e2e", "integration", "unit")
FOLDERS = (*SUITES, "support")
# Without one of these, a file has no import that the rule refuses; to parse all files takes 2 s.
SUSPECT = re.compile(rf"\b(?:{'|'.join(SUITES)}|conftest)\b|\bfrom\s+\.")


def imported_modules(path: Path) -> Iterator[str]:
    """The absolute names that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def problem(folder: str, module: str) -> str | None:
    """Why a file below tests/``folder`` may not import this name; None if it may."""
    parts = module.removeprefix("tests.").split(".")
    if module.startswith("."):
        return f"{module} is a relative import"
    if "conftest" in parts:
        return f"{module} is part of a conftest"
    if parts[0] not in SUITES:
        return None
    if parts[0] != folder:
        return f"{module} belongs to the suite {parts[0]}"
    if any(part.startswith("test_") for part in parts):
        return f"{module} is part of a test module"
    return None


@pytest.mark.parametrize("folder", FOLDERS)
def test_modules_import_only_their_own_suite_and_shared_helpers(folder: str) -> None:
    files = sorted((TESTS / folder).rglob("*.py"))
    found = [
        f"{path.relative_to(TESTS)}: {why}"
        for path in files
        if SUSPECT.search(path.read_text())
        for module in imported_modules(path)
        if (why := problem(folder, module))
    ]
    assert files
    assert found == []


@pytest.mark.parametrize(
    ("folder", "module", "allowed"),
    [
        ("chaos", "chaos.lab.kwok.fake_nodes", True),
        ("chaos", "support.kubectl.kubectl", True),
        ("chaos", "cluster.paths.paths", True),
        ("chaos", "e2e.helpers.run", False),
        ("chaos", "tests.unit.builders.a_job", False),
        ("chaos", "chaos.conftest.kill_operator", False),
        ("chaos", ".lab.kwok.fake_nodes", False),
        ("unit", "unit.sdk.test_wire.RESULT", False),
        ("support", "chaos.lab.kwok.fake_nodes", False),
    ],
)
def test_positive_and_negative_controls_of_the_rule(
    folder: str, module: str, allowed: bool
) -> None:
    assert (problem(folder, module) is None) is allowed
    assert allowed or SUSPECT.search(f"from {module} import x")
