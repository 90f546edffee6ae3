"""Patterns of output paths."""

import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.globs import MAX_ALTERNATIVES, expand, translate


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
        ("*.{csv,json}", ["a.csv", "b.json"], ["a.txt", "a.{csv,json}", "d/a.csv"]),
        ("**/*.{png,svg}", ["a.png", "x/y/b.svg"], ["a.pdf"]),
        ("{a,b/c}/*.txt", ["a/x.txt", "b/c/x.txt"], ["b/x.txt", "c/x.txt"]),
        ("{a,b/**}", ["a", "b/c", "b/c/d"], ["b", "c"]),
        ("r.tar{,.gz}", ["r.tar", "r.tar.gz"], ["r.tar.xz"]),
        ("{a,{b,c}d}e", ["ae", "bde", "cde"], ["be", "ade"]),
        ("{매출,비용}.csv", ["매출.csv", "비용.csv"], ["손익.csv"]),
        ("{a}", ["{a}"], ["a"]),
        ("{a,b", ["{a,b"], ["a", "b"]),
        ("a,b}", ["a,b}"], ["a", "b"]),
        ("{}", ["{}"], [""]),
        ("{x{a,b}", ["{xa", "{xb"], ["xa"]),
        ("{1..3}", ["{1..3}"], ["1", "2"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [path for path in yes if not matches(pattern, path)] == []
    assert [path for path in no if matches(pattern, path)] == []


def test_braces_are_expanded_in_their_order() -> None:
    assert expand("{b,a}{1,2}") == ["b1", "b2", "a1", "a2"]
    assert expand("plain/*") == ["plain/*"]


@pytest.mark.parametrize("pattern", ["{a,b}" * 7, "{" + "x," * 64 + "}", "{a,b}" * 51])
def test_too_many_alternatives_are_an_error(pattern: str) -> None:
    with pytest.raises(ValueError, match=f"more than {MAX_ALTERNATIVES} patterns"):
        translate(pattern)
    assert len(expand("{a,b}" * 6)) == MAX_ALTERNATIVES


# With one scan for each brace, the operator would need minutes for a job with such patterns.
@pytest.mark.parametrize(
    ("tail", "literal"),
    [("{" * 226, "{" * 226), ("{," * 113, "{," * 113), ("{}" * 113, "{}" * 113), (",}" * 113,) * 2],
)
def test_many_braces_that_are_no_alternatives_are_read_once(tail: str, literal: str) -> None:
    found = expand("{a,b}" * 6 + tail)
    assert len(found) == MAX_ALTERNATIVES
    assert (found[0], found[-1]) == ("a" * 6 + literal, "b" * 6 + literal)


def test_alternatives_inside_braces_that_do_not_close() -> None:
    assert expand("{x{a,b},y{c,d}") == ["{xa,yc", "{xa,yd", "{xb,yc", "{xb,yd"]
    assert expand("{a,{b,c}") == ["{a,b", "{a,c"]
    assert expand("}{{a,b}},{c,{d,}}") == [
        f"}}{{{one}}},{two}" for one in "ab" for two in ("c", "d", "")
    ]


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
    path = "/".join(re.sub(r"[*?\[\]{}]", "x", part) for part in parts)
    assert matches(path, path)
    assert not matches(path, path + "x")
    assert not matches(path, f"x/{path}")


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_pattern_compiles(pattern: str, path: str) -> None:
    matches(pattern, path)


# A search that comes back to each star would need years for these.
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("**/" * 20 + "*a*a*a*a*b", "/".join(["a" * 40] * 20)),
        ("*a" * 120 + "b", "a" * 255),
        ("*?" * 120 + "b", "a" * 255),
        ("**/a/" * 50 + "b", "/".join("a" * 32)),
        ("{*a,*b}" * 6 + "*a" * 60 + "c", "a" * 255),
    ],
)
def test_a_pattern_with_many_wildcards_is_fast(pattern: str, path: str) -> None:
    assert not matches(pattern, path)


@given(
    st.lists(st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", "/", "**/"]), max_size=9),
    st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=5),
)
def test_a_pattern_matches_what_a_plain_search_finds(tokens: list[str], parts: list[str]) -> None:
    pattern = "".join(tokens)
    whole = f"{pattern}**" if pattern.endswith("/") else pattern
    wanted = [part for part in whole.split("/") if part]
    assert matches(pattern, "/".join(parts)) == found_by_search(wanted, parts)


def found_by_search(wanted: list[str], parts: list[str]) -> bool:
    """The meaning of a pattern, by trying everything."""
    if not wanted:
        return not parts
    if wanted == ["**"]:
        return bool(parts)
    if wanted[0] == "**":
        return any(found_by_search(wanted[1:], parts[at:]) for at in range(len(parts) + 1))
    return (
        bool(parts) and fnmatchcase(parts[0], wanted[0]) and found_by_search(wanted[1:], parts[1:])
    )
