"""Which S3 keys a job may name: inside the root of its namespace, and not in a reserved folder.

Two things are checked. First the spelling: a key that a server, a client or a proxy may normalise
to another key is refused, so that the key that is compared is the key that is used. Then the place:
a key is compared part by part, and a prefix is a folder. ``team`` does not match ``team-b/x``, and
a prefix that contains a reserved folder is refused as well. Pure, standard library only.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from nanogrid import names
from nanogrid.file_names import character_fault

MAX_KEY_BYTES: Final = 1024  # limit of S3
SHOWN_CHARS: Final = 120

# Folders below every root that only NanoGrid writes to. layers/ is for code that functions share.
RESERVED: Final = ("results", "outputs", "sessions", "code", "layers", "functions")
# Folders below a root that no other root may be in: its jobs would own the files of this one.
NOT_ROOTS: Final = (*RESERVED, "uploads")
_ANY: Final = "*"  # one part of a path

# Encoded dots, slashes, backslashes, percent signs and control characters, also in the overlong
# forms of UTF-8. A component that decodes a key once more would see them.
_ENCODED: Final = re.compile(
    r"%(2e|2f|5c|25|[01][0-9a-f]|7f|c[01]|e0%[89]|f0%8|u[0-9a-f]{4})", re.IGNORECASE
)
# Slashes that conversions to older character sets turn into / or \; NFKC leaves them.
_SLASHES: Final = frozenset("\u2044\u2215\u2216\u29f5\u29f8")


class Use(Enum):
    """What a job does with a key."""

    CODE = "code"
    INPUT = "input"
    TARGET = "target"


def shown(name: str) -> str:
    """A key for a message: printable, and not too long."""
    from nanogrid.visible_text import printable  # late: only keys that are refused need it

    text = printable(name)
    return repr(text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}...")


def spelling_fault(name: str, *, folder: bool) -> str:
    """Why the spelling of a key is refused; empty if it is not.

    Decomposed letters (NFD) are accepted: macOS writes Korean file names so, and S3 keeps them.

    Args:
        name: the key or the prefix.
        folder: whether it is a prefix, which may end with a slash.
    """
    if not name:
        return "is empty"
    if fault := character_fault(name):
        return fault
    if len(name.encode()) > MAX_KEY_BYTES:
        return f"has over {MAX_KEY_BYTES:,} bytes"
    if name.startswith("/"):
        return "begins with a slash"
    if name.endswith("/") and not folder:
        return "ends in a slash: use prefix, not key"
    if "\\" in name:
        return "has a backslash, which some servers read as a slash"
    if _ENCODED.search(name):
        return "has a percent-encoded dot, slash, percent sign or control character"
    if any(map(_disguised, name)):
        return "has a character that some servers read as a dot, a slash or a percent sign"
    return _parts_fault(name.removesuffix("/").split("/"))


def _disguised(character: str) -> bool:
    if character.isascii():
        return False
    return character in _SLASHES or not set("./\\%").isdisjoint(
        unicodedata.normalize("NFKC", character)
    )


def _parts_fault(parts: Sequence[str]) -> str:
    if any(part in ("", ".", "..") for part in parts):
        return "has an empty, '.' or '..' part"
    if any(_seen(part).strip(". ") == "" for part in parts):
        return "has a part of dots, spaces and invisible characters only"
    if any(part != part.strip(" ") for part in parts):
        return "has a part that begins or ends with a space, which some servers remove"
    return ""


def within(name: str, root: str) -> bool:
    """Whether a key or prefix is inside a root: below it, or the root itself."""
    outer = _parts(root)
    return _parts(name)[: len(outer)] == outer


def folder_of_another(root: str, outer: str) -> str:
    """The folder of NanoGrid below another root that a root is in; empty if it is in none.

    Args:
        root: of a namespace.
        outer: the root of another namespace in the same bucket.
    """
    parts, above = _parts(root), _parts(outer)
    if len(parts) <= len(above) or not within(root, outer):
        return ""
    first = _folded(parts[len(above)])
    return first if first in NOT_ROOTS else ""


def place_fault(
    name: str,
    use: Use,
    *,
    root: str,
    folder: bool,
    request_id: str = "",
    session: bool = False,
    foreign_roots: Iterable[str] = (),
) -> str:
    """Why a key inside a root is refused there; empty if it is not.

    Args:
        name: the key or the prefix; its spelling is checked, and it is within the root.
        use: what the job does with it.
        root: of the job's namespace; empty, or a path that ends with a slash.
        folder: whether it is a prefix.
        request_id: of the job, which has its own folders.
        session: whether the job is a session, which may read the files of its own id.
        foreign_roots: roots of other namespaces in the same bucket.
    """
    parts, outer = _parts(name), _parts(root)
    below = parts[len(outer) :]
    if not below:
        return "is the whole root, which contains reserved folders: name a folder below it"
    folded = [_folded(part) for part in parts]
    for foreign in foreign_roots:
        theirs = _parts(foreign)
        if len(theirs) <= len(outer) or theirs[: len(outer)] != outer:
            continue  # it contains this root, or is apart from it
        if _overlaps(folded, theirs, folder):
            return f"is in {foreign}, the root of another namespace"
    first = folded[len(outer)]
    if first not in RESERVED:
        return ""
    allowed = _allowed(use, request_id, session)
    if any(_matches(below, one) for one in allowed) and not _input_as_code(below, use):
        return ""
    return f"is in the reserved folder {first}/, {_reason(use, allowed)}"


def _allowed(use: Use, request_id: str, session: bool) -> list[tuple[str, ...]]:
    """The reserved folders that a job may name, as parts."""
    if use is Use.CODE:
        return [("code",), ("functions",)]
    if use is Use.TARGET:
        artifacts = ("sessions", request_id, names.SESSION_ARTIFACTS.rstrip("/"))
        return [("outputs", request_id), *([artifacts] if session else [])]
    folders = [("code",), ("outputs",), ("functions", _ANY, "inputs")]
    return [*folders, *([("sessions", request_id)] if session else [])]


def _input_as_code(below: Sequence[str], use: Use) -> bool:
    """Inputs of functions come from callers of the gateway, who must not choose the code."""
    return use is Use.CODE and _matches(below, ("functions", _ANY, "inputs"))


def _reason(use: Use, allowed: Sequence[Sequence[str]]) -> str:
    folders = ", ".join("/".join(parts) + "/" for parts in allowed)
    if use is Use.TARGET:
        return f"which only NanoGrid writes to: use another folder, or {folders}"
    if use is Use.CODE:
        return "which is not for code: put the ZIP below code/ or into another folder"
    return f"which jobs cannot read: inputs may read other folders, and {folders}"


def _parts(name: str) -> list[str]:
    path = name.removesuffix("/")
    return path.split("/") if path else []


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path begins with the parts of a pattern, in exactly this spelling."""
    if len(parts) < len(pattern):
        return False
    return all(want in (_ANY, part) for part, want in zip(parts, pattern, strict=False))


def _overlaps(folded: Sequence[str], foreign: Sequence[str], folder: bool) -> bool:
    """Whether a key is in a foreign root, or a prefix contains one."""
    if not folder and len(folded) < len(foreign):
        return False
    return all(part == _folded(other) for part, other in zip(folded, foreign, strict=False))


def _folded(part: str) -> str:
    """A part as a server compares it that ignores case, width, what is not seen, and the end."""
    return _seen(part).casefold().rstrip(". ")


def _seen(part: str) -> str:
    """A part without width and without invisible characters: every kind of space is a space."""
    if part.isascii():
        return part
    wide = unicodedata.normalize("NFKC", part)
    kinds = ((character, unicodedata.category(character)) for character in wide)
    return "".join(" " if kind[0] == "Z" else one for one, kind in kinds if kind != "Cf")
