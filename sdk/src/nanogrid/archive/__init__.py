"""The rules for ZIP archives that users upload: limits, structure, names, entry point.

The gateway reads an archive by these rules, the executor unpacks it by them, the client packs by
them. The first rule that an archive breaks gives the reason, in this order: the directory of
entries (:func:`opened`), the entry point (:meth:`Archive.locate`), the contents
(:meth:`Archive.read`). Standard library only; nothing here writes a file.
"""

from nanogrid.archive.entries import Entry
from nanogrid.archive.entry_names import UNIX, path_fault
from nanogrid.archive.entry_point import EntryPoint, entry_point_of, folder_of
from nanogrid.archive.errors import ArchiveError
from nanogrid.archive.limits import LIMITS, Limits
from nanogrid.archive.reader import Archive, opened

__all__ = [
    "LIMITS",
    "UNIX",
    "Archive",
    "ArchiveError",
    "Entry",
    "EntryPoint",
    "Limits",
    "entry_point_of",
    "folder_of",
    "opened",
    "path_fault",
]
