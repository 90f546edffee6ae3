"""Patterns for relative POSIX paths, as in shells and CI systems. Pure.

``*`` and ``?`` do not match a slash. ``**`` as a whole part matches zero or more folders.
``[a-z]`` and ``[!a-z]`` are sets. ``{csv,json}`` is each alternative, as in bash: also nested,
empty, or with slashes; without a comma, braces are literal. ``folder/`` matches everything below
it. Case matters.
"""

import re
from typing import Final

MAX_ALTERNATIVES: Final = 64  # patterns that the braces of one pattern may stand for
_PIECES: Final = re.compile(r"[{},]|[^{},]+")


class _TooManyError(Exception):
    """The braces stand for too many patterns."""


class _Braces:
    """Braces that are open: for each alternative so far, the patterns that it stands for."""

    def __init__(self) -> None:
        self.alternatives: list[list[str]] = [[""]]

    def add(self, texts: list[str]) -> None:
        """Append what follows in the last alternative; several texts are alternatives of it."""
        known = self.alternatives[-1]
        if len(known) * len(texts) > MAX_ALTERNATIVES:
            raise _TooManyError
        self.alternatives[-1] = [head + tail for head in known for tail in texts]

    def closed(self) -> list[str]:
        """What they stand for when they close; without a comma they are literal."""
        if len(self.alternatives) == 1:
            return [f"{{{one}}}" for one in self.alternatives[0]]
        found = [one for alternative in self.alternatives for one in alternative]
        if len(found) > MAX_ALTERNATIVES:
            raise _TooManyError
        return found


def translate(pattern: str) -> str:
    """The regular expression of one pattern, for ``fullmatch``.

    Raises:
        ValueError: its braces stand for too many patterns.
    """
    return "|".join(dict.fromkeys(_translate(one) for one in expand(pattern)))


def expand(pattern: str) -> list[str]:
    """The patterns without alternatives that a pattern stands for.

    Raises:
        ValueError: there are more than ``MAX_ALTERNATIVES``.
    """
    try:
        return _expanded(pattern)
    except _TooManyError:
        raise ValueError(
            f"the braces of the glob {pattern!r} stand for more than {MAX_ALTERNATIVES} "
            "patterns: use * or several globs"
        ) from None


def _expanded(pattern: str) -> list[str]:
    """One pass: patterns come from users, and the operator reads them in its event loop."""
    whole = _Braces()
    stack = [whole]
    for piece in _PIECES.findall(pattern):
        if piece == "{":
            stack.append(_Braces())
        elif piece == "}" and len(stack) > 1:
            closed = stack.pop().closed()
            stack[-1].add(closed)
        elif piece == "," and len(stack) > 1:
            stack[-1].alternatives.append([""])
        else:
            stack[-1].add([piece])
    while len(stack) > 1:  # braces that do not close are literal, and so are their commas
        first, *others = stack.pop().alternatives
        stack[-1].add(["{"])
        stack[-1].add(first)
        for alternative in others:
            stack[-1].add([","])
            stack[-1].add(alternative)
    return whole.alternatives[0]


def _translate(pattern: str) -> str:
    """The expression of a pattern without alternatives.

    What is between two wildcards has a fixed length. So its first place is as good as any other
    one, and the group is atomic: a search never comes back to it, and its time is bounded.
    """
    if pattern.endswith("/"):
        pattern += "**"
    runs: list[list[str]] = [[]]  # of parts between those that are **
    for part in pattern.split("/"):
        if part == "**":
            if len(runs) == 1 or runs[-1]:  # consecutive ** mean the same as one
                runs.append([])
        elif part not in ("", "."):
            runs[-1].append(_part(part))
    first, *others = runs
    if not others:
        return "/".join(first)
    *middle, last = others
    pieces = [f"{part}/" for part in first]
    pieces += [f"(?>(?:[^/]+/)*?{'/'.join(run)}/)" for run in middle]
    return "".join(pieces) + (f"(?:[^/]+/)*{'/'.join(last)}" if last else "(?s:.+)")


def _part(part: str) -> str:
    """The expression of one part; it matches no slash."""
    runs = [""]  # between stars
    at = 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            runs.append("")
        elif char == "?":
            runs[-1] += "[^/]"
        elif char == "[" and (end := _set_end(part, at)) > 0:
            runs[-1] += _set(part[at:end])
            at = end + 1
        else:
            runs[-1] += re.escape(char)
    first, *others = runs
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>[^/]*?{run})" for run in middle if run) + f"[^/]*{last}"


def _set_end(part: str, at: int) -> int:
    """Where the set that begins at ``at`` ends; -1 when it does not end: a literal bracket."""
    start = at + 1 if part[at : at + 1] in ("!", "^") else at
    return part.find("]", start + 1)  # a closing bracket in first place belongs to the set


def _set(inside: str) -> str:
    negated = inside[0] in ("!", "^")
    body = inside[1:] if negated else inside
    ranges = re.sub(r"([\\\[\]^&~|])", r"\\\1", body)
    try:
        re.compile(f"[{ranges}]")
    except re.error:  # a range like z-a matches nothing
        return "(?!)"
    return f"(?!/)[{'^' if negated else ''}{ranges}]"
