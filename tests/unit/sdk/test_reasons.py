"""Every reason has a meaning and a hint, in complete sentences."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.reasons import HELP, Reason, reasons_markdown, sentence
from support.builders import ROOT


def test_the_table_has_exactly_the_reasons() -> None:
    assert set(HELP) == set(Reason)
    assert len(HELP) == len(Reason)


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_a_camel_case_word_as_conditions_require(reason: Reason) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]{2,63}", reason.value)


@pytest.mark.parametrize("reason", Reason)
def test_meaning_and_hint_are_complete_sentences(reason: Reason) -> None:
    meaning, hint = HELP[reason]

    assert meaning[0].isupper() or meaning.startswith("spec.")
    assert meaning.endswith(".")
    assert hint.endswith(".")
    assert ";" not in meaning + hint


@pytest.mark.parametrize(
    "detail", ["", "exit code 3", "pods is forbidden: exceeded quota.", " 3 found, 5 expected. "]
)
def test_a_sentence_has_no_double_period_and_no_double_space(detail: str) -> None:
    for reason in Reason:
        text = sentence(reason, detail)

        assert not re.search(r"[^'.]\.\.", text)
        assert "  " not in text
        assert text == text.strip()


def test_the_detail_stands_between_meaning_and_hint() -> None:
    text = sentence(Reason.INPUT_TOO_LARGE, "sales has 5 GiB, at most 1 GiB allowed")

    assert text == (
        "An input is larger than its maxBytes. The code did not run. "
        "sales has 5 GiB, at most 1 GiB allowed. Raise maxBytes, or use a narrower prefix."
    )


@pytest.mark.parametrize("reason", [Reason.COMPLETED, Reason.SYNCING])
def test_a_reason_without_a_useful_hint_gives_its_meaning_only(reason: Reason) -> None:
    assert sentence(reason) == HELP[reason].meaning


@pytest.mark.parametrize("detail", [".", "...", " . "])
def test_a_detail_of_periods_alone_leaves_no_lone_period(detail: str) -> None:
    assert " ." not in sentence(Reason.EVICTED, detail)


@given(st.sampled_from(list(Reason)), st.text(max_size=50))
def test_the_meaning_comes_first_with_every_detail(reason: Reason, detail: str) -> None:
    assert sentence(reason, detail).startswith(HELP[reason].meaning)


def test_the_docs_table_has_a_row_of_three_cells_for_each_reason() -> None:
    rows = [line for line in reasons_markdown().splitlines() if line.startswith("| `")]

    assert [row.split("`")[1] for row in rows] == [reason.value for reason in Reason]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}


def named_in(folder: str) -> set[str]:
    """The members of Reason in the sources below a folder."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py")]
    return {word for text in texts for word in re.findall(r"\bReason\.([A-Z_]+)\b", text)}


def everywhere() -> set[str]:
    """The members of Reason that any component uses."""
    return named_in("operator/src") | named_in("executor-image/src") | named_in("gateway/src")


def test_every_reason_of_the_operator_is_in_the_docs() -> None:
    docs = (ROOT / "docs/reasons.md").read_text(encoding="utf-8")
    used = named_in("operator/src")

    assert len(used) > 30
    assert [n for n in used if f"| `{Reason[n].value}` |" not in docs] == []


def test_every_documented_reason_is_used() -> None:
    used = everywhere()

    assert [reason.value for reason in Reason if reason.name not in used] == []


def test_every_reason_is_used_except_known_ones() -> None:
    used = everywhere()

    assert {reason.name for reason in Reason} - used <= {"BACKOFF_LIMIT_EXCEEDED"}


def test_the_docs_on_disk_are_up_to_date() -> None:
    on_disk = (ROOT / "docs/reasons.md").read_text(encoding="utf-8")

    assert on_disk == reasons_markdown()
