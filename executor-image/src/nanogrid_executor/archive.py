"""Unpacking a stranger's ZIP: every entry is checked before one byte of any is written.

Not ``extractall``: this refuses what it would silently rename, and counts the bytes that come out
instead of believing the headers.
"""

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

from nanogrid.reasons import Reason

MAX_ENTRIES: Final = 10_000
MAX_BYTES: Final = 512 * 1024 * 1024
MAX_RATIO: Final = 1000  # deflate gives at most 1032; text that people zip stays below 100
RATIO_FREE_BYTES: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 32
MAX_NAME_BYTES: Final = 255
CHUNK_BYTES: Final = 1024 * 1024
ENCRYPTED: Final = 0x1
UTF8_NAME: Final = 0x800
UNIX: Final = 3
LOCAL_HEADER_BYTES: Final = 30
END_MAGIC: Final = b"PK\x05\x06"
END_RECORD: Final = struct.Struct("<4s4H2LH")
END_SEARCH_BYTES: Final = 64 * 1024 + 22
MAX_DIRECTORY_BYTES: Final = 4 * 1024 * 1024

_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


class ArchiveError(Exception):
    """The archive is refused; ``reason`` is why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def extract(archive: str, target: str) -> list[str]:
    """Unpack a ZIP file into an existing directory; the relative paths of its files.

    Raises:
        ArchiveError: it is empty, broken, unsafe or too large. Nothing is written unless the
            directory of entries is all right; a broken or lying entry may leave files behind.
    """
    size = os.path.getsize(archive)
    _refuse_huge_directory(archive, size)
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _checked(opened.infolist(), size)
            _Writer(opened, target, size).write(entries)
    except _BROKEN as error:
        raise ArchiveError(
            Reason.CORRUPT_ARCHIVE, f"{size} bytes, no valid ZIP: {error}"
        ) from error
    return [path for path, info in entries if not info.is_dir()]


def _refuse_huge_directory(archive: str, size: int) -> None:
    """A million empty files are 46 MB of directory and gigabytes of objects once it is parsed."""
    with open(archive, "rb") as file:
        file.seek(max(0, size - END_SEARCH_BYTES))
        tail = file.read()
    found = tail.rfind(END_MAGIC)
    if found < 0 or len(tail) < found + END_RECORD.size:
        return  # zipfile says what is wrong with it
    _, _, _, _, count, directory_bytes, _, _ = END_RECORD.unpack_from(tail, found)
    if count > MAX_ENTRIES or directory_bytes > MAX_DIRECTORY_BYTES:
        raise ArchiveError(
            Reason.ARCHIVE_TOO_LARGE, f"{count} entries, at most {MAX_ENTRIES} are allowed"
        )


def _checked(infos: list[zipfile.ZipInfo], size: int) -> list[tuple[str, zipfile.ZipInfo]]:
    """The entries with their safe paths."""
    if len(infos) > MAX_ENTRIES:
        raise ArchiveError(
            Reason.ARCHIVE_TOO_LARGE, f"{len(infos)} entries, at most {MAX_ENTRIES} are allowed"
        )
    if sum(info.file_size for info in infos) > MAX_BYTES:
        raise ArchiveError(Reason.ARCHIVE_TOO_LARGE, f"more than {MAX_BYTES} bytes unpacked")
    entries = [(_safe_path(info), info) for info in infos]
    if all(info.is_dir() for info in infos):
        raise ArchiveError(Reason.EMPTY_ARCHIVE, f"{size} bytes, 0 files")
    _refuse_duplicates(entries)
    _refuse_overlaps(infos)
    return entries


def _safe_path(info: zipfile.ZipInfo) -> str:
    """The relative path of an entry.

    Raises:
        ArchiveError: the name or the kind of the entry is refused.
    """
    name = _name(info)

    def refuse(why: str) -> ArchiveError:
        return ArchiveError(Reason.UNSAFE_ARCHIVE, f"{name[:100]!a} {why}")

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
    mode = info.external_attr >> 16
    kind = stat.S_IFMT(mode) if info.create_system == UNIX else 0
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refuse("is a link or a special file")
    return "/".join(parts)


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


def _refuse_overlaps(infos: list[zipfile.ZipInfo]) -> None:
    """Entries that share compressed bytes are how a small file becomes terabytes."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < 0:
            raise zipfile.BadZipFile("its beginning is missing")
        if info.header_offset < end:
            raise ArchiveError(Reason.UNSAFE_ARCHIVE, f"{info.filename!r} overlaps another entry")
        name_bytes = len(info.orig_filename)  # at least: characters are one byte or more
        end = info.header_offset + LOCAL_HEADER_BYTES + name_bytes + info.compress_size


class _Writer:
    """Writes checked entries, and counts what comes out of them."""

    def __init__(self, archive: zipfile.ZipFile, target: str, size: int) -> None:
        self.archive = archive
        self.target = target
        self.limit = min(MAX_BYTES, max(RATIO_FREE_BYTES, size * MAX_RATIO))
        self.written = 0

    def write(self, entries: list[tuple[str, zipfile.ZipInfo]]) -> None:
        """Write all entries below the target."""
        for path, info in entries:
            real = os.path.join(self.target, path)
            if info.is_dir():
                os.makedirs(real, mode=0o755, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(real), mode=0o755, exist_ok=True)
                self._write_file(real, info)

    def _write_file(self, real: str, info: zipfile.ZipInfo) -> None:
        executable = info.create_system == UNIX and (info.external_attr >> 16) & 0o111
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(real, flags, 0o600)
        with os.fdopen(descriptor, "wb") as output, self.archive.open(info) as source:
            while chunk := source.read(CHUNK_BYTES):
                self.written += len(chunk)
                if self.written > self.limit:
                    raise ArchiveError(
                        Reason.ARCHIVE_TOO_LARGE, f"more than {self.limit} bytes unpacked"
                    )
                output.write(chunk)
            os.fchmod(descriptor, 0o755 if executable else 0o644)
