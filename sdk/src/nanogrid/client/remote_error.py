"""The error that remote code printed: its last line and its traceback, from the text of stderr.

The text comes from user code, so characters that are not seen are escaped: it reaches a terminal.
"""

import re
from typing import Final

from nanogrid.client.errors import NanoGridError
from nanogrid.visible_text import printable_lines

LINE_CHARACTERS: Final = 500
HEADING: Final = "Traceback in the sandbox:"
_HEAD: Final = re.compile(
    r"^(?:  \+ Exception Group )?Traceback \(most recent call last\):$", re.MULTILINE
)
# An error of the compiler in the main script has no traceback, only its place.
_PLACE: Final = re.compile(r'^  File ".*", line \d+$', re.MULTILINE)
_CHAINED: Final = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
_FRAME_OF_GROUP: Final = re.compile(r"^\s*[+|][-+| \d.]*")


def last_line(stderr: str) -> str:
    """The last line with text; "" if there is none."""
    for line in reversed(stderr.splitlines()):
        # Exception groups have a frame: its last lines are drawn with + and -.
        if text := _FRAME_OF_GROUP.sub("", line).strip():
            return printable_lines(text[:LINE_CHARACTERS])
    return ""


def remote_traceback(stderr: str) -> str:
    """The last traceback with the exceptions that caused it, until the end; "" if there is none."""
    heads = [found.start() for found in _HEAD.finditer(stderr)]
    if not heads:
        place = _PLACE.search(stderr)
        return printable_lines(stderr[place.start() :].rstrip()) if place else ""
    first = len(heads) - 1
    while first > 0 and stderr[: heads[first]].rstrip().endswith(_CHAINED):
        first -= 1
    return printable_lines(stderr[heads[first] :].rstrip())


def describe(error: NanoGridError, stderr: str) -> None:
    """Add what the code printed to an error: the last line to its text, the traceback as a note."""
    if line := last_line(stderr):
        error.args = (f"{error}\n{line}",)
    if trace := remote_traceback(stderr):
        error.add_note(f"\n{HEADING}\n{trace}")
