"""Decision records: number, title, date, status and the three sections; all are in the index."""

import re
from datetime import date
from pathlib import Path

import pytest

FOLDER = Path("docs/decisions")
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
NUMBERS = [path.name[:3] for path in RECORDS]
HEAD = re.compile(r"# (\d{3}): (.+)\n\nDate: (\d{4}-\d{2}-\d{2})\nStatus: (.+)\n\n")
STATUS = re.compile(r"accepted|superseded by (\d{3})")
ROW = re.compile(r"\| (\d{3}) \| \[(.+)\]\((.+)\) \| (.+) \| (.+) \|")


def head(path: Path) -> tuple[str, str, str, str]:
    """Number, title, date and status of a record."""
    found = HEAD.match(path.read_text(encoding="utf-8"))
    assert found, f"{path} does not begin with number, title, date and status"
    return found[1], found[2], found[3], found[4]


def test_numbers_begin_at_one_and_have_no_gap() -> None:
    assert [f"{number:03}" for number in range(1, len(RECORDS) + 1)] == NUMBERS


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_number_title_date_and_status(path: Path) -> None:
    number, title, day, status = head(path)

    assert re.fullmatch(rf"{number}-[a-z0-9]+(-[a-z0-9]+)*", path.stem)
    assert not title.endswith(".")
    assert date.fromisoformat(day).isoformat() == day
    assert STATUS.fullmatch(status)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_the_three_sections_and_each_has_text(path: Path) -> None:
    sections = re.split(r"^## (.+)\n", path.read_text(encoding="utf-8"), flags=re.M)[1:]

    assert sections[::2] == ["Context", "Decision", "Consequences"]
    assert all(text.strip() for text in sections[1::2])


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_superseded_record_names_a_later_one(path: Path) -> None:
    number, *_, status = head(path)
    found = STATUS.fullmatch(status)

    assert found
    assert found[1] is None or (found[1] in NUMBERS and found[1] > number)


def test_the_index_has_every_record_in_order() -> None:
    rows = ROW.findall((FOLDER / "README.md").read_text(encoding="utf-8"))
    expected = []
    for path in RECORDS:
        number, title, day, status = head(path)
        expected.append((number, title, path.name, day, status))

    assert rows == expected
