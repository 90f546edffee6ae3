"""Rules for the entries of an archive: their names and kinds, and what all of them unpack to."""

import stat
import zipfile
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from nanogrid.archive.entry_names import UNIX, normal_path, path_fault, read_name
from nanogrid.archive.errors import ArchiveError
from nanogrid.archive.limits import METHODS, Limits
from nanogrid.reasons import Reason
from nanogrid.visible_text import printable

SHOWN_CHARACTERS: Final = 100
SHOWN_NAMES: Final = 3
_ENCRYPTED: Final = 0x1


class Entry(NamedTuple):
    """One acceptable entry; ``path`` is relative and stays below the directory it is joined to.

    ``guess`` is the encoding that its name was read in, if the archive does not say it.
    """

    path: str
    info: zipfile.ZipInfo
    is_dir: bool = False
    guess: str | None = None

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
    entries = [entry for info in infos if (entry := safe_entry(info)) is not None]
    if all(entry.is_dir for entry in entries):
        message = f"{size} bytes, 0 files"
        raise ArchiveError(Reason.EMPTY_ARCHIVE, message, files=0, entries=len(infos))
    _refuse_duplicates(entries)
    return entries


def safe_entry(info: zipfile.ZipInfo) -> Entry | None:
    """An entry with its relative path; None for the top folder itself, which some programs write.

    Raises:
        ArchiveError: the name, the kind or the compression of the entry is refused.
    """
    name = read_name(info)
    path, is_dir = normal_path(info, name)
    if not path and is_dir:
        return None
    kind = _kind(info)
    fault = path_fault(path)
    if not fault and info.flag_bits & _ENCRYPTED:
        fault = "is encrypted"
    if not fault and kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = "is a link or a special file"
    if fault:
        raise refused(Reason.UNSAFE_ARCHIVE, name.text, fault)
    if info.compress_type not in METHODS:
        fault = f"is compressed by method {info.compress_type}: use deflate"
        raise refused(Reason.CORRUPT_ARCHIVE, name.text, fault)
    return Entry(path, info, is_dir or kind == stat.S_IFDIR, name.guess)


def refused(reason: Reason, name: str, fault: str) -> ArchiveError:
    """The refusal of one entry; its name is shortened and escaped."""
    shown = name[:SHOWN_CHARACTERS]
    return ArchiveError(reason, f"{shown!r} {fault}", entry=shown)


def described(entries: Iterable[Entry]) -> str:
    """Which names were read in an encoding that the archive does not name; empty if none."""
    by_guess: dict[str, list[str]] = {}
    for entry in entries:
        if entry.guess is not None:
            by_guess.setdefault(entry.guess, []).append(entry.path)
    texts = (
        f"{len(paths)} {'name' if len(paths) == 1 else 'names'} without the UTF-8 flag, read as "
        f"{guess}: {printable(', '.join(paths[:SHOWN_NAMES])[:SHOWN_CHARACTERS])}"
        for guess, paths in sorted(by_guess.items())
    )
    return "; ".join(texts)


def _kind(info: zipfile.ZipInfo) -> int:
    return stat.S_IFMT(info.external_attr >> 16) if info.create_system == UNIX else 0


def _refuse_duplicates(entries: list[Entry]) -> None:
    """Refuse a file that exists twice, and a file that is also a folder; case matters."""
    files: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        if entry.is_dir:
            folders.add(entry.path)
        elif entry.path in files:
            raise refused(Reason.UNSAFE_ARCHIVE, entry.path, "exists twice")
        else:
            files.add(entry.path)
        folders.update(_parents(entry.path))
    if both := files & folders:
        raise refused(Reason.UNSAFE_ARCHIVE, min(both), "is both a file and a folder")


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
