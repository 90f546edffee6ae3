"""Unpacking a stranger's ZIP: every entry is checked before one byte of any is written.

Not ``extractall``: this refuses what it would silently rename, and counts the bytes that come out
instead of believing the headers. Archives inside are files like any other.
"""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from nanogrid.reasons import Reason
from nanogrid_executor import archive_checks
from nanogrid_executor.archive_checks import UNIX, ArchiveError

MAX_BYTES: Final = 512 * 1024 * 1024
CHUNK_BYTES: Final = 256 * 1024
RESOURCE_FORKS: Final = "__MACOSX/"  # beside the real folder in every ZIP that a Mac's Finder makes

_BROKEN: Final = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError)


class Unpacked(NamedTuple):
    """One file that was written; ``path`` is relative."""

    path: str
    bytes: int
    sha256: str


class Archive:
    """An open ZIP whose entries are all acceptable."""

    def __init__(self, opened: zipfile.ZipFile, size: int, max_bytes: int) -> None:
        infos = opened.infolist()
        self._opened = opened
        self._limit = max_bytes
        self._entries = archive_checks.checked(infos, size, max_bytes)
        assert opened.fp is not None  # noqa: S101 it was opened just now
        archive_checks.refuse_overlaps(opened.fp, infos, opened.start_dir)

    @property
    def files(self) -> list[str]:
        """The relative paths of all files."""
        return [path for path, info in self._entries if not info.is_dir()]

    def single_folder(self) -> str | None:
        """The one folder that holds everything, if there is one."""
        tops = {p.partition("/")[0] for p in self.files if not p.startswith(RESOURCE_FORKS)}
        folder = tops.pop() if len(tops) == 1 else ""
        return folder if folder and folder not in self.files else None

    def strip(self, folder: str) -> None:
        """Forget all that is not in a folder, and the folder's own name."""
        cut = len(folder) + 1
        below = f"{folder}/"
        self._entries = [(p[cut:], info) for p, info in self._entries if p.startswith(below)]

    def extract(self, target: str, tick: Callable[[], None] = lambda: None) -> list[Unpacked]:
        """Write everything below an existing directory.

        Args:
            target: the directory.
            tick: called between chunks; what it raises ends the work.
        """
        written = 0
        files = []
        for path, info in self._entries:
            real = os.path.join(target, path)
            if info.is_dir():
                os.makedirs(real, mode=0o755, exist_ok=True)
                continue
            os.makedirs(os.path.dirname(real), mode=0o755, exist_ok=True)
            size, digest = self._write(real, info, written, tick)
            written += size
            files.append(Unpacked(path, size, digest))
        return files

    def _write(
        self, real: str, info: zipfile.ZipInfo, written: int, tick: Callable[[], None]
    ) -> tuple[int, str]:
        executable = info.create_system == UNIX and (info.external_attr >> 16) & 0o111
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        digest = hashlib.sha256()
        size = 0
        descriptor = os.open(real, flags, 0o600)
        with os.fdopen(descriptor, "wb") as output, self._opened.open(info) as source:
            while chunk := source.read(CHUNK_BYTES):
                tick()
                size += len(chunk)
                if written + size > self._limit:
                    said = f"more than {self._limit} bytes unpacked"
                    raise ArchiveError(Reason.ARCHIVE_TOO_LARGE, said)
                digest.update(chunk)
                output.write(chunk)
            os.fchmod(descriptor, 0o755 if executable else 0o644)
        if size != info.file_size:
            said = f"{info.filename[:100]!a} has {size} bytes and says {info.file_size}"
            raise zipfile.BadZipFile(said)
        return size, digest.hexdigest()


@contextmanager
def opened(path: str, max_bytes: int = MAX_BYTES) -> Iterator[Archive]:
    """Open a ZIP file for extraction.

    Raises:
        ArchiveError: it is empty, broken, unsafe or too large; also while it is extracted. Nothing
            is written unless all entries are acceptable; one that lies may leave files behind.
    """
    size = os.path.getsize(path)
    archive_checks.refuse_huge_directory(path, size)
    try:
        with zipfile.ZipFile(path) as file:
            yield Archive(file, size, max_bytes)
    except _BROKEN as error:
        said = f"{size} bytes, no valid ZIP: {error}"
        raise ArchiveError(Reason.CORRUPT_ARCHIVE, said) from error
