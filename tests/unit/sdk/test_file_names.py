"""One rule for the characters of names, for every place that reads or writes files."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nanogrid import archive
from nanogrid.file_names import character_fault
from nanogrid.tenant_keys import spelling_fault
from nanogrid.visible_text import printable
from nanogrid.wire import Input, S3Source
from nanogrid_executor.inputs.plan import SyncError, plan_input
from nanogrid_executor.outputs.walk import walk
from nanogrid_executor.session.errors import ApiError
from nanogrid_executor.session.workspace import relative
from nanogrid_executor.storage.s3 import Object
from support.hostile_archives import make
from support.s3_server import make_rules

LEGAL = [
    *("a\u00a0b.csv", "12\u2009345.txt", "hy\u00adphen.md", "\ufeffbom.csv", "logo\ue000.png"),
    *("zero\u200bwidth", "family\u200d.png", "نام\u200cها.txt", "\u200eleft.txt", "a\u3000b.txt"),
    *("a\u2028b", "a\u202fb", "tag\U000e0041", "plane\U000f0000", "new\u0378letter", "🙂.txt"),
    *("arabic\ufdd0", "high\U0001ffff", "shown\ufffd"),
    *("매출.csv", "매출.csv", "Größe.txt", "日本語.txt", "отчёт.csv", "naïve résumé.pdf"),
]
REFUSED = {
    "a\nb": "U+000A in place 2",
    "tab\t": "U+0009 in place 4",
    "\x1b[2J": "U+001B in place 1",
    "del\x7f": "U+007F in place 4",
    "next\x85line": "U+0085 in place 5",
    "c1\x9b31m": "U+009B in place 3",
    "Icon\r": "U+000D in place 5",
    "no\ufffecharacter": "U+FFFE in place 3",
    "no\uffffcharacter": "U+FFFF in place 3",
    "half\ud83d": "surrogate U+D83D in place 5",
    os.fsdecode(b"caf\xe9"): "byte 0xE9 in place 4, which is not UTF-8",
}


def in_archive(name: str) -> str:
    try:
        with archive.opened(io.BytesIO(make((name, b"x")))) as opened:
            assert opened.files == [name]
    except archive.ArchiveError as error:
        return str(error)
    return ""


def in_key(name: str) -> str:
    return spelling_fault(f"team/{name}", folder=False)


def in_listing(name: str) -> str:
    item = Input(name="i", s3=S3Source(bucket="b", prefix="in/"), mount_path="/app/data")
    try:
        (planned,) = plan_input(item, [Object(f"in/{name}", 1, None)])
        assert planned.path == f"/app/data/{name}"
    except SyncError as error:
        return str(error)
    return ""


def in_session(name: str) -> str:
    try:
        assert relative(f"data/{name}") == f"data/{name}"
    except ApiError as error:
        return str(error)
    return ""


RULES: dict[str, Callable[[str], str]] = {
    "archive": in_archive,
    "key": in_key,
    "listing": in_listing,
    "session": in_session,
}


@pytest.mark.parametrize("place", RULES)
@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_name_is_accepted_everywhere(place: str, name: str) -> None:
    assert RULES[place](name) == ""


@pytest.mark.parametrize("place", RULES)
@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_character_and_its_place(place: str, name: str) -> None:
    if place == "archive" and any("\ud800" <= letter < "\ue000" for letter in name):
        pytest.skip("a ZIP cannot have such a name")
    message = RULES[place](name)
    assert REFUSED[name].partition(" in place")[0] in message
    assert message.isprintable()


@pytest.mark.parametrize("name", LEGAL)
def test_an_output_may_have_any_legal_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / name).write_text("x")
    found = walk(str(tmp_path), make_rules())
    assert (found.files, found.failed) == ([(name, 1)], [])


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "half\ud83d"])
def test_an_output_that_is_refused_names_the_character(tmp_path: Path, name: str) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / name).write_text("x")
    found = walk(str(tmp_path), make_rules())
    (line,) = found.failed
    assert line.isprintable()
    assert REFUSED[name] in line


@pytest.mark.parametrize(("name", "fault"), REFUSED.items())
def test_the_fault_is_named(name: str, fault: str) -> None:
    assert fault in character_fault(name)


def test_a_message_keeps_letters_and_escapes_what_is_not_seen() -> None:
    assert printable("매출.csv") == "매출.csv"
    assert printable("매출\u202e.csv") == r"매출\u202e.csv"
    word = "نام\u200cها.txt"  # the joiner changes the shape of letters
    assert printable(word) == word
    assert all(printable(name).isprintable() for name in {*LEGAL, *REFUSED} - {word})
