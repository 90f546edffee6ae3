"""Rules for the entries of an archive: their names and kinds, and what all of them unpack to."""

import stat
import zipfile
from collections.abc import Iterator
from typing import Final, NamedTuple

from nanogrid.archive.errors import ArchiveError
from nanogrid.archive.limits import (
    MAX_DEPTH,
    MAX_NAME_BYTES,
    MAX_PATH_BYTES,
    METHODS,
    Limits,
)
from nanogrid.reasons import Reason

UNIX: Final = 3  # create_system of entries whose external_attr holds a Unix mode
SHOWN_CHARACTERS: Final = 100
_ENCRYPTED: Final = 0x1
_UTF8_NAME: Final = 0x800


class Entry(NamedTuple):
    """One acceptable entry; ``path`` is relative and stays below the directory it is joined to."""

    path: str
    info: zipfile.ZipInfo

    @property
    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.info.is_dir()

    @property
    def executable(self) -> bool:
        """Whether its Unix mode lets anybody execute it."""
        return self.info.create_system == UNIX and bool((self.info.external_attr >> 16) & 0o111)


def checked(infos: list[zipfile.ZipInfo], size: int, limits: Limits) -> list[Entry]:
    """The entries with their safe paths.

    Args:
        infos: the directory of the archive.
        size: bytes of the archive.
        limits: how much it may unpack to.

    Raises:
        ArchiveError: one entry, or all of them together, are refused.
    """
    total = sum(info.file_size for info in infos)
    most = min(limits.unpacked_bytes, max(limits.ratio_free_bytes, size * limits.ratio))
    if total > most:
        message = f"{size} bytes unpack to {total}, at most {most} are allowed"
        raise ArchiveError(Reason.ARCHIVE_TOO_LARGE, message, unpackedBytes=total)
    entries = [Entry(safe_path(info), info) for info in infos]
    if all(entry.is_dir for entry in entries):
        message = f"{size} bytes, 0 files"
        raise ArchiveError(Reason.EMPTY_ARCHIVE, message, files=0, entries=len(infos))
    _refuse_duplicates(entries)
    return entries


def safe_path(info: zipfile.ZipInfo) -> str:
    """The relative path of an entry.

    Raises:
        ArchiveError: the name, the kind or the compression of the entry is refused.
    """
    name = _name(info)
    parts = name.rstrip("/").split("/")
    fault = _name_fault(info, name, parts)
    if fault is None and info.flag_bits & _ENCRYPTED:
        fault = "is encrypted"
    if fault is None and _kind(info) not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = "is a link or a special file"
    if fault is not None:
        raise refused(Reason.UNSAFE_ARCHIVE, name, fault)
    if info.compress_type not in METHODS:
        fault = f"is compressed by method {info.compress_type}: use deflate"
        raise refused(Reason.CORRUPT_ARCHIVE, name, fault)
    return "/".join(parts)


def refused(reason: Reason, name: str, fault: str) -> ArchiveError:
    """The refusal of one entry; its name is shortened and escaped."""
    shown = name[:SHOWN_CHARACTERS]
    return ArchiveError(reason, f"{shown!r} {fault}", entry=shown)


def _name_fault(info: zipfile.ZipInfo, name: str, parts: list[str]) -> str | None:
    if "\\" in info.orig_filename or "\\" in name:
        return "has a backslash in its name"
    if "\0" in info.orig_filename or not name.isprintable():
        return "has control characters in its name"
    if name.startswith("/") or name[1:2] == ":":
        return "is absolute"
    if any(part in ("", ".", "..") for part in parts):
        return "has an empty, '.' or '..' part in its name"
    long = len(name.encode()) > MAX_PATH_BYTES or len(parts) > MAX_DEPTH
    if long or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        return "has a name that is too long or too deep"
    return None


def _kind(info: zipfile.ZipInfo) -> int:
    return stat.S_IFMT(info.external_attr >> 16) if info.create_system == UNIX else 0


def _name(info: zipfile.ZipInfo) -> str:
    """The name of an entry; older Korean programs write cp949 and do not mark it."""
    if info.flag_bits & _UTF8_NAME or info.filename.isascii():
        return info.filename
    try:
        raw = info.filename.encode("cp437")  # zipfile has decoded the bytes as cp437
    except UnicodeEncodeError:
        return info.filename  # an extra field has the name in Unicode
    for encoding in ("utf-8", "cp949"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return info.filename


def _refuse_duplicates(entries: list[Entry]) -> None:
    """Refuse a file that exists twice, ignoring case, and a file that is also a folder."""
    files: set[str] = set()
    folders: set[str] = set()
    for path, info in entries:
        folded = path.casefold()
        if info.is_dir():
            folders.add(folded)
        elif folded in files:
            raise refused(Reason.UNSAFE_ARCHIVE, path, "exists twice")
        else:
            files.add(folded)
        folders.update(_parents(folded))
    if both := files & folders:
        raise refused(Reason.UNSAFE_ARCHIVE, min(both), "is both a file and a folder")


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
