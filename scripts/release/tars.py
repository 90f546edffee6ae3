"""Tar archives that depend on nothing but names, modes and contents of their files."""

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

EXECUTABLE, PLAIN = 0o755, 0o644
LEVEL = 6

Entry = tuple[str, "bytes | Path", int]


def files(folder: Path, prefix: str) -> list[Entry]:
    """All files below a folder, under a prefix."""
    found: list[Entry] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            mode = EXECUTABLE if path.stat().st_mode & 0o100 else PLAIN
            found.append((f"{prefix}{path.relative_to(folder).as_posix()}", path, mode))
    return found


def write(target: Path, entries: Iterable[Entry], mtime: int, *, compress: bool) -> None:
    """Write an archive: sorted, one time, no owner; gzip without time and name."""
    with target.open("wb") as raw:
        if compress:
            with gzip.GzipFile("", "wb", LEVEL, raw, mtime=0) as packed:
                _write(packed, entries, mtime)
        else:
            _write(raw, entries, mtime)


def _write(out: "gzip.GzipFile | io.BufferedWriter", entries: Iterable[Entry], mtime: int) -> None:
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content, mode in sorted(entries, key=lambda entry: entry[0]):
            info = tarfile.TarInfo(name)
            info.mtime, info.mode = mtime, mode
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.size = content.stat().st_size
                with content.open("rb") as file:
                    archive.addfile(info, file)
