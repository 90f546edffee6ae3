"""Every reason says what happened and how to mend it, in sentences that read well."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.reasons import HELP, Reason, reasons_markdown, sentence
from unit.builders import ROOT


def test_every_reason_has_its_help_and_nothing_else_has() -> None:
    assert set(HELP) == set(Reason)
    assert len(HELP) == len(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_one_camel_case_word_as_conditions_want_it(reason: Reason) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]{2,63}", reason.value)


@pytest.mark.parametrize("reason", Reason)
def test_meaning_is_a_whole_sentence_and_there_is_a_cure(reason: Reason) -> None:
    meaning, cure = HELP[reason]

    assert meaning[0].isupper() or meaning.startswith("spec.")
    assert meaning.endswith(".")
    assert cure


@pytest.mark.parametrize(
    "detail", ["", "exit code 3", "pods is forbidden: exceeded quota.", " 3 found, 5 expected. "]
)
def test_a_sentence_has_no_double_period_and_no_double_space(detail: str) -> None:
    for reason in Reason:
        text = sentence(reason, detail)

        assert not re.search(r"[^'.]\.\.", text)
        assert "  " not in text
        assert text == text.strip()


def test_the_detail_stands_between_what_happened_and_the_cure() -> None:
    text = sentence(Reason.INPUT_TOO_LARGE, "sales has 5 GiB, at most 1 GiB allowed")

    assert text == (
        "An input is larger than its maxBytes; the code did not run. "
        "sales has 5 GiB, at most 1 GiB allowed. Raise maxBytes, or narrow the prefix."
    )


@pytest.mark.parametrize("reason", [Reason.COMPLETED, Reason.SYNCING])
def test_what_needs_no_cure_advises_nothing(reason: Reason) -> None:
    assert sentence(reason) == HELP[reason].meaning


@pytest.mark.parametrize("detail", [".", "...", " . "])
def test_a_detail_of_periods_alone_leaves_no_lone_period(detail: str) -> None:
    assert " ." not in sentence(Reason.EVICTED, detail)


@given(st.sampled_from(list(Reason)), st.text(max_size=50))
def test_whatever_the_detail_the_meaning_comes_first(reason: Reason, detail: str) -> None:
    assert sentence(reason, detail).startswith(HELP[reason].meaning)


def test_the_docs_table_has_a_row_of_three_cells_for_each_reason() -> None:
    rows = [line for line in reasons_markdown().splitlines() if line.startswith("| `")]

    assert [row.split("`")[1] for row in rows] == [reason.value for reason in Reason]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}


def named_in(folder: str) -> set[str]:
    """The members of Reason that the sources below a folder name."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py")]
    return {word for text in texts for word in re.findall(r"\bReason\.([A-Z_]+)\b", text)}


def everywhere() -> set[str]:
    """The members of Reason that any component gives."""
    return named_in("operator/src") | named_in("executor-image/src") | named_in("gateway/src")


def test_a_reason_that_the_operator_gives_is_in_the_docs() -> None:
    docs = (ROOT / "docs/reasons.md").read_text(encoding="utf-8")
    given_names = named_in("operator/src")

    assert len(given_names) > 30
    assert [n for n in given_names if f"| `{Reason[n].value}` |" not in docs] == []


def test_a_reason_that_is_documented_can_be_given() -> None:
    given_names = everywhere()

    assert [reason.value for reason in Reason if reason.name not in given_names] == []


def test_no_other_reason_is_documented_in_vain() -> None:
    given_names = everywhere()

    assert {reason.name for reason in Reason} - given_names <= {"BACKOFF_LIMIT_EXCEEDED"}


def test_the_docs_on_disk_are_up_to_date() -> None:
    on_disk = (ROOT / "docs/reasons.md").read_text(encoding="utf-8")

    assert on_disk == reasons_markdown()
