"""Which outputs the patterns select, and what is said about patterns that match nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid_executor.outputs.selection import NOTE_BYTES, Selection
from support.s3_server import make_rules

FILES = ["a.csv", "b.csv", "deep/c.csv", "log.txt"]
names = st.text(st.characters(exclude_characters="/{}", exclude_categories=["Cs"]), min_size=1)
paths = st.lists(names.filter(lambda n: n not in (".", "..")), min_size=1, max_size=5)


def select(
    include: list[str], exclude: list[str] | None = None, path: str = "output"
) -> tuple[list[str], str]:
    selection = Selection(make_rules(include=include, exclude=exclude or [], path=path))
    return [file for file in FILES if selection.wants(file)], selection.note()


@pytest.mark.parametrize(
    ("include", "exclude", "stored"),
    [
        ([], [], FILES),
        (["*.csv"], [], ["a.csv", "b.csv"]),
        (["*.{csv,txt}"], [], ["a.csv", "b.csv", "log.txt"]),
        (["**/*.csv"], ["deep/**"], ["a.csv", "b.csv"]),
        ([], ["{a,b}.csv"], ["deep/c.csv", "log.txt"]),
        ([], ["*.bak", "**/__pycache__/**"], FILES),
    ],
)
def test_rules_that_work_need_no_note(
    include: list[str], exclude: list[str], stored: list[str]
) -> None:
    assert select(include, exclude) == (stored, "")


@pytest.mark.parametrize(
    ("include", "path", "told"),
    [
        (["output/*.csv"], "output", "relative to output/, so write '*.csv'"),
        (["./output/deep/"], "output", "relative to output/, so write 'deep/'"),
        (["out/put/**/*.csv"], "./out//put", "relative to out/put/, so write '**/*.csv'"),
        (["*.CSV"], "output", "'*.CSV' matches no file: upper and lower case must match."),
        (["output/*.CSV"], "output", "upper and lower case must match"),
        (["c.csv"], "output", "it has no folder, so write '**/c.csv'"),
        (["*.parquet"], "output", "The pattern '*.parquet' matches no file."),
    ],
)
def test_a_pattern_without_a_match_is_explained(include: list[str], path: str, told: str) -> None:
    stored, note = select(include, path=path)

    assert stored == []
    assert note.startswith("4 files match no include pattern: a.csv, b.csv, deep/c.csv, ….")
    assert told in note


def test_one_pattern_of_two_matches_nothing() -> None:
    stored, note = select(["*.csv", "**/*.TXT", "deep/*"])

    assert stored == ["a.csv", "b.csv", "deep/c.csv"]
    assert note == (
        "1 file matches no include pattern: log.txt. "
        "The pattern '**/*.TXT' matches no file: upper and lower case must match."
    )


def test_files_that_are_excluded_are_not_counted() -> None:
    assert select(["*.json"], ["**"]) == ([], "")


@pytest.mark.parametrize("exclude", ["output/log.txt", "LOG.*"])
def test_an_exclude_pattern_that_misses_its_file_is_named(exclude: str) -> None:
    stored, note = select([], [exclude])

    assert stored == FILES
    assert note.startswith(f"The exclude pattern {exclude!r} matches no file: ")


def test_no_files_need_no_note() -> None:
    assert Selection(make_rules(include=["output/*"])).note() == ""


def test_the_note_is_one_short_line() -> None:
    selection = Selection(make_rules(include=["x" * 250 + str(n) for n in range(32)]))
    assert [selection.wants(f"{n}\n" + "y" * 900) for n in range(2000)] == [False] * 2000

    note = selection.note()

    assert note.startswith("2000 files match no include pattern: ")
    assert note.isprintable()
    assert len(note.encode()) <= NOTE_BYTES


@given(paths, st.lists(names, max_size=3), st.lists(names, max_size=3))
def test_exclude_wins(parts: list[str], include: list[str], exclude: list[str]) -> None:
    path = "/".join(parts)

    def wants(include: list[str], exclude: list[str]) -> bool:
        selection = Selection(make_rules(include=include, exclude=exclude))
        found = selection.wants(path)
        selection.note()
        return found

    assert not wants([*include, "**"], [*exclude, "**"])
    assert wants([], [])
    if wants(include, exclude):
        assert wants([], exclude)
