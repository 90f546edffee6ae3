"""Unpacks a ZIP into a directory; :mod:`nanogrid.archive` has the rules of what is acceptable.

Not ``extractall``: it renames silently what the rules refuse, and it follows links that exist in
the target. Archives inside an archive are files like any other.
"""

import hashlib
import os
from collections.abc import Callable
from typing import NamedTuple

from nanogrid.archive import Archive, Entry


class Unpacked(NamedTuple):
    """One file that was written; ``path`` is relative."""

    path: str
    bytes: int
    sha256: str


def extract(
    archive: Archive, target: str, on_chunk: Callable[[], None] = lambda: None
) -> list[Unpacked]:
    """Write all entries below an existing directory.

    Args:
        archive: the open archive; nothing was written before all its entries were accepted.
        target: the directory.
        on_chunk: called for each chunk; an exception of it ends the work.

    Raises:
        ArchiveError: a content is damaged or too large; files may be left behind.
    """
    files = []
    for entry in archive.entries:
        real = os.path.join(target, entry.path)
        if entry.is_dir:
            os.makedirs(real, mode=0o755, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(real), mode=0o755, exist_ok=True)
        files.append(_write(archive, entry, real, on_chunk))
    return files


def _write(archive: Archive, entry: Entry, real: str, on_chunk: Callable[[], None]) -> Unpacked:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    digest = hashlib.sha256()
    size = 0
    descriptor = os.open(real, flags, 0o600)
    with os.fdopen(descriptor, "wb") as output:
        for chunk in archive.read(entry):
            on_chunk()
            size += len(chunk)
            digest.update(chunk)
            output.write(chunk)
        os.fchmod(descriptor, 0o755 if entry.executable else 0o644)
    return Unpacked(entry.path, size, digest.hexdigest())
