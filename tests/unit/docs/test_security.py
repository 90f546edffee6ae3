"""docs/security.md: every threat has a state and tests, and `make security` runs all of them."""

import re
from pathlib import Path

import pytest

PAGE = Path("docs/security.md")
TEXT = PAGE.read_text(encoding="utf-8")
ROW = re.compile(r"^\| (T\d+) \| (.+) \| (.+) \| (.+) \| (.+) \|$", re.M)
ROWS = {row[0]: row[1:] for row in ROW.findall(TEXT)}
MARKER = "security"
STATES = ("done", "partly", "not protected")
FILES = {f"tests/{path}" for path in re.findall(r"`tests/([\w/]+\.(?:py|json))`", TEXT)}
TESTS = sorted(path for path in FILES if Path(path).name.startswith("test_"))
MARKED = {
    str(path)
    for path in Path("tests").rglob("test_*.py")
    if f"pytest.mark.{MARKER}" in path.read_text(encoding="utf-8")
}


def test_the_threats_are_numbered_without_a_gap() -> None:
    assert list(ROWS) == [f"T{number}" for number in range(1, len(ROWS) + 1)]
    assert len(ROWS) >= 28


@pytest.mark.parametrize("threat", ROWS)
def test_a_threat_has_a_state_and_tests(threat: str) -> None:
    *_, tests, state = ROWS[threat]

    assert state.startswith(STATES)
    assert state.startswith("not protected") or "`tests/" in tests


def test_every_path_exists() -> None:
    top = "executor-image|gateway|operator|sdk|tests"
    paths = set(re.findall(rf"`((?:{top})/[\w./-]+)`", TEXT))

    assert paths > FILES
    assert [path for path in sorted(paths) if not Path(path).exists()] == []


def test_make_security_runs_the_tests_of_the_threats_and_no_others() -> None:
    named = {path for path in TESTS if any(path in row[2] for row in ROWS.values())}

    assert len(named) > 50
    assert named == MARKED


def test_links_lead_to_files_and_headings() -> None:
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", TEXT)

    assert len(links) > 20
    for file, anchor in links:
        target = PAGE.parent / file if file else PAGE
        assert target.exists(), file
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
        anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in headings}
        assert not anchor or anchor in anchors, f"{file}#{anchor}"
