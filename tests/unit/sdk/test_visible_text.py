"""Names and messages of others show what they are, on the command line and in Python."""

import io
import json

import pytest

from nanogrid import visible_text
from nanogrid.cli.app.errors import print_error
from nanogrid.cli.app.output import columns, note
from nanogrid.client.jobs.result import Result
from nanogrid.client.remote_error import last_line, remote_traceback
from nanogrid.client.storage import Storage
from nanogrid.visible_text import printable, printable_lines
from support.cli_fakes import ended, result_of
from support.cli_terminal import Terminal

HIDDEN = [
    *"\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069",
    *"\u00ad\u061c\ufeff\u180e\ufffe\uffff\ue000\U000e0041\x1b\x7f\x9b\r\x00\u2028\u2029\ud800\udcff",
    *"\u115f\u1160\u2800\u3164\uffa0\u034f\u17b4\u17b5\u180b\ufe00\ufe0e\ufe0f\U000e0100",
]
# Joiners and selectors that change what is seen.
SHAPED = {
    "Persian, I want": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.csv",
    "Persian, with a mark": "\u0647\u064e\u200c\u0647\u0627",
    "Hindi, half letter": "\u0915\u094d\u200d\u0937",
    "Hindi, no conjunct": "\u0915\u094d\u200c\u0937",
    "Malayalam, at the end": "\u0d28\u0d4d\u200d",
    "Sinhala, Sri": "\u0dc1\u0dca\u200d\u0dbb\u0dd3",
    "Bengali, before the virama": "\u09b0\u200d\u09cd\u09af\u09be\u09ac",
    "a family": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "a heart on fire": "\u2764\ufe0f\u200d\U0001f525",
    "a skin tone": "\U0001f469\U0001f3fd\u200d\U0001f4bb",
    "head shaking": "\U0001f642\u200d\u2194\ufe0f",
    "a keycap": "1\ufe0f\u20e3",
    "a Japanese name": "\u845b\U000e0100\u98fe",
    "Mongolian": "\u1820\u180b",
}
# The same characters where they are not seen: the part that becomes an escape.
UNSHAPED = {
    "between Latin letters": ("a\u200db", "\u200d"),
    "after a letter that does not join": ("\u0648\u200c\u0648", "\u200c"),
    "before Latin": ("\u0645\u200cx", "\u200c"),
    "at the end": ("\u0645\u200c", "\u200c"),
    "at the start": ("\u200c\u0645", "\u200c"),
    "a joiner in Arabic": ("\u0645\u200d\u0645", "\u200d"),
    "two": ("\u0645\u200c\u200c\u0645", "\u200c"),
    "two scripts": ("\u0915\u094d\u200d\u0d28", "\u200d"),
    "a non-joiner at the end": ("\u0915\u094d\u200c", "\u200c"),
    "an emoji before a letter": ("\U0001f468\u200da", "\u200d"),
    "two emoji joiners": ("\U0001f468\u200d\u200d\U0001f469", "\u200d"),
    "two selectors": ("\u845b\U000e0100\U000e0101", "\U000e0101"),
    "a selector of a digit": ("1\ufe0f2", "\ufe0f"),
}
SPACES = "\u00a0\u2009\u3000"
SEEN = ["매출.csv", "Größe", "日本語", "naïve", "🙂", "e\u0301", "a b", "ไทย", "שלום", "\ufffd"]
NAME = "report\u202egpj.exe"
STORED = {
    "path": NAME,
    "bytes": 1,
    "url": "s3://b/k",
    "sha256": "0" * 64,
    "contentType": "text/plain",
}
SHOWN = r"report\u202egpj.exe"


@pytest.mark.parametrize("character", HIDDEN)
def test_what_is_not_seen_is_escaped(character: str) -> None:
    escape = ascii(character)[1:-1]
    assert printable(f"a{character}b") == f"a{escape}b"
    assert printable_lines(f"a{character}b\n\tc") == f"a{escape}b\n\tc"


@pytest.mark.parametrize("text", SEEN)
def test_what_is_seen_stays(text: str) -> None:
    assert printable(text) == printable_lines(text) == text


@pytest.mark.parametrize("kind", SHAPED)
def test_what_changes_the_shape_of_letters_stays(kind: str) -> None:
    text = f"a {SHAPED[kind]}"
    assert printable(text) == printable_lines(text) == text


