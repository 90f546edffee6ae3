"""Which characters the names of files and S3 keys may have.

One rule for entries of a ZIP, S3 keys, outputs, files of a session, and folders that the client
packs. Letters, symbols, spaces of any width, invisible and private characters are accepted: real
files have them. Pure, standard library only.
"""

import stat
import unicodedata
from collections.abc import Callable
from typing import Final

_KINDS: Final[tuple[tuple[Callable[[int], bool], str], ...]] = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_NOT_IN_XML: Final = "\ufffe\uffff"
_ESCAPED_BYTES: Final = range(0xDC80, 0xDD00)  # os.fsdecode: bytes of a name that are not UTF-8


def character_fault(name: str) -> str:
    """Why the characters of a name are refused, with the first of them; empty if they are not.

    Refused are control characters (category Cc), which break logs, headers and terminals,
    surrogates, which UTF-8 cannot express, and two characters that XML cannot express: a list of S3
    shows others in their place, so it cannot be found by a list.
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
        if character in _NOT_IN_XML:
            return f"has U+{code:04X} in place {place}, which lists of S3 cannot express"
    return ""


def kind_of(mode: int) -> str:
    """What has a name in a file system, for a message, from its ``st_mode``."""
    return next((kind for test, kind in _KINDS if test(mode)), "not a regular file")
