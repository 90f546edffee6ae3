"""Finds the files that the code left in its output directory.

Untrusted code filled the directory, so it is walked by file descriptors. No symbolic link is
followed at any level, and only regular files with a single hard link count. Everything else is
reported in a bounded number of lines.
"""

import errno
import os
import stat
from itertools import islice
from typing import IO, Final

from nanogrid import wire
from nanogrid.file_names import character_fault, kind_of
from nanogrid.record import Record, field
from nanogrid.visible_text import printable
from nanogrid_executor.capture import shorten_line
from nanogrid_executor.outputs.directory import DIRECTORY, open_directory
from nanogrid_executor.outputs.selection import Selection
from nanogrid_executor.outputs.shipped import NOTHING, Shipped

MAX_DEPTH: Final = 32
MAX_ENTRIES: Final = 100_000
MAX_KEY_BYTES: Final = 1024  # S3's limit
SHOWN_BYTES: Final = 200
NOTES: Final = 20


_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Notes:
    """Lines for people: the first ``NOTES``, and how many more there were."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.count = 0

    def add(self, line: str) -> None:
        """Add a line."""
        self.count += 1
        if len(self._lines) < NOTES:
            self._lines.append(line)

    def lines(self) -> list[str]:
        """All lines, or the first and a count."""
        left_out = self.count - len(self._lines)
        return self._lines + ([f"{left_out} more like these"] if left_out else [])


class Count:
    """One rule: how many files break it, and the first of them."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.count = 0
        self.first = ""

    def add(self, path: str) -> None:
        """Count a file that breaks the rule."""
        self.count += 1
        self.first = self.first or path

    def lines(self) -> list[str]:
        """One line, or none when no file breaks the rule."""
        if not self.count:
            return []
        files = "1 file is" if self.count == 1 else f"{self.count} files are"
        return [f"{files} {self.fault}, the first is {shown(self.first)}"]


class Found(Record):
    """What a walk found: files to store as (path, bytes), and lines about all others.

    ``note``: what the patterns leave out by mistake, as it seems.
    """

    files: list[tuple[str, int]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    note: str = ""


class _Walk:
    """One walk."""

    def __init__(self, rules: wire.OutputRules, max_entries: int, shipped: Shipped) -> None:
        self.rules = rules
        self.shipped = shipped
        self.max_entries = max_entries
        self.selection = Selection(rules)
        self.files: list[tuple[str, int]] = []
        self.total = 0
        self.entries = 0
        self.skipped = Notes()
        self.failed = Notes()
        self.from_code = Count("from the code's ZIP and unchanged")
        self.over_files = Count(f"over maxFiles {rules.max_files}")
        self.over_file_bytes = Count(f"over maxFileBytes {rules.max_file_bytes}")
        self.over_bytes = Count(f"over maxBytes {rules.max_bytes}")
        self.over_entries = Count(f"over {max_entries} directory entries")

    def into(self, directory: int, prefix: str, depth: int) -> None:
        """Walk one open directory, in the order of names."""
        with os.scandir(directory) as entries:
            room = self.max_entries - self.entries
            found = [entry.name for entry in islice(entries, room + 1)]
        if len(found) > room:
            self.over_entries.add(prefix + found.pop())
        self.entries += len(found)
        for name in sorted(found):
            self._entry(directory, name, prefix + name, depth)

    def _entry(self, directory: int, name: str, path: str, depth: int) -> None:
        try:
            info = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                self._file(path, info)
            elif depth == MAX_DEPTH:
                self.failed.add(f"{shown(path)} is more than {MAX_DEPTH} folders deep")
            else:
                with Inner(directory, name) as inner:
                    self.into(inner.fileno, f"{path}/", depth + 1)
        except OSError as error:  # not readable, or replaced during the walk
            self.failed.add(f"{shown(path)}: {error.strerror}")

    def _file(self, path: str, info: os.stat_result) -> None:
        """Sort one entry into files to store, skipped and failed ones."""
        regular = stat.S_ISREG(info.st_mode)
        shipped = regular and self.shipped.has(path, info)
        if not self.selection.wants(path, output=regular and not shipped):
            return
        if not regular:
            self.skipped.add(f"{shown(path)} is {kind_of(info.st_mode)}")
        elif info.st_nlink != 1:
            self.skipped.add(f"{shown(path)} has {info.st_nlink} names (hard links)")
        elif shipped:
            self.from_code.add(path)
        elif fault := character_fault(path):
            self.failed.add(f"{shown(path)} cannot be an S3 key: it {fault}")
        elif len(self.rules.prefix.encode()) + len(path.encode()) > MAX_KEY_BYTES - 16:
            self.failed.add(f"{shown(path)} has a name that is too long for an S3 key")
        elif info.st_size > self.rules.max_file_bytes:
            self.over_file_bytes.add(path)
        elif len(self.files) >= self.rules.max_files:
            self.over_files.add(path)
        elif self.total + info.st_size > self.rules.max_bytes:
            self.over_bytes.add(path)
        else:
            self.total += info.st_size
            self.files.append((path, info.st_size))

    def found(self) -> Found:
        """The result of the walk."""
        caps = (self.over_files, self.over_file_bytes, self.over_bytes, self.over_entries)
        over = [line for cap in caps for line in cap.lines()]
        skipped = self.from_code.lines() + self.skipped.lines()
        failed = over + self.failed.lines()
        return Found(
            files=sorted(self.files), skipped=skipped, failed=failed, note=self.selection.note()
        )


class Inner:
    """A directory, opened without following a link; closed at the end of the block."""

    def __init__(self, parent: int, name: str) -> None:
        self.fileno = os.open(name, DIRECTORY, dir_fd=parent)

    def __enter__(self) -> "Inner":
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fileno)


def walk(
    workspace: str,
    rules: wire.OutputRules,
    max_entries: int = MAX_ENTRIES,
    shipped: Shipped = NOTHING,
) -> Found:
    """Find the output files; paths are relative to the output directory.

    Args:
        workspace: the directory that the output directory is below.
        rules: which files to store, and how many.
        max_entries: directory entries to look at, those that are not stored included.
        shipped: files that came with the code, which are no outputs.
    """
    try:
        top = open_directory(workspace, rules.path)
    except FileNotFoundError:
        return Found()  # the code removed it: there are no outputs
    except OSError as error:
        lines = [f"{rules.path} is not a readable directory ({error.strerror})"]
        replaced = error.errno in (errno.ENOTDIR, errno.ELOOP)
        return Found(skipped=lines) if replaced else Found(failed=lines)
    search = _Walk(rules, max_entries, shipped)
    try:
        search.into(top, "", 0)
    finally:
        os.close(top)
    return search.found()


def open_file(workspace: str, path: str, size: int) -> IO[bytes]:
    """Open a file that a walk found and verify that it is still the same.

    Raises:
        OSError: it is gone, or something else has its name.
    """
    folder, name = os.path.split(path)
    directory = open_directory(workspace, folder)
    try:
        descriptor = os.open(name, _FILE, dir_fd=directory)
    finally:
        os.close(directory)
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1 or info.st_size != size:
        os.close(descriptor)
        raise OSError("it was replaced by something else")
    return os.fdopen(descriptor, "rb")


def shown(path: str) -> str:
    """A path as one printable line of at most ``SHOWN_BYTES``: file names may be any bytes."""
    return shorten_line(printable(path), SHOWN_BYTES)