@pytest.mark.parametrize("kind", UNSHAPED)
def test_what_makes_two_names_look_the_same_is_escaped(kind: str) -> None:
    text, hidden = UNSHAPED[kind]
    expected = text.replace(hidden, ascii(hidden)[1:-1])
    assert printable(text) == printable_lines(text) == expected


def test_only_a_text_of_lines_keeps_lines_and_wide_spaces() -> None:
    text = f"a\n\tb{SPACES}"
    assert printable_lines(text) == text
    assert printable(text) == r"a\n\tb\xa0\u2009\u3000"


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    """A finished job whose output has a misleading name."""
    message = f"Outputs left out: {NAME}."
    made = ended("a", outputs=[STORED], outputsNote=message, stderr=f"{NAME}\n")
    made["status"]["message"] = message
    terminal.cluster.add(made)
    return terminal


@pytest.mark.parametrize("line", ["outputs ls a", "outputs ls a -o wide", "get a", "why a"])
def test_the_command_line_shows_a_name_as_it_is(terminal: Terminal, line: str) -> None:
    done = terminal.run(*line.split())
    assert done.exit_code == 0
    assert SHOWN in done.stdout + done.stderr
    assert NAME not in done.stdout + done.stderr


def test_data_for_programs_has_the_exact_name(terminal: Terminal) -> None:
    (file,) = json.loads(terminal.run("outputs", "ls", "a", "-o", "json").stdout)
    assert file["path"] == NAME
    assert terminal.run("outputs", "ls", "a", "-o", "name").stdout == f"{NAME}\n"


def test_errors_and_notes_show_a_name_as_it_is(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    done = terminal.run("outputs", "get", "a", f"{NAME}2")
    assert f"no output {SHOWN}2" in done.stderr
    assert f"Available outputs: {SHOWN}." in done.stderr
    note(f"saved {NAME}\nto {NAME}")
    print_error(NAME, NAME)
    assert capsys.readouterr().err.splitlines() == [
        f"saved {SHOWN}",
        f"to {SHOWN}",
        f"error: {SHOWN}",
        f"hint: {SHOWN}",
    ]


def test_the_output_of_code_is_not_changed(terminal: Terminal) -> None:
    terminal.cluster.ends = {"stdout": f"{NAME}\n", "stderr": f"{NAME}\x1b[1m\n"}
    done = terminal.run("run", "-c", "x")
    assert f"{NAME}\n" in done.stdout
    assert f"{NAME}\x1b[1m\n" in done.stderr


def test_a_table_is_aligned_by_what_it_shows() -> None:
    table = columns([["NAME", "BYTES"], [NAME, "1"]])
    head, row = io.StringIO(table).readlines()
    assert head.index("BYTES") == row.index("1")


def test_python_shows_a_name_as_it_is() -> None:
    def no_storage() -> Storage:
        raise AssertionError("nothing is read")

    result = Result(result_of("a", outputs=[STORED]), no_storage)
    assert list(result.outputs) == [NAME]
    shown = result._repr_html_()
    assert SHOWN in shown
    assert NAME not in shown


def test_the_error_of_code_shows_a_name_as_it_is() -> None:
    stderr = f"Traceback (most recent call last):\n  x\nFileNotFoundError: {NAME}\n"
    assert last_line(stderr) == f"FileNotFoundError: {SHOWN}"
    assert SHOWN in remote_traceback(stderr)


def test_no_text_makes_the_tables_large_and_each_character_keeps_its_form() -> None:
    in_context = visible_text._IN_CONTEXT.match  # their form depends on their neighbours
    every = [one for code in range(0x30000) if not in_context(one := chr(code))]
    first = [(printable(one), printable_lines(one)) for one in every]

    assert len(visible_text._NAME) <= visible_text.KEPT
    assert len(visible_text._LINES) <= visible_text.KEPT
    assert printable("".join(every)) == "".join(name for name, _ in first)
    assert printable_lines("".join(every)) == "".join(line for _, line in first)
    for one, (name, _) in zip(every, first, strict=True):
        seen = one.isprintable() and not visible_text._UNSEEN.match(one)
        assert name == (one if seen else ascii(one)[1:-1])
