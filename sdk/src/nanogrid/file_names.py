"""Which characters the names of files and S3 keys may have, and how messages show a name.

One rule for entries of a ZIP, S3 keys, outputs, files of a session, and folders that the client
packs. Letters, symbols, spaces of any width, invisible and private characters are accepted: real
files have them. Pure, standard library only.
"""

import unicodedata
from typing import Final

_ESCAPED_BYTES: Final = range(0xDC80, 0xDD00)  # os.fsdecode: bytes of a name that are not UTF-8


def character_fault(name: str) -> str:
    """Why the characters of a name are refused, with the first of them; empty if they are not.

    Refused are control characters (category Cc), which break logs, headers and terminals, and
    surrogates, which UTF-8 cannot express.
    """
    if name.isprintable():
        return ""
    for place, character in enumerate(name, 1):
        code, category = ord(character), unicodedata.category(character)
        if category == "Cc":
            return f"has the control character U+{code:04X} in place {place}"
        if code in _ESCAPED_BYTES:
            return f"has the byte 0x{code - 0xDC00:02X} in place {place}, which is not UTF-8"
        if category == "Cs":
            return f"has the surrogate U+{code:04X} in place {place}"
    return ""


def printable(name: str) -> str:
    """A name for a message; what cannot be printed, or is not seen, becomes an escape."""
    return name if name.isprintable() else repr(name)[1:-1]
