"""Patterns of output paths."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid_executor.outputs.globs import matcher, translate


def matches(pattern: str, path: str) -> bool:
    return re.fullmatch(translate(pattern), path) is not None


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.csv", ["a.csv", ".csv", "매출.csv", "a\nb.csv"], ["a/b.csv", "a.csv.gz", "a.CSV"]),
        ("**/*.csv", ["a.csv", "a/b.csv", "a/b/c.csv"], ["a/b.txt"]),
        ("**", ["a", "a/b", "a\nb/c"], []),
        ("a/**", ["a/b", "a/b/c"], ["a", "ab/c", "b/a/c"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/xb", "b", "a/b/c"]),
        ("**/a/**/b", ["a/b", "x/a/b", "x/a/y/b"], ["b", "xa/b"]),
        ("a/", ["a/b", "a/b/c"], ["a"]),
        ("./a", ["a"], ["./a"]),
        ("/a", ["a"], ["b/a"]),
        ("a?c", ["abc", "a한c"], ["ac", "a/c"]),
        ("[ab].x", ["a.x", "b.x"], ["c.x", "ab.x"]),
        ("[!ab].x", ["c.x"], ["a.x", "/.x"]),
        ("[a-c]1", ["a1", "b1"], ["d1"]),
        ("[]]", ["]"], ["a"]),
        ("[", ["["], ["a"]),
        ("[a", ["[a"], ["a"]),
        ("[z-a]", [], ["z", "a", "-"]),
        ("a**b", ["ab", "axxb"], ["a/b"]),
        ("**/**/**/x", ["x", "a/x", "a/b/c/d/x"], ["y"]),
        ("a.b+c(d)", ["a.b+c(d)"], ["aXb+c(d)"]),
        ("*", ["a", ".hidden"], ["a/b"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [path for path in yes if not matches(pattern, path)] == []
    assert [path for path in no if matches(pattern, path)] == []


names = st.text(st.characters(exclude_characters="/", exclude_categories=["Cs"]), min_size=1)
paths = st.lists(names.filter(lambda n: n not in (".", "..")), min_size=1, max_size=5)


@given(paths)
def test_a_star_for_each_part(parts: list[str]) -> None:
    path = "/".join(parts)
    assert matches("/".join("*" for _ in parts), path)
    assert matches("**", path)
    assert matches(f"**/{'*'}", path)
    assert not matches("/".join("*" for _ in [*parts, ""]), path)


@given(paths)
def test_a_path_without_wildcards_matches_only_itself(parts: list[str]) -> None:
    path = "/".join(re.sub(r"[*?\[\]]", "x", part) for part in parts)
    assert matches(path, path)
    assert not matches(path, path + "x")
    assert not matches(path, f"x/{path}")


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_pattern_compiles(pattern: str, path: str) -> None:
    matches(pattern, path)


@given(paths, st.lists(names, max_size=3), st.lists(names, max_size=3))
def test_exclude_wins(parts: list[str], include: list[str], exclude: list[str]) -> None:
    path = "/".join(parts)
    assert not matcher([*include, "**"], [*exclude, "**"])(path)
    assert matcher([], [])(path)
    if matcher(include, exclude)(path):
        assert matcher([], exclude)(path)


def test_a_pattern_with_many_stars_is_fast() -> None:
    assert not matches("**/" * 20 + "*a*a*a*a*b", "/".join(["a" * 40] * 20))
