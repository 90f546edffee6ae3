"""Walking an output directory that somebody hostile filled."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from integration.support import make_rules
from nanogrid_executor import outputs
from nanogrid_executor.walk import Found
from nanogrid_executor.walk import walk as walk_rules


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "output").mkdir()
    (tmp_path / "secret").write_text("token")
    return tmp_path


def walk(top: Path, **rules: Any) -> Found:
    return walk_rules(str(top), make_rules(**rules))


def test_honest_files(top: Path) -> None:
    (top / "output/보고서/표").mkdir(parents=True)
    (top / "output/보고서/표/매출.csv").write_bytes(b"12345")
    (top / "output/a.txt").write_bytes(b"")
    (top / "output/empty folder").mkdir()
    found = walk(top)
    assert found.files == [("a.txt", 0), ("보고서/표/매출.csv", 5)]
    assert (found.skipped, found.failed) == ([], [])


def test_trick_files_are_named_and_not_read(top: Path) -> None:
    out = top / "output"
    os.symlink("../secret", out / "link")
    os.symlink("..", out / "folder")
    os.symlink("nowhere", out / "dangling")
    os.mkfifo(out / "fifo")
    os.link(top / "secret", out / "hard")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(out / "sock"))
        found = walk(top)
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


def test_the_output_directory_itself_may_be_a_trick(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/token").write_text("token")
    assert walk(tmp_path).files == [], "it may be missing"
    os.symlink("secrets", tmp_path / "output")
    found = walk(tmp_path)
    assert found.files == []
    assert found.skipped[0].startswith("output is no directory")
    os.unlink(tmp_path / "output")
    (tmp_path / "output").write_text("a file")
    assert walk(tmp_path).files == []
    os.symlink("secrets", tmp_path / "nested")
    assert walk(tmp_path, path="nested/deeper").files == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(top: Path) -> None:
    (top / "output/locked").mkdir(mode=0)
    (top / "output/a").write_text("x")
    found = walk(top)
    assert found.files == [("a", 1)]
    assert found.failed == ["locked: Permission denied"]


def test_names_that_cannot_be_keys(top: Path) -> None:
    (top / "output/new\nline").write_text("x")
    (top / "output/escape\x1b[2J").write_text("x")
    Path(os.fsdecode(bytes(top / "output") + b"/broken\xff")).write_text("x")
    found = walk(top)
    assert found.files == []
    assert len(found.failed) == 3
    assert all(line.isprintable() for line in found.failed)


def test_caps(top: Path) -> None:
    for number in range(5):
        (top / f"output/{number}").write_bytes(b"x" * (number + 1))
    found = walk(top, max_files=3)
    assert [path for path, _ in found.files] == ["0", "1", "2"]
    assert found.failed == ["2 files are over maxFiles 3, the first is 3"]
    found = walk(top, max_file_bytes=4)
    assert [path for path, _ in found.files] == ["0", "1", "2", "3"]
    assert found.failed == ["1 file is over maxFileBytes 4, the first is 4"]
    found = walk(top, max_bytes=6)
    assert [path for path, _ in found.files] == ["0", "1", "2"]
    assert found.failed == ["2 files are over maxBytes 6, the first is 3"]


def test_a_sparse_file_of_a_tebibyte(top: Path) -> None:
    with open(top / "output/sparse", "wb") as file:
        file.truncate(1 << 40)
    found = walk(top)
    assert found.files == []
    assert found.failed == ["1 file is over maxFileBytes 1073741824, the first is sparse"]


def test_depth(top: Path) -> None:
    deep = top / "output" / "/".join("d" * 40)
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    found = walk(top)
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
    assert outputs.content_type(name) == type_
