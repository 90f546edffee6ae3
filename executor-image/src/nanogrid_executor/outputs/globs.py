"""Patterns for relative POSIX paths, as in shells and CI systems. Pure.

``*`` and ``?`` do not match a slash. ``**`` as a whole part matches zero or more folders.
``[a-z]`` and ``[!a-z]`` are sets. ``folder/`` matches everything below it. Case matters.
"""

import re
from collections.abc import Callable, Sequence


def matcher(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """A test for paths: an ``include`` matches (or there is none), and no ``exclude`` matches."""
    included = [re.compile(translate(pattern)) for pattern in include]
    excluded = [re.compile(translate(pattern)) for pattern in exclude]

    def match(path: str) -> bool:
        if included and not any(pattern.fullmatch(path) for pattern in included):
            return False
        return not any(pattern.fullmatch(path) for pattern in excluded)

    return match


def translate(pattern: str) -> str:
    """The regular expression of one pattern, for ``fullmatch``."""
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
