"""The keys that a job may name: their spelling, and their place below the root."""

import unicodedata

import pytest

from nanogrid.tenant_keys import RESERVED, Use, place_fault, spelling_fault, within

pytestmark = pytest.mark.security


@pytest.mark.parametrize(
    "key",
    [
        "team-b/data/sales.csv",
        "team-b/판매/9월 보고서 (1).csv",
        unicodedata.normalize("NFD", "team-b/판매.csv"),  # as macOS writes it
        "team-b/a.b/..c/d..e/.hidden",
        "team-b/100%/50%",
        "team-b/a?b#c&d=e+f@g:h,i;j!k'l*(m)~n",
        "team-b/" + "x" * 1017,
    ],
)
def test_ordinary_keys_are_accepted(key: str) -> None:
    assert spelling_fault(key, folder=False) == ""
    assert spelling_fault(f"{key[:1000]}/", folder=True) == ""


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "empty"),
        ("/team-b/x", "begins with a slash"),
        ("team-b/x/", "use prefix"),
        ("team-b//x", "empty, '.' or '..' part"),
        ("team-b/./x", "empty, '.' or '..' part"),
        ("team-b/../x", "empty, '.' or '..' part"),
        ("..", "empty, '.' or '..' part"),
        ("team-b/.../x", "dots, spaces and invisible"),
        ("team-b/.. /x", "dots, spaces and invisible"),
        ("team-b/ x", "begins or ends with a space"),
        ("team-b\\x", "backslash"),
        ("team-b/%2E%2e/x", "percent-encoded"),
        ("team-b%2fx", "percent-encoded"),
        ("team-b/%252e/x", "percent-encoded"),
        ("team-b/%c0%ae/x", "percent-encoded"),
        ("team-b/%u002e/x", "percent-encoded"),
        ("team-b/\uff0e\uff0e/x", "read as a dot"),
        ("team-b/\u2025/x", "read as a dot"),
        ("team-b\uff0fx", "read as a dot, a slash"),
        ("team-b\u2215x", "read as a dot, a slash"),
        ("team-b/\uff05x", "percent sign"),
        ("team-b/\x00x", "control"),
        ("team-b/x\n", "control"),
        ("team-b/\u200b", "dots, spaces and invisible characters only"),
        ("team-b/\u200b./x", "dots, spaces and invisible characters only"),
        ("team-b/\u00a0/x", "dots, spaces and invisible characters only"),
        ("team-b/\ud800x", "surrogate U+D800 in place 8"),
        ("team-b/" + "값" * 340, "1,024 bytes"),
    ],
)
def test_spellings_that_may_change_are_refused(key: str, why: str) -> None:
    assert why in spelling_fault(key, folder=False)


@pytest.mark.parametrize(
    ("name", "root", "inside"),
    [
        ("team-b/x", "team-b/", True),
        ("team-b/", "team-b/", True),
        ("team-b", "team-b/", True),
        ("team-bx", "team-b/", False),
        ("team", "team-b/", False),
        ("x/team-b/y", "team-b/", False),
        ("Team-b/x", "team-b/", False),
        ("anything", "", True),
        ("teams/b/x", "teams/b/", True),
        ("teams/bb/x", "teams/b/", False),
    ],
)
def test_a_root_is_a_folder(name: str, root: str, inside: bool) -> None:
    assert within(name, root) is inside


