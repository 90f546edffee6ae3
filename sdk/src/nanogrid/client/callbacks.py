"""The functions that receive what code prints."""

from collections.abc import Callable
from dataclasses import dataclass

from nanogrid.client import exact_text

TextCallback = Callable[[str], None]


@dataclass(frozen=True)
class OutputCallbacks:
    """Functions that receive output while it arrives.

    Attributes:
        stdout: receives text of stdout.
        stderr: receives text of stderr.
        both: receives text of both streams in the order of the log; replaces the other two.
        note: receives a sentence about text that is missing, or about a new attempt.
        exact: whether text is as :mod:`nanogrid.client.exact_text`; else it has U+FFFD for bytes
            that are not UTF-8.
    """

    stdout: TextCallback | None = None
    stderr: TextCallback | None = None
    both: TextCallback | None = None
    note: TextCallback | None = None
    exact: bool = False

    @property
    def wants_text(self) -> bool:
        """Whether any function receives text."""
        return bool(self.stdout or self.stderr or self.both)

    def write(self, stream: str, text: str) -> None:
        """Pass on text of a stream."""
        callback = self.both or {"stdout": self.stdout, "stderr": self.stderr}.get(stream)
        if text and callback is not None:
            callback(text if self.exact else exact_text.readable(text))

    def add_note(self, sentence: str) -> None:
        """Pass on a sentence."""
        if self.note is not None:
            self.note(sentence)
