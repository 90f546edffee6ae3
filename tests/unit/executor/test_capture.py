"""Head and tail of a stream: caps, counts, and whole characters."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.wire import STREAM_CAP_BYTES
from nanogrid_executor.capture import MARKER_ROOM, Capture, shorten_line, shorten_text

CAP = 256
LEFT_OUT = re.compile(r"\n\.\.\. (\d+) bytes left out \.\.\.\n")


def captured(pieces: list[bytes], cap: int = CAP) -> Capture:
    capture = Capture(cap)
    for piece in pieces:
        capture.feed(piece)
    return capture


@given(st.lists(st.binary(max_size=200), max_size=12))
def test_any_bytes_fit_and_survive_json(pieces: list[bytes]) -> None:
    capture = captured(pieces)
    text = capture.text()
    assert len(text.encode()) <= CAP
    assert capture.count == sum(map(len, pieces))
    assert json.loads(json.dumps(text)) == text
    whole = b"".join(pieces).decode(errors="replace")
    assert capture.truncated == (len(whole.encode()) > CAP)
    if not capture.truncated:
        assert text == whole


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=300, max_size=2000), st.data())
def test_no_character_is_cut_and_all_bytes_are_counted(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cut = data.draw(st.integers(0, len(raw)))
    shown = captured([raw[:cut], raw[cut:]]).text()
    head, left_out, tail = LEFT_OUT.split(shown, 1)
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head.encode()) + len(tail.encode()) + int(left_out) == len(raw)
    half = (CAP - MARKER_ROOM) // 2
    assert min(len(head.encode()), len(tail.encode())) > half - 4


@given(st.binary(max_size=3000), st.integers(1, 97))
def test_the_size_of_pieces_does_not_matter(raw: bytes, step: int) -> None:
    pieces = [raw[i : i + step] for i in range(0, len(raw), step)]
    assert captured(pieces).text() == captured([raw]).text()


def test_a_long_stream_takes_constant_memory() -> None:
    capture = Capture()
    for _ in range(2000):
        capture.feed(b"x" * 65536)
    assert len(capture._head) + len(capture._tail) <= 4 * STREAM_CAP_BYTES
    assert capture.count == 2000 * 65536
    assert f"... {capture.count - STREAM_CAP_BYTES + MARKER_ROOM} bytes" in capture.text()


def test_a_stream_of_exactly_the_cap_is_complete() -> None:
    assert not captured([b"x" * CAP]).truncated
    assert captured([b"x" * (CAP + 1)]).truncated
    assert captured([b"\xff" * CAP]).truncated, "U+FFFD is longer than the byte it stands for"


def test_nul_and_invalid_bytes() -> None:
    assert captured([b"a\0\xea\xb0"]).text() == "a\0\ufffd"


def test_a_cap_without_room_for_the_marker_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        Capture(10)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=600), st.integers(0, 700))
def test_shortened_text_fits(text: str, cap: int) -> None:
    shorter = shorten_text(text, cap)
    assert len(shorter.encode()) <= cap
    if len(text.encode()) <= cap:
        assert shorter == text


def test_a_shortened_line_is_one_line() -> None:
    assert "\n" not in shorten_line("x" * 500, 200)
    assert shorten_line("short", 200) == "short"


@given(st.lists(st.binary(max_size=6) | st.text(max_size=3).map(str.encode), max_size=8))
def test_the_encoding_is_that_of_the_whole_stream(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    binary = whole.decode(errors="ignore").encode() != whole
    assert captured(pieces).encoding == ("binary" if binary else "utf-8")


@pytest.mark.parametrize(
    ("pieces", "encoding"),
    [
        ([], "utf-8"),
        ([b"\xea\xb0", b"\x80"], "utf-8"),  # one character in two pieces
        ([b"\xea\xb0"], "binary"),
        ([b"x" * 1000, b"\xff", b"x" * 1000], "binary"),  # in the part that the text lacks
        ([b"x" * 255 + "가".encode()], "utf-8"),
        ([b"a\0b\x1b"], "utf-8"),
    ],
)
def test_encoding_of_a_stream(pieces: list[bytes], encoding: str) -> None:
    assert captured(pieces).encoding == encoding
