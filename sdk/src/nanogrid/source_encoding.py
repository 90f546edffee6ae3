"""Python source between bytes and text, in the encoding that its first lines declare (PEP 263).

Standard library only. A spec and a request carry code as text. Python reads a file in its declared
encoding, so the file of that code must be written in it.
"""

import codecs
import re
from typing import Final

UTF8: Final = "utf-8"
BYTE_ORDER_MARK: Final = "\ufeff"
HINT: Final = "Declare utf-8, or remove the declaration."
# A longer name is not looked up: Python keeps each unknown name in memory, and users choose names.
MAX_NAME: Final = 64
_DECLARATION: Final = re.compile(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)
_BLANK_OR_COMMENT: Final = re.compile(r"[ \t\f]*(#.*)?")


class EncodingError(ValueError):
    """The source and its declared encoding do not fit; the message says why."""


def encoding_of(text: str) -> str:
    """The encoding to write a source in.

    UTF-8 also stands for one that Python does not know: Python then says so when it runs the code.

    Raises:
        EncodingError: no source can be in the declared encoding.
    """
    declared = _declared(text)
    if declared is None or len(declared) > MAX_NAME:
        return UTF8
    try:
        codec = codecs.lookup(declared)
        itself = declared.encode(codec.name)
    except (LookupError, UnicodeError):
        return UTF8
    if itself != declared.encode():
        raise EncodingError(f"the code declares {declared}, which is no encoding for source code")
    return codec.name


def encode(text: str) -> bytes:
    """The bytes of a source's file.

    Raises:
        EncodingError: the source cannot be written in the declared encoding.
    """
    name = encoding_of(text)
    try:
        return text.encode(name)
    except UnicodeError as error:
        # idna is for names of hosts, and says more about them than one character.
        if name == "idna" or not isinstance(error, UnicodeEncodeError):
            raise EncodingError(f"the code cannot be in the encoding {name}: {error}") from None
        line = text.count("\n", 0, error.start) + 1
        character = ascii(text[error.start])
        raise EncodingError(
            f"the code declares the encoding {_declared(text) or UTF8}, which has no character "
            f"{character} (line {line})"
        ) from None


def decode(content: bytes) -> str:
    """The text of a source's file, without a byte order mark.

    Raises:
        EncodingError: it is not in its encoding.
    """
    if content.startswith(codecs.BOM_UTF8):
        return _decoded(content.removeprefix(codecs.BOM_UTF8), UTF8)
    declared = _declared(content.decode("latin-1"))
    return _decoded(content, UTF8 if declared is None else declared)


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode(name)
    except LookupError:
        raise EncodingError(f"it declares the encoding {name}, which does not exist") from None
    except UnicodeError as error:
        raise EncodingError(f"it is not {name.upper()} text: {error}") from None


def _declared(text: str) -> str | None:
    """The declared encoding, as Python names it; None without a declaration."""
    if text.startswith(BYTE_ORDER_MARK):
        return None
    for line in re.split(r"\r\n|\r|\n", text, maxsplit=2)[:2]:
        found = _DECLARATION.match(line)
        if found is not None:
            return _normal(found[1])
        if _BLANK_OR_COMMENT.fullmatch(line) is None:
            return None
    return None


def _normal(name: str) -> str:
    """Python's own tokenizer knows these names with any suffix, such as utf-8-unix."""
    known = name[:12].lower().replace("_", "-")
    if known == UTF8 or known.startswith("utf-8-"):
        return UTF8
    latin = ("latin-1", "iso-8859-1", "iso-latin-1")
    return "iso-8859-1" if known.startswith(tuple(f"{each}-" for each in latin)) else name
