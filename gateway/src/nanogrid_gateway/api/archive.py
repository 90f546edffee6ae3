"""Whether an uploaded ZIP can run: the rules of the job's own sync, told to the uploader at once.

Nothing is unpacked to disk, and memory stays bounded: the directory of entries is refused when it
is large, and contents are only read through, to compare their checksums. The job checks again.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

from nanogrid.reasons import Reason
from nanogrid_gateway.api.errors import ApiError

# The same as in the job's sync; a test compares them.
MAX_ENTRIES: Final = 10_000
MAX_BYTES: Final = 512 * 1024 * 1024
MAX_RATIO: Final = 200
RATIO_FREE_BYTES: Final = 64 * 1024 * 1024
MAX_DEPTH: Final = 32
MAX_NAME_BYTES: Final = 255
MAX_DIRECTORY_BYTES: Final = 4 * 1024 * 1024

CHUNK_BYTES: Final = 256 * 1024
SHOWN_NAMES: Final = 20
METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED: Final = 0x1
UTF8_NAME: Final = 0x800
UNIX: Final = 3
RESOURCE_FORKS: Final = "__MACOSX/"
LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
END: Final = struct.Struct("<4s6xHLL2x")  # entries, bytes and place of the directory
LOCATOR: Final = struct.Struct("<4s16x")
END64: Final = struct.Struct("<4s20xQQQQ")  # entries here, entries, bytes and place
_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


@dataclass(frozen=True, slots=True)
class Checked:
    """What is in an accepted archive: relative paths, and bytes when unpacked."""

    files: list[str]
    total_bytes: int


def check(file: IO[bytes], entry_point: str) -> Checked:
    """Accept or refuse a ZIP.

    Args:
        file: the archive, seekable.
        entry_point: the file that must be in it, at its top level or in its only folder.

    Raises:
        ApiError: 422 with the reason that the job would have failed with.
    """
    size = file.seek(0, 2)
    if size == 0:
        raise _refused(Reason.CORRUPT_ARCHIVE, "The file has no bytes", size)
    _refuse_huge_directory(file, size)
    try:
        with zipfile.ZipFile(file) as opened:
            files = _entries(opened, size)
            _refuse_overlaps(file, opened.infolist(), opened.start_dir, size)
            total = _read_through(opened)
    except _BROKEN as e:
        said = f"{size} bytes, no valid ZIP ({e})"
        raise _refused(Reason.CORRUPT_ARCHIVE, said, size) from None
    _find(entry_point, files, size)
    return Checked(files, total)


def _refused(reason: Reason, said: str, size: int, **found: Any) -> ApiError:
    message = f"{said}. {_CURES[reason]}"
    return ApiError(422, reason, message, found={"bytes": size, **found})


_CURES: Final = {
    Reason.EMPTY_ARCHIVE: "Zip the files again (zip -r code.zip .), then upload it.",
    Reason.CORRUPT_ARCHIVE: "Make the ZIP again, with stored or deflated entries.",
    Reason.UNSAFE_ARCHIVE: "Make the ZIP again without that entry.",
    Reason.ARCHIVE_TOO_LARGE: "Make it smaller; move data to S3.",
    Reason.ENTRYPOINT_NOT_FOUND: "Put it at the top level, or give entryPoint.",
}


def _refuse_huge_directory(file: IO[bytes], size: int) -> None:
    """By its end records alone, before anything is read into objects."""
    reach = 65_535 + 22 + LOCATOR.size + END64.size
    start = max(0, size - reach)
    file.seek(start)
    tail = file.read(reach)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + END.size > len(tail):
        return  # zipfile says what is wrong with it
    _, count, length, _ = END.unpack_from(tail, at)
    at -= LOCATOR.size
    if at >= 0 and tail.startswith(b"PK\x06\x07", at):
        at -= END64.size
        if at < 0 or not tail.startswith(b"PK\x06\x06", at):
            raise _refused(Reason.CORRUPT_ARCHIVE, "Its ZIP64 end record is missing", size)
        _, here, count, length, _ = END64.unpack_from(tail, at)
        count = max(here, count)
    if count > MAX_ENTRIES or length > MAX_DIRECTORY_BYTES:
        said = f"The ZIP has {count} entries, at most {MAX_ENTRIES} are allowed"
        raise _refused(Reason.ARCHIVE_TOO_LARGE, said, size, entries=count)


def _entries(opened: zipfile.ZipFile, size: int) -> list[str]:
    """The paths of all files."""
    infos = opened.infolist()
    if len(infos) > MAX_ENTRIES:
        said = f"The ZIP has {len(infos)} entries, at most {MAX_ENTRIES} are allowed"
        raise _refused(Reason.ARCHIVE_TOO_LARGE, said, size, entries=len(infos))
    total = sum(info.file_size for info in infos)
    limit = min(MAX_BYTES, max(RATIO_FREE_BYTES, size * MAX_RATIO))
    if total > limit:
        said = f"{size} bytes unpack to {total}, at most {limit} are allowed"
        raise _refused(Reason.ARCHIVE_TOO_LARGE, said, size, unpackedBytes=total)
    paths = [(_path(info, size), info.is_dir()) for info in infos]
    files = [path for path, is_dir in paths if not is_dir]
    if not files:
        said = f"The ZIP of {size} bytes holds 0 files"
        raise _refused(Reason.EMPTY_ARCHIVE, said, size, files=0, entries=len(infos))
    _refuse_duplicates(paths, size)
    return files


def _path(info: zipfile.ZipInfo, size: int) -> str:
    name = _name(info)
    parts = name.rstrip("/").split("/")
    mode = stat.S_IFMT(info.external_attr >> 16) if info.create_system == UNIX else 0
    faults = (
        ("\\" in info.orig_filename or "\\" in name, "has a backslash in its name"),
        ("\0" in info.orig_filename or not name.isprintable(), "has control characters"),
        (name.startswith("/") or name[1:2] == ":", "is absolute"),
        (any(p in ("", ".", "..") for p in parts), "has an empty, '.' or '..' part in its name"),
        (
            len(parts) > MAX_DEPTH or any(len(p.encode()) > MAX_NAME_BYTES for p in parts),
            "has a name that is too long or too deep",
        ),
        (info.flag_bits & ENCRYPTED, "is encrypted"),
        (mode not in (0, stat.S_IFREG, stat.S_IFDIR), "is a link or a special file"),
    )
    for is_so, fault in faults:
        if is_so:
            said = f"The entry {name[:100]!a} {fault}"
            raise _refused(Reason.UNSAFE_ARCHIVE, said, size, entry=name[:100])
    if info.compress_type not in METHODS:
        said = f"The entry {name[:100]!a} is compressed by method {info.compress_type}"
        raise _refused(Reason.CORRUPT_ARCHIVE, said, size, entry=name[:100])
    return "/".join(parts)


def _name(info: zipfile.ZipInfo) -> str:
    """The entry's name; old Korean programs write cp949 and say nothing."""
    if info.flag_bits & UTF8_NAME or info.filename.isascii():
        return info.filename
    for encoding in ("utf-8", "cp949"):
        try:
            return info.filename.encode("cp437").decode(encoding)  # zipfile took it for cp437
        except UnicodeError:
            continue
    return info.filename


