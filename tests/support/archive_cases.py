"""The table of archives and their verdicts; the gateway and the executor must agree on each row."""

import random
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nanogrid.reasons import Reason
from support import hostile_archives as build
from support.hostile_archives import END, VALID, Entry, make, patched, renamed, special

Build = Callable[[], bytes]

MISSING: Final = Reason.ENTRYPOINT_NOT_FOUND
UNSAFE, CORRUPT = Reason.UNSAFE_ARCHIVE, Reason.CORRUPT_ARCHIVE
EMPTY, LARGE = Reason.EMPTY_ARCHIVE, Reason.ARCHIVE_TOO_LARGE


@dataclass(frozen=True, slots=True)
class Case:
    """One archive: the rule that it tests, and the verdict.

    A refused archive has a ``reason``. An accepted one has ``files``, and the ``folder`` of which
    the content is unpacked ("" is the top level).
    """

    rule: str
    build: Build
    reason: Reason | None = None
    entry_point: str = "main.py"
    files: tuple[str, ...] = ()
    folder: str = ""

    @property
    def unpacked(self) -> list[str]:
        """The files that unpacking writes."""
        top = f"{self.folder}/" if self.folder else ""
        return sorted(path.removeprefix(top) for path in self.files if path.startswith(top))


def refused(rule: str, reason: Reason, rows: dict[str, Build]) -> dict[str, Case]:
    return {name: Case(rule, made, reason) for name, made in rows.items()}


def one(*names: str) -> Build:
    """An archive with small files of these names."""
    return lambda: make(*((name, b"x") for name in names))


def kind(mode: int, body: bytes = b"") -> Build:
    return lambda: make(special("x", mode, body))


def entries(*made: Entry) -> Build:
    return lambda: make(*made)


def packed(method: int, level: int = 6) -> Build:
    return lambda: make(("a", b"x" * 99), compression=method, level=level)


def damaged_at(path: str, *others: str) -> bytes:
    """A stored archive whose file ``path`` has another checksum than its header says."""
    body = b"this content is damaged"
    data = make(*((name, b"x") for name in others), (path, body), compression=zipfile.ZIP_STORED)
    return data.replace(body, body.replace(b"is", b"was", 1)[: len(body)])


LINK: Final = special("a", stat.S_IFLNK | 0o777, b"/tmp")
DIRECTORY_BYTES: Final = VALID.rindex(END) - VALID.index(build.CENTRAL)

STRUCTURE: Final = {
    **refused(
        "There is at least one file.",
        EMPTY,
        {
            "34 bytes: no entry, comment": lambda: END + bytes(16) + b"\x0c\x00twelve bytes",
            "22 bytes: no entry": lambda: END + bytes(18),
            "folders only": entries(("a/", b""), ("a/b/", b"")),
        },
    ),
    **refused(
        "The file is a ZIP with a complete directory.",
        CORRUPT,
        {
            "34 bytes of text": lambda: b"x" * 34,
            "no bytes": lambda: b"",
            "tar": lambda: bytes(10240),
            "gzip": lambda: b"\x1f\x8b\x08" + bytes(100),
            "end record alone, counting one": lambda: build.end_record(1, 46, 0),
            "cut off": lambda: VALID[:-30],
            "cut in front": lambda: VALID[20:],
            "cut inside the end record": lambda: VALID[:-5],
            "central header overwritten": lambda: patched(VALID, -1, 0, b"XXXX"),
            "random bytes with an end record": lambda: (
                random.Random(7).randbytes(5000) + build.end_record(3, 300, 4000)
            ),
            "zip64: a record that is not there": build.zip64_without_record,
            "zip64: a field that is cut off": build.short_zip64_extra,
            "zip64: a directory of 3 MB in 200 bytes": lambda: build.zip64(1, 3_000_000),
        },
    ),
    **refused(
        "Every entry has its local header.",
        CORRUPT,
        {
            "offset beyond the end": build.offset_beyond_the_end,
            "zip64: an offset of 2^64 - 1": lambda: build.zip64_offset((1 << 64) - 1),
            "local header overwritten": lambda: patched(VALID, 0, -1, b"XXXX"),
            "other name in the local header": build.other_local_name,
        },
    ),
    **refused(
        "No two entries share bytes, and none shares bytes with the directory.",
        UNSAFE,
        {
            "overlap": build.overlapping,
            "full overlap": lambda: build.full_overlap_bomb(50, 1000),
            "quoted overlap": lambda: build.quoted_overlap_bomb(50, 1000),
            "full overlap bomb of 10,000": lambda: build.full_overlap_bomb(10_000, 1000),
            "header in an extra field": build.extra_field_overlap,
            "into the directory": build.into_the_directory,
        },
    ),
}

