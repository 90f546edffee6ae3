"""How messages, tables and pages show a text that others wrote. Pure, standard library only.

Control characters move a terminal's cursor. Formatting characters such as U+202E change the order
in which a name is read: ``gpj.exe`` looks like ``exe.jpg``. Others are not seen at all. Each of
them is shown as its escape.
"""

import unicodedata
from collections.abc import Callable
from typing import Final

# Letters and symbols without a shape: fillers of Hangul, and the empty Braille pattern.
_BLANK: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0")
KEPT: Final = 20_000  # characters whose form a table remembers: more than the syllables of Hangul


class _Forms(dict[int, int | str]):
    """How each character is shown, for ``str.translate``: 64 KiB of text take a millisecond.

    What is not kept is found again each time, so that no text makes the table large.
    """

    def __init__(self, stays: Callable[[str], bool]) -> None:
        super().__init__()
        self._stays = stays

    def __missing__(self, code: int) -> int | str:
        form: int | str = code if self._stays(chr(code)) else ascii(chr(code))[1:-1]
        if len(self) < KEPT:
            self[code] = form
        return form


def _seen(character: str) -> bool:
    return character.isprintable() and character not in _BLANK


def _seen_or_space(character: str) -> bool:
    space = character in "\n\t" or unicodedata.category(character) == "Zs"
    return space or _seen(character)


_NAME: Final = _Forms(_seen)
_LINES: Final = _Forms(_seen_or_space)


def printable(name: str) -> str:
    """A name in one line; what cannot be printed, or is not seen, becomes an escape."""
    return name.translate(_NAME)


def printable_lines(text: str) -> str:
    """A text of several lines: also line ends, tabs and spaces of any width stay."""
    return text.translate(_LINES)
