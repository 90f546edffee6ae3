"""Which output files a job's patterns select, and which patterns look like a mistake. Pure."""

import os.path
import re
from collections.abc import Sequence
from typing import Final

from nanogrid import globs, wire
from nanogrid.visible_text import printable
from nanogrid_executor.capture import shorten_line

NAMED_FILES: Final = 3
NAMED_PATTERNS: Final = 3
NOTE_BYTES: Final = 600
_SEEN_FILES: Final = 1000  # files that patterns without a match are compared with


class Pattern:
    """One pattern, and whether it matched a file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.used = False
        self._expression = re.compile(globs.translate(text))

    def matches(self, path: str) -> bool:
        """Whether it matches; remembered."""
        found = self._expression.fullmatch(path) is not None
        self.used = self.used or found
        return found


class Selection:
    """The files that ``include`` selects (all, if it is empty) and ``exclude`` does not."""

    def __init__(self, rules: wire.OutputRules) -> None:
        self.include = [Pattern(text) for text in rules.include]
        self.exclude = [Pattern(text) for text in rules.exclude]
        self.unmatched = 0  # files that no include pattern matches
        self._folder = os.path.normpath(rules.path)
        self._seen: list[str] = []
        self._unmatched: list[str] = []

    def wants(self, path: str, *, output: bool = True) -> bool:
        """Whether to store this path; only an ``output`` of the code counts as left out."""
        if output and len(self._seen) < _SEEN_FILES:
            self._seen.append(path)
        # Each pattern looks at each file: one that matches nothing is reported.
        excluded = [pattern.matches(path) for pattern in self.exclude]
        if self.include and not any([pattern.matches(path) for pattern in self.include]):
            if output and not any(excluded):
                self.unmatched += 1
                self._unmatched += [path][: NAMED_FILES - len(self._unmatched)]
            return False
        return not any(excluded)

    def note(self) -> str:
        """What the patterns leave out by mistake, as it seems; empty if nothing.

        Files that no include pattern matches are no mistake while every pattern matches a file.
        """
        idle = [pattern.text for pattern in self.include if not pattern.used]
        parts = []
        if self.unmatched and idle:
            parts = [self._left_out(), *self._explained(idle, "")]
        exclude = [pattern.text for pattern in self.exclude if not pattern.used]
        close = [text for text in exclude if self._hint(text)]  # others have nothing to exclude
        return shorten_line(" ".join([*parts, *self._explained(close, "exclude ")]), NOTE_BYTES)

    def _left_out(self) -> str:
        files = "1 file matches" if self.unmatched == 1 else f"{self.unmatched} files match"
        shown = ", ".join(shorten_line(one, 60) for one in map(printable, self._unmatched))
        more = ", …" if self.unmatched > len(self._unmatched) else ""
        return f"{files} no include pattern: {shown}{more}."

    def _explained(self, patterns: Sequence[str], kind: str) -> list[str]:
        shown = patterns[:NAMED_PATTERNS]
        return [f"The {kind}pattern {text!r} matches no file{self._hint(text)}." for text in shown]

    def _hint(self, text: str) -> str:
        """Why a pattern without a match does not match a file that looks meant; or nothing."""
        relative = os.path.normpath(text) + ("/" if text.endswith("/") else "")
        inside = relative.removeprefix(f"{self._folder}/")
        if inside != relative and self._would_match(inside):
            return f": patterns are relative to {self._folder}/, so write {inside!r}"
        if self._would_match(text, re.IGNORECASE) or self._would_match(inside, re.IGNORECASE):
            return ": upper and lower case must match"
        if "/" not in text and self._would_match(f"**/{text}"):
            return f": it has no folder, so write {f'**/{text}'!r}"
        return ""

    def _would_match(self, text: str, flags: int = 0) -> bool:
        if not text:
            return False
        expression = re.compile(globs.translate(text), flags)
        return any(expression.fullmatch(path) for path in self._seen)