LIMITS: Final = {
    **refused(
        "There are at most 10,000 entries, for any number in the end records.",
        LARGE,
        {
            "10,001 entries": lambda: build.many(10_001),
            "a million entries": build.a_million,
            "a million entries announced as one": build.a_million_announced_as_one,
            "89,000 entries announced as one": build.thousands_announced_as_one,
            "zip64: a billion entries": lambda: build.zip64(1_000_000_000, 100),
            "zip64: a directory of terabytes": lambda: build.zip64(1, 1 << 42),
        },
    ),
    **refused(
        "It unpacks to at most 512 MiB, and at most 200 times its size beyond 64 MiB.",
        LARGE,
        {
            "ratio": build.ratio_bomb,
            "many medium files": build.many_medium_files,
            "full overlap bomb": build.full_overlap_bomb,
            "quoted overlap bomb": build.quoted_overlap_bomb,
            "gigabytes announced": lambda: build.lying_size(0xFFFFFFF0),
            "zip64: a size of petabytes": lambda: build.zip64_size(1 << 50),
            "zip64: a size of 2^64 - 1": lambda: build.zip64_size((1 << 64) - 1),
        },
    ),
}

NAMES: Final = {
    **refused(
        "A name is relative.",
        UNSAFE,
        {
            "absolute": one("/etc/passwd"),
            "two slashes in front": one("//host/share"),
            "drive": one("C:/x"),
            "drive without a slash": one("C:x"),
        },
    ),
    **refused(
        "A name has no '..' part, and is not empty.",
        UNSAFE,
        {
            "parent": one("../x"),
            "parent inside": one("a/../../x"),
            "parent at the end": one("a/.."),
            "parent that stays inside": one("a/../main.py"),
            "parent folder": entries(("../", b""), ("main.py", b"")),
            "many parents": one("../" * 30 + "etc/cron.d/x"),
            "parent after a dot": one("./../main.py"),
            "only a dot": one("."),
            "only slashes": entries(("//", b""), ("main.py", b"")),
        },
    ),
    **refused(
        "A name has no backslash and no control characters.",
        UNSAFE,
        {
            "backslash": lambda: renamed(b"a.b.c", b"a\\b.c"),
            "backslash parent": lambda: renamed(b"...main.py", b"..\\main.py"),
            "NUL": lambda: renamed(b"main.py.txt", b"main.py\0txt"),
            "newline": one("a\nb"),
            "carriage return": one("a\rb"),
            "escape sequence": one("a\x1b[2J"),
            "DEL": one("a\x7f"),
            "C1 control character": one("a\x9bb"),
        },
    ),
    **refused(
        "A name has at most 255 bytes a part, 32 parts and 4,000 bytes.",
        UNSAFE,
        {
            "long name": one("x" * 256),
            "long Korean name": one("가" * 86),
            "64 K name": one("x" * 65000),
            "deep": one("d/" * 40 + "f"),
            "30,000 deep": one("d/" * 30_000 + "f"),
            "long path": one("main.py", "/".join(["d" * 200] * 25)),
        },
    ),
    **refused(
        "No file exists twice, and none is also a folder.",
        UNSAFE,
        {
            "duplicate": entries(("a", b"1"), ("a", b"2")),
            "duplicate after normalising": one("a/b", "a//./b"),
            "file and folder": one("a", "a/b"),
            "folder and file": entries(("a/", b""), ("a", b"")),
            "file, then a link of its name": entries(("a", b"x"), LINK),
        },
    ),
}

KINDS: Final = {
    **refused(
        "An entry is a file or a folder.",
        UNSAFE,
        {
            "symbolic link": kind(stat.S_IFLNK | 0o777, b"/etc/passwd"),
            "relative symbolic link": kind(stat.S_IFLNK | 0o777, b"../../run"),
            "link, then through it": entries(LINK, ("a/x", b"x")),
            "character device": kind(stat.S_IFCHR),
            "block device": kind(stat.S_IFBLK),
            "FIFO": kind(stat.S_IFIFO),
            "socket": kind(stat.S_IFSOCK),
            "unknown kind": kind(0o150000),
        },
    ),
    **refused(
        "No entry is encrypted.",
        UNSAFE,
        {
            "encrypted": lambda: build.with_flag(0x1),
            "strongly encrypted": lambda: build.with_flag(0x41),
        },
    ),
    **refused(
        "An entry is stored or deflated, and needs no feature that zipfile lacks.",
        CORRUPT,
        {
            "unknown compression": lambda: build.method(99),
            "bzip2": packed(zipfile.ZIP_BZIP2, 9),
            "LZMA": packed(zipfile.ZIP_LZMA),
            "deflate64": lambda: build.method(9),
            "patched data": lambda: build.with_flag(0x20),
            "a later version of the format": lambda: patched(VALID, -1, 6, bytes([99])),
        },
    ),
}

