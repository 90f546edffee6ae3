"""How messages, tables and pages show a text that others wrote. Pure, standard library only.

Control characters move a terminal's cursor. Formatting characters such as U+202E change the order
in which a name is read: ``gpj.exe`` looks like ``exe.jpg``. Others are not seen at all. Each of
them is shown as its escape.
"""

import unicodedata
from typing import Final

# Letters and symbols without a shape: fillers of Hangul, and the empty Braille pattern.
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def printable(name: str) -> str:
    """A name in one line; what cannot be printed, or is not seen, becomes an escape."""
    if name.isprintable() and _BLANK.isdisjoint(name):
        return name
    return "".join(
        one if one.isprintable() and one not in _BLANK else _escaped(one) for one in name
    )


def printable_lines(text: str) -> str:
    """A text of several lines: also line ends, tabs and spaces of any width stay."""
    if text.isprintable() and _BLANK.isdisjoint(text):
        return text
    return "".join(one if _stays(one) else _escaped(one) for one in text)


def _stays(character: str) -> bool:
    if character.isprintable():
        return character not in _BLANK
    return character in "\n\t" or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return ascii(character)[1:-1]
