"""Hostile and honest ZIP archives."""

import io
import os
import stat
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nanogrid.reasons import Reason
from nanogrid_executor import archive
from nanogrid_executor.archive import ArchiveError, extract

Entry = tuple[str | zipfile.ZipInfo, bytes]


def make(*entries: Entry, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as opened:
        for name, body in entries:
            opened.writestr(name, body)
    return buffer.getvalue()


def special(name: str, mode: int, body: bytes = b"", system: int = 3) -> Entry:
    info = zipfile.ZipInfo(name)
    info.create_system = system
    info.external_attr = mode << 16
    return info, body


def renamed(old: bytes, new: bytes) -> bytes:
    """An archive whose entry has a name that zipfile would not write."""
    assert len(old) == len(new)
    return make((old.decode(), b"x")).replace(old, new)


def with_flag(bit: int) -> bytes:
    """An archive of one entry with a flag set in both of its headers."""
    data = bytearray(make(("main.py", b"x")))
    data[6] |= bit
    data[data.rindex(b"PK\x01\x02") + 8] |= bit
    return bytes(data)


def damaged() -> bytes:
    body = os.urandom(1000)
    data = bytearray(make(("main.py", body), compression=zipfile.ZIP_STORED))
    data[100] ^= 0xFF
    return bytes(data)


def overlapping() -> bytes:
    """Two directory entries over the same compressed bytes."""
    data = make(("aaaa", bytes(1000)))
    start, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    record = data[start:end]
    directory = record + record.replace(b"aaaa", b"bbbb")
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), start, 0)
    return data[:start] + directory + tail


def lying_about_size() -> bytes:
    """A directory that says 10 bytes where 1,000 come out."""
    data = bytearray(make(("main.py", bytes(1000))))
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = struct.pack("<L", 10)
    return bytes(data)


def many(count: int) -> bytes:
    return make(*((f"{number}", b"") for number in range(count)))


def unknown_compression() -> bytes:
    data = bytearray(make(("main.py", b"x")))
    data[8] = 99
    data[data.rindex(b"PK\x01\x02") + 10] = 99
    return bytes(data)


END = b"PK\x05\x06"
VALID = make(("main.py", b"print(1)"))

REFUSED: dict[str, tuple[Callable[[], bytes], Reason]] = {
    "34 bytes: no entry, comment": (
        lambda: END + bytes(16) + b"\x0c\x00twelve bytes",
        Reason.EMPTY_ARCHIVE,
    ),
    "22 bytes: no entry": (lambda: END + bytes(18), Reason.EMPTY_ARCHIVE),
    "folders only": (lambda: make(("a/", b""), ("a/b/", b"")), Reason.EMPTY_ARCHIVE),
    "34 bytes of text": (lambda: b"x" * 34, Reason.CORRUPT_ARCHIVE),
    "no bytes": (lambda: b"", Reason.CORRUPT_ARCHIVE),
    "tar": (lambda: bytes(10240), Reason.CORRUPT_ARCHIVE),
    "cut off": (lambda: VALID[:-30], Reason.CORRUPT_ARCHIVE),
    "cut in front": (lambda: VALID[20:], Reason.CORRUPT_ARCHIVE),
    "wrong CRC": (damaged, Reason.CORRUPT_ARCHIVE),
    "unknown compression": (unknown_compression, Reason.CORRUPT_ARCHIVE),
    "lying size": (lying_about_size, Reason.CORRUPT_ARCHIVE),
    "absolute": (lambda: make(("/etc/passwd", b"x")), Reason.UNSAFE_ARCHIVE),
    "drive": (lambda: make(("C:/x", b"x")), Reason.UNSAFE_ARCHIVE),
    "parent": (lambda: make(("../x", b"x")), Reason.UNSAFE_ARCHIVE),
    "parent inside": (lambda: make(("a/../../x", b"x")), Reason.UNSAFE_ARCHIVE),
    "parent folder": (lambda: make(("../", b""), ("main.py", b"")), Reason.UNSAFE_ARCHIVE),
    "dot": (lambda: make(("./main.py", b"x")), Reason.UNSAFE_ARCHIVE),
    "empty part": (lambda: make(("a//b", b"x")), Reason.UNSAFE_ARCHIVE),
    "backslash": (lambda: renamed(b"a.b.c", b"a\\b.c"), Reason.UNSAFE_ARCHIVE),
    "NUL": (lambda: renamed(b"main.py.txt", b"main.py\0txt"), Reason.UNSAFE_ARCHIVE),
    "newline": (lambda: make(("a\nb", b"x")), Reason.UNSAFE_ARCHIVE),
    "escape sequence": (lambda: make(("a\x1b[2J", b"x")), Reason.UNSAFE_ARCHIVE),
    "symbolic link": (
        lambda: make(special("link", stat.S_IFLNK | 0o777, b"/etc/passwd")),
        Reason.UNSAFE_ARCHIVE,
    ),
    "link, then through it": (
        lambda: make(special("a", stat.S_IFLNK | 0o777, b"/tmp"), ("a/x", b"x")),
        Reason.UNSAFE_ARCHIVE,
    ),
    "character device": (lambda: make(special("dev", stat.S_IFCHR)), Reason.UNSAFE_ARCHIVE),
    "block device": (lambda: make(special("dev", stat.S_IFBLK)), Reason.UNSAFE_ARCHIVE),
    "FIFO": (lambda: make(special("fifo", stat.S_IFIFO)), Reason.UNSAFE_ARCHIVE),
    "socket": (lambda: make(special("sock", stat.S_IFSOCK)), Reason.UNSAFE_ARCHIVE),
    "encrypted": (lambda: with_flag(0x1), Reason.UNSAFE_ARCHIVE),
    "case clash": (lambda: make(("A.py", b""), ("a.PY", b"")), Reason.UNSAFE_ARCHIVE),
    "file and folder": (lambda: make(("a", b""), ("a/b", b"")), Reason.UNSAFE_ARCHIVE),
    "folder and file": (lambda: make(("a/", b""), ("A", b"")), Reason.UNSAFE_ARCHIVE),
    "overlap": (overlapping, Reason.UNSAFE_ARCHIVE),
    "long name": (lambda: make(("x" * 256, b"")), Reason.UNSAFE_ARCHIVE),
    "64 K name": (lambda: make(("x" * 65000, b"")), Reason.UNSAFE_ARCHIVE),
    "deep": (lambda: make(("d/" * 40 + "f", b"")), Reason.UNSAFE_ARCHIVE),
    "10,001 entries": (lambda: many(10_001), Reason.ARCHIVE_TOO_LARGE),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: Path, case: str) -> None:
    build, reason = REFUSED[case]
    (tmp_path / "a.zip").write_bytes(build())
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError) as caught:
        extract(str(tmp_path / "a.zip"), str(tmp_path / "out"))
    assert caught.value.reason is reason, caught.value
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "out"]
    if reason in (Reason.UNSAFE_ARCHIVE, Reason.EMPTY_ARCHIVE):
        assert os.listdir(tmp_path / "out") == [], "nothing is written before all is checked"


