"""How messages, tables and pages show a text that others wrote. Pure, standard library only.

Control characters move a terminal's cursor. Formatting characters such as U+202E change the order
in which a name is read: ``gpj.exe`` looks like ``exe.jpg``. Others are not seen at all. Each of
them is shown as its escape.

Joiners and variation selectors stay where they change what is seen: in words of Persian and of
languages of India, in emoji, and after the Chinese characters of a name. The contexts are those
of UAX #31 (A1, A2, B) and UTS #51. Everywhere else they make two names look the same.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import Final

# What str.isprintable accepts and has no shape: fillers of Hangul, vowels of Khmer, the empty
# Braille pattern, the grapheme joiner. Variation selectors have none of their own.
_UNSEEN: Final = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]")
_NON_JOINER: Final = "\u200c"
_JOINER: Final = "\u200d"
_IN_CONTEXT: Final = re.compile(  # joiners and selectors
    "[\u200c\u200d\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]+"
)
MOST_IN_CONTEXT: Final = 2  # in a row: a selector and a joiner
_VIRAMA: Final = 9  # canonical combining class
# Arabic and Syriac letters. Those of the second kind do not join to the left.
_CURSIVE: Final = re.compile("[\u0620\u0622-\u064a\u066e-\u0673\u0675-\u06d3\u06d5-\u077f]")
_NOT_LEFT: Final = re.compile(
    "[\u0622-\u0625\u0627\u0629\u062f-\u0632\u0648\u0671-\u0673\u0675-\u0677\u0688-\u0699\u06c0"
    "\u06c3-\u06cb\u06cd\u06cf\u06d2\u06d3\u06d5\u06ee\u06ef\u0710\u0715-\u0719\u071e\u0728\u072a"
    "\u072c\u072f\u074d\u0759-\u075b\u076b\u076c\u0771\u0773\u0774\u0778\u0779]"
)
_EMOJI: Final = re.compile("[\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]")
_SKIN: Final = re.compile("[\U0001f3fb-\U0001f3ff]")
_KEYCAP: Final = re.compile("[0-9#*]\ufe0f\u20e3")
_SYMBOLS: Final = "\u203c\u2049\u3030\u2139"  # emoji that are no symbols by category
_CHINESE: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_MONGOLIAN: Final = re.compile("[\u1820-\u1878\u1880-\u18aa]")
KEPT: Final = 20_000  # characters whose form a table remembers: more than the syllables of Hangul


class _Forms(dict[int, int | str]):
    """How each character is shown, for ``str.translate``: 64 KiB of text take a millisecond.

    What is not kept is found again each time, so that no text makes the table large.
    """

    def __init__(self, stays: Callable[[str], bool]) -> None:
        super().__init__()
        self._stays = stays

    def __missing__(self, code: int) -> int | str:
        form: int | str = code if self._stays(chr(code)) else _escape(chr(code))
        if len(self) < KEPT:
            self[code] = form
        return form


def _escape(characters: str) -> str:
    return ascii(characters)[1:-1]


def _seen(character: str) -> bool:
    if _IN_CONTEXT.match(character):
        return True  # _shown has left only those that are seen
    return character.isprintable() and not _UNSEEN.match(character)


def _seen_or_space(character: str) -> bool:
    space = character in "\n\t" or unicodedata.category(character) == "Zs"
    return space or _seen(character)


_NAME: Final = _Forms(_seen)
_LINES: Final = _Forms(_seen_or_space)


def printable(name: str) -> str:
    """A name in one line; what cannot be printed, or is not seen, becomes an escape."""
    return _shown(name, _NAME)


def printable_lines(text: str) -> str:
    """A text of several lines: also line ends, tabs and spaces of any width stay."""
    return _shown(text, _LINES)


def _shown(text: str, forms: _Forms) -> str:
    def form(found: re.Match[str]) -> str:
        if len(found[0]) > MOST_IN_CONTEXT:
            return _escape(found[0])
        places = range(*found.span())
        return "".join(text[at] if _has_shape(text, at) else _escape(text[at]) for at in places)

    return _IN_CONTEXT.sub(form, text).translate(forms)


def _has_shape(text: str, place: int) -> bool:
    joiner = text[place] in (_NON_JOINER, _JOINER)
    return _joins(text, place) if joiner else _selects(text, place)


def _joins(text: str, place: int) -> bool:
    """Whether a joiner or a non-joiner changes the shape of the characters around it."""
    before, after = _base(text, place, -1), _base(text, place, 1)
    related = _script(before) == _script(after) != ""
    if text[place] == _JOINER:
        if _EMOJI.match(before) and _EMOJI.match(after):
            return True
        # Also at the end of a word, and in Bengali before the virama.
        virama = unicodedata.combining(before or " ") == _VIRAMA
        return (virama and not after.isalpha()) or (related and _VIRAMA in _classes(before, after))
    if not related:
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return after.isalpha()
    return bool(_CURSIVE.match(before) and not _NOT_LEFT.match(before) and _CURSIVE.match(after))


def _selects(text: str, place: int) -> bool:
    """Whether a variation selector follows a character that has variants."""
    one, before = text[place], text[place - 1 : place]
    if one in "\ufe0e\ufe0f":
        symbol = unicodedata.category(before or " ") in ("So", "Sm") or before in _SYMBOLS
        return bool(before) and (symbol or bool(_KEYCAP.match(text, place - 1)))
    kind = _MONGOLIAN if one < "\u1880" else _CHINESE
    return bool(kind.match(before))


def _base(text: str, place: int, step: int) -> str:
    """The next character in a direction that is no mark of another; empty at the end."""
    place += step
    while 0 <= place < len(text):
        one = text[place]
        mark = unicodedata.category(one) == "Mn" and unicodedata.combining(one) != _VIRAMA
        if not mark and not _SKIN.match(one):
            return one
        place += step
    return ""


def _classes(*characters: str) -> set[int]:
    return {unicodedata.combining(one) for one in characters}


def _script(character: str) -> str:
    """The first word of a character's name, such as DEVANAGARI; empty without a name."""
    return unicodedata.name(character, "").partition(" ")[0] if character else ""
