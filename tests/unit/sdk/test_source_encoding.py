"""The declared encoding of Python source; Python itself is the judge."""

import codecs
import io
import tokenize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.source_encoding import EncodingError, decode, encode, encoding_of

ENCODINGS = ["utf-8", "latin-1", "iso-8859-15", "cp949", "euc-kr", "shift_jis", "gb18030", "cp1252"]
HEADS = [
    "# -*- coding: {} -*-\n",
    "#!/usr/bin/env python3\n# vim: set fileencoding={} :\n",
    "\n#coding={}\r\n",
    "\t# coding: {}\r",
    '"""A text first."""\n# coding: {}\n',
    "# a\n# b\n# coding: {}\n",
    "x = 1  # coding: {}\n",
]


def by_python(content: bytes) -> str:
    """The text that Python reads from a file."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return content.decode(encoding)


@given(
    head=st.sampled_from(HEADS),
    encoding=st.sampled_from(ENCODINGS),
    body=st.text(st.sampled_from("aé€가나あ中\n#")),
)
def test_python_reads_the_text_that_was_written(head: str, encoding: str, body: str) -> None:
    text = head.format(encoding) + body
    try:
        content = encode(text)
    except EncodingError:
        with pytest.raises(UnicodeEncodeError):
            text.encode(encoding)
        return
    if "\r" not in head.replace("\r\n", ""):  # detect_encoding does not know this line end
        assert by_python(content) == text
    assert decode(content) == text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("print('é')", "utf-8"),
        ("# coding: UTF_8-unix\n", "utf-8"),
        ("# coding: latin-1-dos\n", "iso8859-1"),
        ("# coding: Latin-1\n", "iso8859-1"),
        ("# coding: no-such-encoding\né", "utf-8"),
        ("# coding: rot13\né", "utf-8"),
        ("\ufeff# coding: latin-1\n", "utf-8"),
        (f"# coding: latin{'-' * 60000}1\n", "utf-8"),
        ("", "utf-8"),
    ],
)
def test_the_encoding_of_a_source(text: str, encoding: str) -> None:
    assert encoding_of(text) == encoding


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "# coding: latin-1\n\nprint('가')",
            r"latin-1, which has no character '\\uac00' \(line 3\)",
        ),
        ("# coding: ascii\n# é", r"ascii, which has no character '\\xe9' \(line 2\)"),
        ("# coding: utf-16\n", "utf-16, which is no encoding for source code"),
        ("# coding: punycode\n", "no encoding for source code"),
        ("# coding: idna\n" + "é" * 64, "idna: .*label"),
        ("'\ud800'", r"utf-8, which has no character '\\ud800' \(line 1\)"),
    ],
)
def test_a_source_that_cannot_be_written(text: str, message: str) -> None:
    with pytest.raises(EncodingError, match=message):
        encode(text)


def test_a_long_name_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def lookup(name: str) -> codecs.CodecInfo:
        asked.append(name)
        raise LookupError(name)

    monkeypatch.setattr(codecs, "lookup", lookup)
    assert encoding_of(f"# coding: {'x' * 65}\n") == "utf-8"
    assert encoding_of(f"# coding: {'x' * 64}\n") == "utf-8"
    assert asked == ["x" * 64]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("가".encode(), "가"),
        (b"\xef\xbb\xbf" + "가".encode(), "가"),
        ("# coding: cp949\n가".encode("cp949"), "# coding: cp949\n가"),
        (b"# coding: latin-1\r\n\xe9", "# coding: latin-1\r\né"),
    ],
)
def test_a_file_is_read_in_its_encoding(content: bytes, text: str) -> None:
    assert decode(content) == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not UTF-8 text"),
        ("가".encode("cp949"), "not UTF-8 text"),
        ("# coding: cp949\n한".encode(), "not CP949 text"),
        (b"# coding: none-such\n", "none-such, which does not exist"),
        (b"# coding: rot13\n", "rot13, which does not exist"),
        (b"\xef\xbb\xbf\xff", "not UTF-8 text"),
    ],
)
def test_a_file_that_is_not_in_its_encoding(content: bytes, message: str) -> None:
    with pytest.raises(EncodingError, match=message):
        decode(content)
