"""Local files that the client reads, and what a folder contains. Only regular files are read.

A FIFO or a device would block a read for ever; a link may lead out of the folder, and archives with
links are refused. So both are refused by name instead of left out: the job must get what the user
sees.
"""

import os
import stat
from pathlib import Path
from typing import IO, Final, NamedTuple

from nanogrid import archive
from nanogrid.client.errors import InvalidRequest
from nanogrid.file_names import kind_of
from nanogrid.visible_text import printable

SKIPPED: Final = frozenset({"__pycache__", ".git", ".venv", ".mypy_cache", ".pytest_cache"})
_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO opens at once
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class Member(NamedTuple):
    """A file below a folder, or a folder without files; ``name`` is relative, with slashes."""

    name: str
    path: Path
    is_dir: bool = False


def open_file(path: Path) -> IO[bytes]:
    """Open a regular file to read it.

    Raises:
        InvalidRequest: it is missing, not readable or something else.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        raise _unreadable(path, error) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise _refused(path, f"is {kind_of(mode)}", "Give a regular file.")


def read_file(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        InvalidRequest: see :func:`open_file`.
    """
    with open_file(path) as file:
        return file.read()


def members(folder: Path) -> list[Member]:
    """All files below a folder, and its empty folders, sorted; caches are left out.

    Raises:
        InvalidRequest: it has a link, a special file, an unreadable folder, or a name that archives
            cannot have.
    """
    found: list[Member] = []
    _walk(folder, "", found)
    return sorted(found)


def _walk(folder: Path, prefix: str, found: list[Member]) -> None:
    try:
        with os.scandir(folder) as entries:
            children = [one for one in entries if one.name not in SKIPPED]
    except OSError as error:
        raise _unreadable(folder, error) from error
    if prefix and not children:
        found.append(Member(prefix.rstrip("/"), folder, is_dir=True))
    for child in children:
        name, path = prefix + child.name, Path(child.path)
        if fault := archive.path_fault(name):
            raise _refused(path, fault, "Rename it, or move it out of the folder.")
        mode = child.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            _walk(path, f"{name}/", found)
        elif stat.S_ISREG(mode):
            found.append(Member(name, path))
        elif stat.S_ISLNK(mode):
            what = "folder" if path.is_dir() else "file"
            hint = f"Replace the link with the {what}. Archives with links are refused."
            raise _refused(path, f"is {kind_of(mode)}", hint)
        else:
            raise _refused(path, f"is {kind_of(mode)}", "Move it out of the folder.")


def _refused(path: Path, fault: str, hint: str) -> InvalidRequest:
    return InvalidRequest(f"{printable(str(path))} {fault}.", hint)


def _unreadable(path: Path, error: OSError) -> InvalidRequest:
    fault = f"cannot be read: {error.strerror or error}"
    return _refused(path, fault, "Check the path and its permissions.")
