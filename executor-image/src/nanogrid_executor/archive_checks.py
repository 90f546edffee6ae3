"""What makes a stranger's ZIP acceptable: sizes, names, kinds, and bytes that nobody shares.

Everything here looks at the directory of entries and at local headers only: nothing is unpacked.
"""

import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from typing import IO, Final

from nanogrid.reasons import Reason

MAX_ENTRIES: Final = 10_000
MAX_RATIO: Final = 200  # what people zip stays below 100; deflate gives at most 1032
RATIO_FREE_BYTES: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 32
MAX_NAME_BYTES: Final = 255
ENCRYPTED: Final = 0x1
UTF8_NAME: Final = 0x800
UNIX: Final = 3
METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others cost far more to unpack
LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
LOCAL_MAGIC: Final = b"PK\x03\x04"
END_MAGIC: Final = b"PK\x05\x06"
END_RECORD: Final = struct.Struct("<4s4H2LH")
END64_MAGIC: Final = b"PK\x06\x06"
END64_RECORD: Final = struct.Struct("<4sQ2H2L4Q")
LOCATOR_MAGIC: Final = b"PK\x06\x07"
LOCATOR: Final = struct.Struct("<4sLQL")
END_SEARCH_BYTES: Final = 64 * 1024 + END_RECORD.size + LOCATOR.size + END64_RECORD.size
MAX_DIRECTORY_BYTES: Final = 4 * 1024 * 1024


