"""Opening an archive and reading its contents; every step raises :class:`ArchiveError`."""

import os
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO, Final

from nanogrid.archive.entries import Entry, checked, described
from nanogrid.archive.entry_point import EntryPoint, folder_of
from nanogrid.archive.errors import ArchiveError
from nanogrid.archive.limits import LIMITS, Limits
from nanogrid.archive.structure import DirectoryReader, refuse_huge_directory, refuse_overlaps
from nanogrid.reasons import Reason
from nanogrid.visible_text import printable

CHUNK_BYTES: Final = 256 * 1024
SHOWN_FILES: Final = 10  # in a message
FOUND_FILES: Final = 20  # for programs
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


class Archive:
    """An open ZIP whose directory is acceptable."""

    def __init__(self, opened: zipfile.ZipFile, entries: list[Entry], size: int, most: int) -> None:
        self.entries = entries
        self._opened = opened
        self._size = size
        self._most = most
        self._unpacked = 0

    @property
    def files(self) -> list[str]:
        """The relative paths of all files, in the order of the archive."""
        return [entry.path for entry in self.entries if not entry.is_dir]

    @property
    def guesses(self) -> str:
        """Which names were read in an encoding that the archive does not name; empty if none."""
        return described(self.entries)

    def locate(self, entry: EntryPoint, others: Collection[str] = ()) -> None:
        """Check that an entry point exists. If only the single folder holds it, enter this.

        Entering a folder removes its name from the paths and drops all entries outside.

        Args:
            entry: see :func:`entry_point_of`.
            others: paths outside the archive that may be the entry point.

        Raises:
            ArchiveError: the entry point is missing; the message shows the files that exist.
        """
        files = self.files
        if entry.found_in(others):
            return
        folder = folder_of(files, entry)
        if folder is None:
            more = f" and {len(files) - SHOWN_FILES} more" if len(files) > SHOWN_FILES else ""
            shown = ", ".join(map(printable, files[:SHOWN_FILES])) + more
            message = f"no {entry.files[0]} at the top level; the archive holds {shown}"
            found = sorted(files)[:FOUND_FILES]
            raise ArchiveError(Reason.ENTRYPOINT_NOT_FOUND, message, files=found)
        if folder:
            top = f"{folder}/"
            inside = [one for one in self.entries if one.path.startswith(top)]
            self.entries = [one._replace(path=one.path.removeprefix(top)) for one in inside]

    def read(self, entry: Entry) -> Iterator[bytes]:
        """The content of a file, in chunks of at most ``CHUNK_BYTES``.

        Raises:
            ArchiveError: size or checksum are wrong, or all that was read exceeds the limit. Bytes
                are counted as they come, because headers may lie.
        """
        count = 0
        with _as_corrupt(self._size):
            with self._opened.open(entry.info) as source:
                while chunk := source.read(CHUNK_BYTES):
                    count += len(chunk)
                    self._unpacked += len(chunk)
                    if self._unpacked > self._most:
                        message = f"more than {self._most} bytes unpacked"
                        raise ArchiveError(Reason.ARCHIVE_TOO_LARGE, message)
                    yield chunk
            if count != entry.info.file_size:
                name = entry.path[:100]
                message = f"{name!r} has {count} bytes, its header says {entry.info.file_size}"
                raise zipfile.BadZipFile(message)


@contextmanager
def opened(file: IO[bytes], limits: Limits = LIMITS) -> Iterator[Archive]:
    """Open a ZIP and check its directory. Memory stays bounded for any content.

    Args:
        file: the archive, seekable; it is not closed.
        limits: how much it may unpack to.

    Raises:
        ArchiveError: it is empty, damaged, unsafe or too large.
    """
    size = file.seek(0, os.SEEK_END)
    refuse_huge_directory(file, size)
    with _as_corrupt(size):
        zipped = zipfile.ZipFile(DirectoryReader(file))
    with zipped:
        zipped.fp = file  # the guard is for the directory; contents are read in chunks
        with _as_corrupt(size):
            infos = zipped.infolist()
            entries = checked(infos, size, limits)
            refuse_overlaps(file, infos, zipped.start_dir)
        yield Archive(zipped, entries, size, limits.unpacked_bytes)


@contextmanager
def _as_corrupt(size: int) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        message = f"{size} bytes, not a valid ZIP: {error}"
        raise ArchiveError(Reason.CORRUPT_ARCHIVE, message) from error