def fault(name: str, use: Use, root: str = "b/", folder: bool = True, **more: object) -> str:
    given = {"request_id": "r-1", **more}
    return place_fault(name, use, root=root, folder=folder, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("root", ["b/", "", "teams/b/"])
@pytest.mark.parametrize(
    ("name", "use", "refused"),
    [
        ("data/", Use.INPUT, False),
        ("resultset/x/", Use.INPUT, False),
        ("code/x/", Use.INPUT, False),
        ("outputs/", Use.INPUT, False),
        ("outputs/r-2/", Use.INPUT, False),
        ("functions/f/inputs/r-1/", Use.INPUT, False),
        ("functions/f/", Use.INPUT, True),
        ("functions/", Use.INPUT, True),
        ("functions", Use.INPUT, True),
        ("results/", Use.INPUT, True),
        ("results/r-1/", Use.INPUT, True),
        ("Results/r-1/", Use.INPUT, True),
        ("\uff52esults/r-1/", Use.INPUT, True),
        ("results./r-1/", Use.INPUT, True),
        ("sessions/r-1/input/", Use.INPUT, True),
        ("layers/x/", Use.INPUT, True),
        ("mine/", Use.TARGET, False),
        ("mine/results/", Use.TARGET, False),
        ("outputs/r-1/", Use.TARGET, False),
        ("outputs/r-1/deeper/", Use.TARGET, False),
        ("outputs/r-2/", Use.TARGET, True),
        ("outputs/r-11/", Use.TARGET, True),
        ("outputs/", Use.TARGET, True),
        ("Outputs/r-1/", Use.TARGET, True),
        ("sessions/r-1/artifacts/", Use.TARGET, True),
        *((f"{folder}/x/", Use.TARGET, True) for folder in RESERVED),
    ],
)
def test_reserved_folders(root: str, name: str, use: Use, refused: bool) -> None:
    assert bool(fault(root + name, use, root)) is refused


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("mine/v1.zip", False),
        ("code/v1.zip", False),
        ("functions/f/v1.zip", False),
        ("functions/f/inputs/r-1/x/input.json", True),
        ("outputs/r-1/v1.zip", True),
        ("results/r-1/v1.zip", True),
        ("sessions/r-1/v1.zip", True),
        ("layers/v1.zip", True),
    ],
)
def test_code(name: str, refused: bool) -> None:
    assert bool(fault(f"b/{name}", Use.CODE, folder=False)) is refused


@pytest.mark.parametrize("use", list(Use))
def test_the_whole_root_is_refused_because_it_contains_reserved_folders(use: Use) -> None:
    assert "whole root" in fault("b/", use)
    assert "whole root" in fault("b", use)
    assert "whole root" in fault("b", use, folder=False)


@pytest.mark.parametrize(
    ("name", "use", "refused"),
    [
        ("sessions/r-1/input/", Use.INPUT, False),
        ("sessions/r-1/", Use.INPUT, False),
        ("sessions/r-2/input/", Use.INPUT, True),
        ("sessions/", Use.INPUT, True),
        ("sessions/r-1/artifacts/", Use.TARGET, False),
        ("sessions/r-1/debug/", Use.TARGET, True),
        ("sessions/r-2/artifacts/", Use.TARGET, True),
    ],
)
def test_a_session_has_its_own_folder(name: str, use: Use, refused: bool) -> None:
    assert bool(fault(f"b/{name}", use, session=True)) is refused
    assert fault(f"b/{name}", use), "a batch job has none"


FOREIGN = ("team-a/", "teams/x/", "shop/")


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("data/", False),
        ("team/", False),
        ("team-ab/", False),
        ("teams/y/", False),
        ("team-a/", True),
        ("team-a", True),
        ("team-a/results/r/", True),
        ("Team-A/x/", True),
        ("teams/x/y/", True),
        ("teams/", True),
        ("teams", True),
    ],
)
@pytest.mark.parametrize("use", [Use.INPUT, Use.TARGET])
def test_the_empty_root_does_not_reach_other_roots(name: str, use: Use, refused: bool) -> None:
    found = fault(name, use, root="", foreign_roots=FOREIGN)
    assert ("root of another namespace" in found) is refused


def test_an_object_that_has_the_name_of_a_folder_is_not_in_a_root_below_it() -> None:
    assert fault("teams", Use.CODE, "", False, foreign_roots=FOREIGN) == ""


def test_a_root_inside_another_root_keeps_its_own_keys() -> None:
    foreign = ("", "teams/")
    assert fault("teams/b/data/", Use.INPUT, "teams/b/", foreign_roots=foreign) == ""