class ArchiveError(Exception):
    """The archive is refused; ``reason`` is why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def too_many(count: int) -> ArchiveError:
    """The refusal of an archive of so many entries."""
    said = f"{count} entries, at most {MAX_ENTRIES} are allowed"
    return ArchiveError(Reason.ARCHIVE_TOO_LARGE, said)


def refuse_huge_directory(archive: str, size: int) -> None:
    """A million empty files are 46 MB of directory and gigabytes of objects once it is parsed.

    There may be two end records, the classic one and that of ZIP64; the reader believes the
    second, so both have to be modest.
    """
    with open(archive, "rb") as file:
        file.seek(max(0, size - END_SEARCH_BYTES))
        tail = file.read()
    found = tail.rfind(END_MAGIC)
    if found < 0 or len(tail) < found + END_RECORD.size:
        return  # zipfile says what is wrong with it
    _, _, _, _, count, directory_bytes, _, _ = END_RECORD.unpack_from(tail, found)
    at = found - LOCATOR.size
    if at >= 0 and tail.startswith(LOCATOR_MAGIC, at):
        count, directory_bytes = _zip64(tail, at - END64_RECORD.size)
    if count > MAX_ENTRIES or directory_bytes > MAX_DIRECTORY_BYTES:
        raise too_many(count)


def _zip64(tail: bytes, at: int) -> tuple[int, int]:
    """Entries and bytes of the directory, by the ZIP64 end record."""
    if at < 0 or not tail.startswith(END64_MAGIC, at):
        raise ArchiveError(Reason.CORRUPT_ARCHIVE, "its ZIP64 end record is missing")
    _, _, _, _, _, _, on_disk, count, directory_bytes, _ = END64_RECORD.unpack_from(tail, at)
    return max(on_disk, count), directory_bytes


def checked(
    infos: list[zipfile.ZipInfo], size: int, max_bytes: int
) -> list[tuple[str, zipfile.ZipInfo]]:
    """The entries with their safe paths.

    Args:
        infos: the directory of entries.
        size: of the archive, in bytes.
        max_bytes: most bytes that it may unpack to.

    Raises:
        ArchiveError: an entry, or all of them together, are refused.
    """
    if len(infos) > MAX_ENTRIES:
        raise too_many(len(infos))
    total = sum(info.file_size for info in infos)
    limit = min(max_bytes, max(RATIO_FREE_BYTES, size * MAX_RATIO))
    if total > limit:
        said = f"{size} bytes say that they unpack to {total}, at most {limit} are allowed"
        raise ArchiveError(Reason.ARCHIVE_TOO_LARGE, said)
    entries = [(safe_path(info), info) for info in infos]
    if all(info.is_dir() for info in infos):
        raise ArchiveError(Reason.EMPTY_ARCHIVE, f"{size} bytes, 0 files")
    _refuse_duplicates(entries)
    return entries


def safe_path(info: zipfile.ZipInfo) -> str:
    """The relative path of an entry.

    Raises:
        ArchiveError: the name or the kind of the entry is refused.
    """
    name = _name(info)

    def refuse(why: str, reason: Reason = Reason.UNSAFE_ARCHIVE) -> ArchiveError:
        return ArchiveError(reason, f"{name[:100]!a} {why}")

    if "\\" in info.orig_filename or "\\" in name:
        raise refuse("has a backslash in its name")
    if "\0" in info.orig_filename or not name.isprintable():
        raise refuse("has control characters in its name")
    if name.startswith("/") or name[1:2] == ":":
        raise refuse("is absolute")
    parts = name.rstrip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise refuse("has an empty, '.' or '..' part in its name")
    if len(parts) > MAX_DEPTH or any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise refuse("has a name that is too long or too deep")
    if info.flag_bits & ENCRYPTED:
        raise refuse("is encrypted")
    if _kind(info) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refuse("is a link or a special file")
    if info.compress_type not in METHODS:
        why = f"is compressed by method {info.compress_type}: use deflate"
        raise refuse(why, Reason.CORRUPT_ARCHIVE)
    return "/".join(parts)


def _kind(info: zipfile.ZipInfo) -> int:
    return stat.S_IFMT(info.external_attr >> 16) if info.create_system == UNIX else 0


def _name(info: zipfile.ZipInfo) -> str:
    """The entry's name; old Korean programs write cp949 and say nothing."""
    if info.flag_bits & UTF8_NAME or info.filename.isascii():
        return info.filename
    try:
        raw = info.filename.encode("cp437")  # what zipfile took the bytes for
    except UnicodeEncodeError:
        return info.filename  # an extra field gave the name in Unicode
    for encoding in ("utf-8", "cp949"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return info.filename


def _refuse_duplicates(entries: list[tuple[str, zipfile.ZipInfo]]) -> None:
    """No two files of one name, upper and lower case being one, and no file that is a folder."""
    files: set[str] = set()
    folders: set[str] = set()
    for path, info in entries:
        folded = path.casefold()
        if info.is_dir():
            folders.add(folded)
        elif folded in files:
            raise ArchiveError(Reason.UNSAFE_ARCHIVE, f"{path!r} is there twice")
        else:
            files.add(folded)
        folders.update(_parents(folded))
    if files & folders:
        both = min(files & folders)
        raise ArchiveError(Reason.UNSAFE_ARCHIVE, f"{both!r} is both a file and a folder")


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def refuse_overlaps(file: IO[bytes], infos: list[zipfile.ZipInfo], directory_at: int) -> None:
    """Entries that share compressed bytes are how a small file becomes terabytes.

    Args:
        file: the archive, for the local headers: only they know where an entry's data begins.
        infos: the directory of entries.
        directory_at: where that directory begins, which is where the last entry must have ended.
    """
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < 0:
            raise zipfile.BadZipFile("its beginning is missing")
        if info.header_offset < end:
            raise _overlap(info)
        file.seek(info.header_offset, os.SEEK_SET)
        header = file.read(LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_MAGIC):
            raise zipfile.BadZipFile(f"{info.filename[:100]!a} has no local header")
        _, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
        start = info.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes
        end = start + info.compress_size
        if end > directory_at:
            raise _overlap(info)


def _overlap(info: zipfile.ZipInfo) -> ArchiveError:
    said = f"{info.filename[:100]!a} overlaps another entry"
    return ArchiveError(Reason.UNSAFE_ARCHIVE, said)
