"""Patterns for relative POSIX paths, as people know them from shells and CI systems. Pure.

``*`` and ``?`` stay within a folder, ``**`` as a whole part crosses any number of folders (none,
too), ``[a-z]`` and ``[!a-z]`` are sets. ``folder/`` means everything below it. Case counts.
"""

import re
from collections.abc import Callable, Sequence


def matcher(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """Whether a path is wanted: some ``include`` matches it (or there is none), no ``exclude``."""
    wanted = [re.compile(translate(pattern)) for pattern in include]
    unwanted = [re.compile(translate(pattern)) for pattern in exclude]

    def match(path: str) -> bool:
        if wanted and not any(pattern.fullmatch(path) for pattern in wanted):
            return False
        return not any(pattern.fullmatch(path) for pattern in unwanted)

    return match


def translate(pattern: str) -> str:
    """The regular expression, for ``fullmatch``, of one pattern."""
    if pattern.endswith("/"):
        pattern += "**"
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    # Runs of ** mean no more than one, and would make matching slow.
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
    """The expression of one part: no slash is matched by it."""
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
    """Where the set that begins at ``at`` ends; -1 when it does not, and the bracket is one."""
    start = at + 1 if part[at : at + 1] in ("!", "^") else at
    return part.find("]", start + 1)  # a bracket that comes first belongs to the set


def _set(inside: str) -> str:
    negated = inside[0] in ("!", "^")
    body = inside[1:] if negated else inside
    ranges = re.sub(r"([\\\[\]^&~|])", r"\\\1", body)
    try:
        re.compile(f"[{ranges}]")
    except re.error:  # a range like z-a matches nothing
        return "(?!)"
    return f"(?!/)[{'^' if negated else ''}{ranges}]"