def test_the_older_systems_empty_zip_is_named(tmp_path: Path) -> None:
    data = REFUSED["34 bytes: no entry, comment"][0]()
    assert len(data) == 34
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ArchiveError, match=r"^34 bytes, 0 files$"):
        extract(str(tmp_path / "a.zip"), str(tmp_path))


def test_duplicate(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        data = make(("a", b"1"), ("a", b"2"))
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ArchiveError, match="twice") as caught:
        extract(str(tmp_path / "a.zip"), str(tmp_path))
    assert caught.value.reason is Reason.UNSAFE_ARCHIVE


def test_bytes_are_counted_and_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.zip").write_bytes(make(("zeros", bytes(20_000_000))))
    for name, value in (("MAX_BYTES", 1_000_000), ("RATIO_FREE_BYTES", 1_000_000)):
        monkeypatch.setattr(archive, name, value)
        (tmp_path / name).mkdir()
        with pytest.raises(ArchiveError) as caught:
            extract(str(tmp_path / "a.zip"), str(tmp_path / name))
        assert caught.value.reason is Reason.ARCHIVE_TOO_LARGE


def test_a_million_entries_are_refused_fast(tmp_path: Path) -> None:
    record = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0
    )
    directory = (record + b"x") * 1_000_000
    end = struct.pack("<4s4H2LH", END, 0, 0, 16_960, 16_960, len(directory), 0, 0)
    (tmp_path / "a.zip").write_bytes(directory + end)
    started = time.monotonic()
    with pytest.raises(ArchiveError) as caught:
        extract(str(tmp_path / "a.zip"), str(tmp_path))
    assert caught.value.reason is Reason.ARCHIVE_TOO_LARGE
    assert time.monotonic() - started < 1


def test_files_folders_and_modes(tmp_path: Path) -> None:
    data = make(
        ("main.py", b"print(1)"),
        special("run.sh", stat.S_IFREG | 0o4775, b"#!/bin/sh\n"),
        ("empty/", b""),
        ("깊은/폴더/자료.csv", "금액".encode()),
    )
    (tmp_path / "a.zip").write_bytes(data)
    out = tmp_path / "out"
    out.mkdir()
    files = extract(str(tmp_path / "a.zip"), str(out))
    assert files == ["main.py", "run.sh", "깊은/폴더/자료.csv"]
    assert (out / "깊은/폴더/자료.csv").read_text() == "금액"
    assert (out / "empty").is_dir()
    assert stat.S_IMODE((out / "run.sh").stat().st_mode) == 0o755, "no set-user-ID bit"
    assert stat.S_IMODE((out / "main.py").stat().st_mode) == 0o644


def test_names_in_cp949(tmp_path: Path) -> None:
    name = "매출.csv".encode("cp949")
    (tmp_path / "a.zip").write_bytes(renamed(b"abcd.csv", name))
    assert extract(str(tmp_path / "a.zip"), str(tmp_path)) == ["매출.csv"]
