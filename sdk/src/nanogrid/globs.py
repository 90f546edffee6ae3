"""Patterns for relative POSIX paths, as in shells and CI systems. Pure.

``*`` and ``?`` do not match a slash. ``**`` as a whole part matches zero or more folders.
``[a-z]`` and ``[!a-z]`` are sets. ``{csv,json}`` is each alternative, as in bash: also nested,
empty, or with slashes; without a comma, braces are literal. ``folder/`` matches everything below
it. Case matters.
"""

import re
from itertools import pairwise
from typing import Final, NamedTuple

MAX_ALTERNATIVES: Final = 64  # patterns that the braces of one pattern may stand for


class _Group(NamedTuple):
    """Braces with alternatives: where they begin and end in their pattern."""

    start: int
    end: int
    alternatives: list[str]


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
    todo, found = [pattern], []
    while todo:
        current = todo.pop()
        group = _first_group(current)
        if group is None:
            found.append(current)
        else:
            head, tail = current[: group.start], current[group.end :]
            todo += [head + one + tail for one in reversed(group.alternatives)]
        if len(todo) + len(found) > MAX_ALTERNATIVES:
            raise ValueError(
                f"the braces of the glob {pattern!r} stand for more than {MAX_ALTERNATIVES} "
                "patterns: use * or several globs"
            )
    return found


def _first_group(pattern: str) -> _Group | None:
    """The first braces that close and have a comma of their own; others are literal."""
    start = pattern.find("{")
    while start >= 0:
        depth, cuts = 0, [start]
        for at in range(start, len(pattern)):
            char = pattern[at]
            depth += (char == "{") - (char == "}")
            if char == "," and depth == 1:
                cuts.append(at)
            elif not depth:
                cuts.append(at)
                break
        if not depth and len(cuts) > 2:
            alternatives = [pattern[a + 1 : b] for a, b in pairwise(cuts)]
            return _Group(start, cuts[-1] + 1, alternatives)
        start = pattern.find("{", start + 1)
    return None


def _translate(pattern: str) -> str:
    """The expression of a pattern without alternatives."""
    if pattern.endswith("/"):
        pattern += "**"
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    # Consecutive ** mean the same as one, but would make matching slow.
    parts = [p for i, p in enumerate(parts) if not (p == "**" and parts[i - 1 : i] == ["**"])]
    pieces = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            pieces.append("(?s:.+)" if last else "(?:[^/]+/)*")
        else:
            pieces.append(_part(part) + ("" if last else "/"))
    return "".join(pieces)


def _part(part: str) -> str:
    """The expression of one part; it matches no slash."""
    pieces = []
    at = 0
    while at < len(part):
        char = part[at]
        at += 1
        if char == "*":
            while part[at : at + 1] == "*":
                at += 1
            pieces.append("[^/]*")
        elif char == "?":
            pieces.append("[^/]")
        elif char == "[" and (end := _set_end(part, at)) > 0:
            pieces.append(_set(part[at:end]))
            at = end + 1
        else:
            pieces.append(re.escape(char))
    return "".join(pieces)


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
