"""The walk of an output directory that hostile code filled."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from nanogrid_executor.outputs import upload
from nanogrid_executor.outputs.walk import MAX_ENTRIES, Found, walk
from support.s3_server import make_rules

pytestmark = pytest.mark.security


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "output").mkdir()
    (tmp_path / "secret").write_text("token")
    return tmp_path


def found_in(top: Path, max_entries: int = MAX_ENTRIES, **rules: Any) -> Found:
    return walk(str(top), make_rules(**rules), max_entries)


def test_ordinary_files(top: Path) -> None:
    (top / "output/보고서/표").mkdir(parents=True)
    (top / "output/보고서/표/매출.csv").write_bytes(b"12345")
    (top / "output/a.txt").write_bytes(b"")
    (top / "output/empty folder").mkdir()
    found = found_in(top)
    assert found.files == [("a.txt", 0), ("보고서/표/매출.csv", 5)]
    assert (found.skipped, found.failed) == ([], [])


def test_files_that_no_pattern_matches_are_counted(top: Path) -> None:
    (top / "output/a.csv").write_bytes(b"1")
    os.mkfifo(top / "output/fifo")
    found = found_in(top, include=["output/*.csv"])
    assert (found.files, found.skipped, found.failed) == ([], [], [])
    assert found.note.startswith("1 file matches no include pattern: a.csv.")


def test_links_and_special_files_are_reported_and_not_read(top: Path) -> None:
    out = top / "output"
    os.symlink("../secret", out / "link")
    os.symlink("..", out / "folder")
    os.symlink("nowhere", out / "dangling")
    os.mkfifo(out / "fifo")
    os.link(top / "secret", out / "hard")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(out / "sock"))
        found = found_in(top)
    assert found.files == []
    assert found.failed == []
    assert found.skipped == [
        "dangling is a symbolic link",
        "fifo is a FIFO",
        "folder is a symbolic link",
        "hard has 2 names (hard links)",
        "link is a symbolic link",
        "sock is a socket",
    ]


def test_the_output_directory_itself_may_be_a_link_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/token").write_text("token")
    assert found_in(tmp_path).files == [], "it may be missing"
    os.symlink("secrets", tmp_path / "output")
    found = found_in(tmp_path)
    assert found.files == []
    assert found.skipped[0].startswith("output is not a readable directory")
    os.unlink(tmp_path / "output")
    (tmp_path / "output").write_text("a file")
    assert found_in(tmp_path).files == []
    os.symlink("secrets", tmp_path / "nested")
    assert found_in(tmp_path, path="nested/deeper").files == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_without_read_permission(top: Path) -> None:
    (top / "output/locked").mkdir(mode=0)
    (top / "output/a").write_text("x")
    found = found_in(top)
    assert found.files == [("a", 1)]
    assert found.failed == ["locked: Permission denied"]


def test_names_that_cannot_be_s3_keys(top: Path) -> None:
    (top / "output/new\nline").write_text("x")
    (top / "output/escape\x1b[2J").write_text("x")
    Path(os.fsdecode(bytes(top / "output") + b"/broken\xff")).write_text("x")
    found = found_in(top)
    assert found.files == []
    assert len(found.failed) == 3
    assert all(line.isprintable() for line in found.failed)


def test_caps(top: Path) -> None:
    for number in range(5):
        (top / f"output/{number}").write_bytes(b"x" * (number + 1))
    found = found_in(top, max_files=3)
    assert [path for path, _ in found.files] == ["0", "1", "2"]
    assert found.failed == ["2 files are over maxFiles 3, the first is 3"]
    found = found_in(top, max_file_bytes=4)
    assert [path for path, _ in found.files] == ["0", "1", "2", "3"]
    assert found.failed == ["1 file is over maxFileBytes 4, the first is 4"]
    found = found_in(top, max_bytes=6)
    assert [path for path, _ in found.files] == ["0", "1", "2"]
    assert found.failed == ["2 files are over maxBytes 6, the first is 3"]


def test_the_number_of_directory_entries_is_limited(top: Path) -> None:
    for number in range(8):
        (top / f"output/{number}").write_bytes(b"")
    found = found_in(top, max_entries=5)
    assert len(found.files) == 5
    assert "over 5 directory entries" in found.failed[0]


def test_a_sparse_file_of_a_tebibyte(top: Path) -> None:
    with open(top / "output/sparse", "wb") as file:
        file.truncate(1 << 40)
    found = found_in(top)
    assert found.files == []
    assert found.failed == ["1 file is over maxFileBytes 1073741824, the first is sparse"]


def test_the_depth_is_limited(top: Path) -> None:
    deep = top / "output" / "/".join("d" * 40)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    found = found_in(top)
    assert found.files == []
    assert "folders deep" in found.failed[0]


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("a.jpg", "image/jpeg"),
        ("a.JPEG", "image/jpeg"),
        ("a.png", "image/png"),
        ("a.gif", "image/gif"),
        ("a.pdf", "application/pdf"),
        ("a.txt", "text/plain"),
        ("a.json", "application/json"),
        ("a.csv", "text/csv"),
        ("a.zip", "application/zip"),
        ("a.tar.gz", "application/gzip"),
        ("a.tgz", "application/gzip"),
        ("a.gz", "application/octet-stream"),
        ("a.html", "application/octet-stream"),
        ("csv", "application/octet-stream"),
    ],
)
def test_content_types(name: str, type_: str) -> None:
    assert upload.content_type(name) == type_