CONTENTS: Final = refused(
    "Every content is readable and has the size and checksum of its header.",
    CORRUPT,
    {
        "wrong CRC": build.damaged,
        "broken deflate stream": build.broken_deflate,
        "size too small": lambda: build.lying_size(10),
        "size too large": lambda: build.lying_size(5000),
        "wrong CRC of another file": lambda: damaged_at("lib/x.py", "main.py"),
        "wrong CRC in the only folder": lambda: damaged_at("app/x.py", "app/main.py"),
    },
)

ENTRY_POINTS: Final = {
    **refused(
        "The entry point is at the top level or in the only folder.",
        MISSING,
        {
            "no entry point": one("src/app.py", "README.md"),
            "in one of two folders": one("app/main.py", "lib/x.py"),
            "in a folder next to a file": one("app/main.py", "README.md"),
            "two folders deep": one("a/b/main.py"),
            "in upper case": one("MAIN.PY"),
            "a suffix of a file's name": one("not-main.py"),
            "in resource forks only": one("__MACOSX/main.py"),
            "in a folder next to a hidden file": one("app/main.py", ".env"),
            "in metadata of file managers only": one("__MACOSX/main.py", "Thumbs.db", ".DS_Store"),
            "in resource forks next to a folder": one("__MACOSX/main.py", "app/x.py"),
            "an empty folder of its name": entries(("main.py/", b""), ("x.py", b"")),
            "a folder of its name without __main__.py": one("main.py/x.py"),
        },
    ),
    **refused(
        "A missing entry point counts before damaged contents.",
        MISSING,
        {"no entry point, wrong CRC": lambda: damaged_at("app.py")},
    ),
    **refused(
        "A fault of the directory counts before a missing entry point.",
        UNSAFE,
        {"no entry point, parent": one("app.py", "../x")},
    ),
}

