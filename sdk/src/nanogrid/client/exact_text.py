"""Text that keeps the bytes that are not UTF-8, as PEP 383 does: each becomes a lone surrogate.

The log and the full text of a stream are compared and passed on in this form. ``encode`` gives the
bytes back. ``readable`` is what a person and a JSON text can have: U+FFFD in their place.
"""

import codecs
from typing import Final

ERRORS: Final = "surrogateescape"


def decoder() -> codecs.IncrementalDecoder:
    """Decodes a stream in pieces."""
    return codecs.getincrementaldecoder("utf-8")(ERRORS)


def decode(content: bytes) -> str:
    """The exact text of a whole stream."""
    return content.decode(errors=ERRORS)


def encode(text: str) -> bytes:
    """The bytes of an exact text; a surrogate that stands for no byte becomes a question mark."""
    try:
        return text.encode(errors=ERRORS)
    except UnicodeEncodeError:
        return text.encode(errors="replace")


def readable(text: str) -> str:
    """The text with U+FFFD for each byte that is no text."""
    return text if text.isascii() else encode(text).decode(errors="replace")