def _refuse_duplicates(paths: list[tuple[str, bool]], size: int) -> None:
    """No two files of one name, upper and lower case being one, and no file that is a folder."""
    files: set[str] = set()
    folders: set[str] = set()
    for path, is_dir in paths:
        folded = path.casefold()
        if not is_dir and folded in files:
            said = f"The entry {path[:100]!a} is there twice"
            raise _refused(Reason.UNSAFE_ARCHIVE, said, size, entry=path[:100])
        (folders if is_dir else files).add(folded)
        parents = folded.split("/")[:-1]
        folders.update("/".join(parents[: n + 1]) for n in range(len(parents)))
    if both := files & folders:
        said = f"The entry {min(both)[:100]!a} is both a file and a folder"
        raise _refused(Reason.UNSAFE_ARCHIVE, said, size, entry=min(both)[:100])


def _refuse_overlaps(
    file: IO[bytes], infos: Iterable[zipfile.ZipInfo], directory_at: int, size: int
) -> None:
    """Entries that share bytes are how a small file becomes terabytes."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        file.seek(max(0, info.header_offset))
        header = file.read(LOCAL_HEADER.size)
        if info.header_offset < 0 or len(header) < LOCAL_HEADER.size:
            raise zipfile.BadZipFile(f"{info.filename[:100]!a} has no local header")
        magic, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
        start, before = info.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes, end
        end = start + info.compress_size
        if info.header_offset < before or (magic == b"PK\x03\x04" and end > directory_at):
            said = f"The entry {info.filename[:100]!a} overlaps another"
            raise _refused(Reason.UNSAFE_ARCHIVE, said, size, entry=info.filename[:100])
        if magic != b"PK\x03\x04":
            raise zipfile.BadZipFile(f"{info.filename[:100]!a} has no local header")


def _read_through(opened: zipfile.ZipFile) -> int:
    """Read all contents, which compares their checksums; the bytes of all."""
    total = 0
    for info in opened.infolist():
        if info.is_dir():
            continue
        read = 0
        with opened.open(info) as source:
            while chunk := source.read(CHUNK_BYTES):
                read += len(chunk)
        if read != info.file_size:
            raise zipfile.BadZipFile(f"{info.filename[:100]!a} has {read} bytes, not as it says")
        total += read
    return total


def _find(entry_point: str, files: list[str], size: int) -> None:
    """The entry point, at the top level or in the only folder."""
    tops = {path.partition("/")[0] for path in files if not path.startswith(RESOURCE_FORKS)}
    wanted = {entry_point, *(f"{top}/{entry_point}" for top in tops if len(tops) == 1)}
    if wanted.isdisjoint(files):
        shown = sorted(files)[:SHOWN_NAMES]
        said = f"The ZIP has {len(files)} files and no {entry_point}"
        raise _refused(Reason.ENTRYPOINT_NOT_FOUND, said, size, files=shown)


def iter_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The file from its beginning, in pieces."""
    file.seek(0)
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