ACCEPTED: Final = {
    "plain": Case("One file is enough.", lambda: VALID, files=("main.py",)),
    "empty script": Case("A file may be empty.", entries(("main.py", b"")), files=("main.py",)),
    "folders": Case(
        "Folders may have entries of their own.",
        entries(("lib/", b""), ("lib/a.py", b"1"), ("main.py", b"")),
        files=("lib/a.py", "main.py"),
    ),
    "Korean names": Case(
        "A name may be any text without control characters.",
        one("main.py", "매출/합계 1.csv"),
        files=("main.py", "매출/합계 1.csv"),
    ),
    "unusual characters": Case(
        "A name may have spaces of any width, invisible and private characters.",
        one("main.py", "1\u00a0000.csv", "a\u202etxt.exe", "\ufeffx", "\ue000", "a\u2028b"),
        files=("main.py", "1\u00a0000.csv", "a\u202etxt.exe", "\ufeffx", "\ue000", "a\u2028b"),
    ),
    "names in cp437": Case(
        "A name without the UTF-8 flag that is neither UTF-8 nor Korean is read as cp437.",
        lambda: build.as_written(
            build.stored_entry(b"main.py"), build.stored_entry("Größe.txt".encode("cp437"))
        ),
        files=("main.py", "Größe.txt"),
    ),
    "case": Case(
        "Names that differ in case are different.",
        one("main.py", "A.py", "a.PY", "Lib", "lib/x", "straße", "STRASSE"),
        files=("main.py", "A.py", "a.PY", "Lib", "lib/x", "straße", "STRASSE"),
    ),
    "dots and slashes": Case(
        "Empty and '.' parts of a name are removed.",
        entries(("./", b""), (".//main.py", b""), ("a/./b//c.py", b"")),
        files=("main.py", "a/b/c.py"),
    ),
    "backslashes of Windows": Case(
        "A backslash of a Windows program is a separator.",
        lambda: build.as_written(
            *(build.stored_entry(name) for name in (b"app\\", b"app\\main.py", b"app\\x\\y.py"))
        ),
        files=("app/main.py", "app/x/y.py"),
        folder="app",
    ),
    "metadata of file managers": Case(
        "Files that file managers add do not count as a second folder.",
        one("app/main.py", "Thumbs.db", "desktop.ini", ".DS_Store", "._app", "__MACOSX/._app"),
        files=("app/main.py", "Thumbs.db", "desktop.ini", ".DS_Store", "._app", "__MACOSX/._app"),
        folder="app",
    ),
    "names in cp949": Case(
        "A name without the UTF-8 flag is read as UTF-8, else as cp949 if it is Korean.",
        lambda: renamed(b"abcd.csv", "매출.csv".encode("cp949")),
        entry_point="매출.csv",
        files=("매출.csv",),
    ),
    "a bomb inside": Case(
        "An archive inside is a file.", build.nested, files=("inner.zip", "main.py")
    ),
    "a script in front": Case(
        "Bytes may come before the first entry.",
        lambda: b"#!/usr/bin/env python3\n" + VALID,
        files=("main.py",),
    ),
    "bytes at the end": Case(
        "Bytes may follow the end record.",
        lambda: build.with_comment(VALID, 0, 4),
        files=("main.py",),
    ),
    "zip64": Case(
        "A ZIP64 archive may be small.",
        lambda: build.zip64(1, DIRECTORY_BYTES),
        files=("main.py",),
    ),
    "zip64 with a comment": Case(
        "A comment may have 65,535 bytes.",
        lambda: build.with_comment(build.zip64(1, DIRECTORY_BYTES), 65_535),
        files=("main.py",),
    ),
    "zip64, comment and one byte": Case(
        "The end record is searched as far as zipfile does.",
        lambda: build.with_comment(build.zip64(1, DIRECTORY_BYTES), 65_535, 1),
        files=("main.py",),
    ),
    "longest path": Case(
        "A path may have almost 4,000 bytes.",
        one("main.py", "/".join(["d" * 120] * 32)),
        files=("main.py", "/".join(["d" * 120] * 32)),
    ),
    "only folder": Case(
        "The only folder is entered for the entry point.",
        one("app/main.py", "app/lib/x.py"),
        files=("app/main.py", "app/lib/x.py"),
        folder="app",
    ),
    "only folder with files": Case(
        "A folder without files does not count as a second one.",
        entries(("app/main.py", b""), ("empty/", b"")),
        files=("app/main.py",),
        folder="app",
    ),
    "top level first": Case(
        "An entry point at the top level counts before one in the only folder.",
        one("src/app.py", "src/src/app.py"),
        entry_point="src/app.py",
        files=("src/app.py", "src/src/app.py"),
    ),
    "resource forks": Case(
        "The resource forks of macOS do not count as a second folder.",
        one("app/main.py", "__MACOSX/app/._main.py"),
        files=("app/main.py", "__MACOSX/app/._main.py"),
        folder="app",
    ),
    "damaged resource forks": Case(
        "An entry that is not unpacked may be damaged.",
        lambda: damaged_at("__MACOSX/app/._main.py", "app/main.py"),
        files=("app/main.py", "__MACOSX/app/._main.py"),
        folder="app",
    ),
    "entry point in a folder": Case(
        "The entry point may be a path.",
        one("src/app.py", "README.md"),
        entry_point="src/app.py",
        files=("src/app.py", "README.md"),
    ),
    "package": Case(
        "The entry point may be a folder with __main__.py.",
        one("pkg/__main__.py", "README.md"),
        entry_point="pkg",
        files=("pkg/__main__.py", "README.md"),
    ),
    "package alone": Case(
        "A folder that is the entry point is not entered.",
        one("pkg/__main__.py", "pkg/x.py"),
        entry_point="pkg",
        files=("pkg/__main__.py", "pkg/x.py"),
    ),
    "package in the only folder": Case(
        "A folder with __main__.py counts in the only folder, too.",
        one("app/pkg/__main__.py", "app/x.py"),
        entry_point="pkg",
        files=("app/pkg/__main__.py", "app/x.py"),
        folder="app",
    ),
    "package of the script's name": Case(
        "A folder main.py with __main__.py runs as main.py.",
        one("main.py/__main__.py"),
        files=("main.py/__main__.py",),
    ),
}

CASES: Final[dict[str, Case]] = {
    **STRUCTURE,
    **LIMITS,
    **NAMES,
    **KINDS,
    **CONTENTS,
    **ENTRY_POINTS,
    **ACCEPTED,
}
# Archives that are refused for any entry point, with the reason.
REFUSED: Final[dict[str, tuple[Build, Reason]]] = {
    name: (case.build, case.reason)
    for name, case in CASES.items()
    if case.reason is not None and name not in ENTRY_POINTS
}
