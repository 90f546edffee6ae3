"""The Korean documents keep in step: the same reasons in the same order, the same code blocks."""

import re
from pathlib import Path

import pytest

from nanogrid.reasons import HELP, Reason, sentence

REASONS = Path("docs/ko/reasons.md")
HANGUL = re.compile(r"[가-힣]")
# English page and its Korean translation.
PAGES = {"README.md": "docs/ko/README.md", "docs/quickstart.md": "docs/ko/quickstart.md"}


def rows() -> list[list[str]]:
    """Reason, meaning and hint of each row of the table."""
    lines = REASONS.read_text(encoding="utf-8").splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in cells]


def blocks(page: str) -> list[str]:
    """The code blocks of a page, with their languages."""
    return re.findall(r"^```.*?^```$", Path(page).read_text(encoding="utf-8"), re.DOTALL | re.M)


def test_the_table_has_the_same_reasons_in_the_same_order() -> None:
    assert [row[0] for row in rows()] == [f"`{reason}`" for reason in Reason]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0].strip("`"))
def test_meaning_and_hint_of_a_reason_are_in_korean(row: list[str]) -> None:
    assert len(row) == 3
    assert all(HANGUL.search(cell) for cell in row[1:])


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0].strip("`"))
def test_a_korean_hint_has_every_code_span_of_the_english_one(row: list[str]) -> None:
    spans = re.findall(r"`([^`]+)`", HELP[Reason(row[0].strip("`"))].hint)

    assert [span for span in spans if span not in row[2]] == []


@pytest.mark.parametrize(("english", "korean"), PAGES.items())
def test_a_translated_page_has_the_code_blocks_of_the_english_one(
    english: str, korean: str
) -> None:
    assert blocks(english)
    assert blocks(korean) == blocks(english)
    assert HANGUL.search(Path(korean).read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES.values())
def test_links_of_a_korean_page_lead_to_files(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", Path(page).read_text(encoding="utf-8"))

    assert links
    assert [link for link in links if not (Path(page).parent / link).exists()] == []


@pytest.mark.parametrize("page", ["docs/quickstart.md", "docs/ko/quickstart.md"])
def test_the_quick_start_quotes_the_message_of_the_failed_job(page: str) -> None:
    assert f"\n{sentence(Reason.OOM_KILLED)}\n```" in Path(page).read_text(encoding="utf-8")
