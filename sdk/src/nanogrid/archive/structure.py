"""Rules for the structure of a ZIP: a directory of modest size, and entries that do not overlap."""

import struct
import zipfile
from typing import IO, Final

from nanogrid.archive.entries import refused
from nanogrid.archive.errors import ArchiveError
from nanogrid.archive.limits import MAX_DIRECTORY_BYTES, MAX_ENTRIES
from nanogrid.reasons import Reason

_ENTRY_MAGIC: Final = b"PK\x01\x02"
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")  # magic, bytes of the name and of the extra field
_END_MAGIC: Final = b"PK\x05\x06"
_END: Final = struct.Struct("<4s6xHL6x")  # magic, entries, bytes of the directory
_LOCATOR_MAGIC: Final = b"PK\x06\x07"
_LOCATOR_BYTES: Final = 20
_END64_MAGIC: Final = b"PK\x06\x06"
_END64: Final = struct.Struct("<4s20xQQQ8x")  # magic, entries on this disk, entries, bytes
_END_SEARCH_BYTES: Final = 64 * 1024 + _END.size + _LOCATOR_BYTES + _END64.size


def refuse_huge_directory(file: IO[bytes], size: int) -> None:
    """Refuse an archive whose end record, classic or ZIP64, announces a huge directory.

    Raises:
        ArchiveError: it does, or its ZIP64 end record is missing.
    """
    file.seek(max(0, size - _END_SEARCH_BYTES))
    tail = file.read(_END_SEARCH_BYTES)
    at = len(tail) - _END.size  # zipfile looks here first, and then for the last magic number
    if at < 0 or not (tail.startswith(_END_MAGIC, at) and tail.endswith(b"\0\0")):
        at = tail.rfind(_END_MAGIC)
    if at < 0 or len(tail) < at + _END.size:
        return  # zipfile reports the fault
    _, count, directory_bytes = _END.unpack_from(tail, at)
    at -= _LOCATOR_BYTES
    if at >= 0 and tail.startswith(_LOCATOR_MAGIC, at):
        at -= _END64.size
        if at < 0 or not tail.startswith(_END64_MAGIC, at):
            raise ArchiveError(Reason.CORRUPT_ARCHIVE, "its ZIP64 end record is missing")
        _, on_disk, total, directory_bytes = _END64.unpack_from(tail, at)
        count = max(on_disk, total)
    _refuse_over(count, directory_bytes)


class DirectoryReader:
    """The file as zipfile sees it while it opens an archive: every read is limited.

    The end records may lie. A million entries are 46 MB of directory, and take 350 MB of memory
    once zipfile has parsed them.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        """Read from the file.

        Raises:
            ArchiveError: more is read than a directory may have, or it has too many entries.
        """
        data = self._file.read(min(size, MAX_DIRECTORY_BYTES + 1))
        _refuse_over(data.count(_ENTRY_MAGIC), len(data))
        return data


def _refuse_over(entries: int, directory_bytes: int) -> None:
    if entries > MAX_ENTRIES:
        message = f"{entries} entries, at most {MAX_ENTRIES} are allowed"
    elif directory_bytes > MAX_DIRECTORY_BYTES:
        message = f"a directory of over {MAX_DIRECTORY_BYTES} bytes for {entries} entries"
    else:
        return
    raise ArchiveError(Reason.ARCHIVE_TOO_LARGE, message, entries=entries)


def refuse_overlaps(file: IO[bytes], infos: list[zipfile.ZipInfo], directory_at: int) -> None:
    """Refuse entries that share compressed bytes: this is how a small file becomes terabytes.

    Args:
        file: the archive; only the local headers say where the data of an entry begins.
        infos: the directory of the archive.
        directory_at: where the directory begins; the last entry ends before it.

    Raises:
        ArchiveError: two entries overlap, or one overlaps the directory.
        BadZipFile: an entry has no local header.
    """
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < 0:
            raise zipfile.BadZipFile("its beginning is missing")
        if info.header_offset < end:
            raise _overlap(info)
        header = b""
        if info.header_offset < directory_at:
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_MAGIC):
            raise zipfile.BadZipFile(f"{info.filename[:100]!r} has no local header")
        _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
        start = info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
        end = start + info.compress_size
        if end > directory_at:
            raise _overlap(info)


def _overlap(info: zipfile.ZipInfo) -> ArchiveError:
    return refused(Reason.UNSAFE_ARCHIVE, info.filename, "overlaps another entry")
