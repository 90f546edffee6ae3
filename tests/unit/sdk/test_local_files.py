"""Folders that the client packs: nothing vanishes, nothing blocks, and the job accepts the ZIP."""

import io
import os
import re
import socket
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from nanogrid import archive
from nanogrid.cli import source
from nanogrid.cli.app.errors import UsageError
from nanogrid.client import InvalidRequest
from nanogrid.client.functions import archive_of
from nanogrid.client.jobs.packing import zip_directory
from nanogrid.client.jobs.prepare import JobPreparer
from nanogrid.client.local_files import members, open_file, read_file
from nanogrid.client.storage import Storage
from support.memory_storage import MemoryStorage


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    (made / "main.py").write_text("print(1)")
    return made


def make_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path.name)
    finally:
        os.chdir(here)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link to a file": (lambda path: path.symlink_to("main.py"), "is a symbolic link"),
    "a link to a folder": (lambda path: path.symlink_to("."), "is a symbolic link"),
    "a link to nothing": (lambda path: path.symlink_to("none"), "is a symbolic link"),
    "a link out of the folder": (lambda path: path.symlink_to("/etc"), "is a symbolic link"),
    "a FIFO": (os.mkfifo, "is a FIFO"),
    "a socket": (make_socket, "is a socket"),
}
PACKERS: dict[str, Callable[[Path], object]] = {
    "zip_directory": zip_directory,
    "archive_of": archive_of,
    "members": members,
    "upload": lambda path: JobPreparer(MemoryStorage).upload(path),
    "directory": lambda path: JobPreparer(MemoryStorage).keywords(None, {"directory": path}),
    "inputs": lambda path: JobPreparer(MemoryStorage).keywords("1", {"inputs": {"data": path}}),
    "large inputs": lambda path: JobPreparer(MemoryStorage, 1).keywords(
        "1", {"inputs": {"data": path}}
    ),
    "nanogrid run": lambda path: source.read_code(str(path), None, ""),
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_packed_is_refused_by_name(folder: Path, packer: str, kind: str) -> None:
    make, fault = REFUSED[kind]
    (folder / "inner").mkdir()
    make(folder / "inner" / "odd")
    with pytest.raises(InvalidRequest, match=f"inner/odd {fault}") as caught:
        PACKERS[packer](folder)
    assert caught.value.hint


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no such device")
def test_a_device_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="is a device"):
        read_file(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("new\nline", "control character U+000A in place 8"),
        (os.fsdecode(b"caf\xe9.txt"), "byte 0xE9"),
        ("back\\slash", "backslash"),
        ("c:drive", "drive letter"),
    ],
)
def test_names_that_archives_cannot_have(folder: Path, name: str, fault: str) -> None:
    (folder / "pkg").mkdir()
    (folder / "pkg" / name).write_text("x")
    if name == "c:drive":
        assert len(members(folder)) == 2, "only at the beginning of the path"
        (folder / name).write_text("x")
    with pytest.raises(InvalidRequest, match=re.escape(fault)) as caught:
        zip_directory(folder)
    assert str(caught.value).isprintable()


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_cannot_be_read_is_refused(folder: Path, kind: str) -> None:
    locked = folder / "locked"
    locked.write_text("x") if kind == "file" else locked.mkdir()
    locked.chmod(0)
    try:
        with pytest.raises(InvalidRequest, match="locked cannot be read: Permission denied"):
            zip_directory(folder)
    finally:
        locked.chmod(0o700)


def test_a_file_that_vanishes_or_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="none cannot be read: No such file"):
        open_file(tmp_path / "none")
    with pytest.raises(InvalidRequest, match="is a folder"):
        open_file(tmp_path)


def test_empty_folders_are_kept_and_caches_are_left_out(folder: Path) -> None:
    for name in ("empty", "deep/er/empty", "pkg/__pycache__", ".git/objects", ".venv/bin"):
        (folder / name).mkdir(parents=True)
    (folder / "pkg/__pycache__/x.pyc").write_bytes(b"x")
    (folder / "pkg/a.py").write_text("1")
    (folder / ".venv/bin/python").symlink_to("/usr/bin/python3")
    content = zip_directory(folder)
    opened = zipfile.ZipFile(io.BytesIO(content))
    assert opened.namelist() == ["deep/er/empty/", "empty/", "main.py", "pkg/a.py"]
    mode = opened.getinfo("empty/").external_attr >> 16
    assert (stat.S_ISDIR(mode), stat.S_IMODE(mode)) == (True, 0o755)
    with archive.opened(io.BytesIO(content)) as checked:
        assert [one.path for one in checked.entries if one.is_dir] == ["deep/er/empty", "empty"]
    assert zip_directory(folder) == content


def test_names_that_look_unusual_are_packed(folder: Path) -> None:
    names = ["1\u00a0000.csv", "\ufeffbom", "매출 자료.csv", "10:30", "README", "readme"]
    for name in names:
        (folder / name).write_text("x")
    with archive.opened(io.BytesIO(zip_directory(folder))) as opened:
        assert sorted(opened.files) == sorted([*names, "main.py"])
        assert opened.guesses == ""


def test_a_folder_that_the_job_would_refuse_is_not_uploaded(folder: Path) -> None:
    with (folder / "zeros").open("wb") as file:
        file.truncate(70 * 1024 * 1024)
    with pytest.raises(InvalidRequest, match="ArchiveTooLarge") as caught:
        zip_directory(folder)
    assert caught.value.hint


def test_a_fifo_does_not_block_a_script_an_input_or_an_upload(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.py"
    os.mkfifo(fifo)
    storage = MemoryStorage()
    for read in (
        lambda: JobPreparer(lambda: storage).keywords(None, {"file": fifo}),
        lambda: Storage.upload(storage, fifo),
        lambda: archive_of(fifo),
    ):
        with pytest.raises(InvalidRequest, match="is a FIFO"):
            read()
    with pytest.raises(UsageError, match="is a FIFO"):
        source.read_code(str(fifo), None, "")


def test_a_large_folder_cannot_keep_its_empty_folders(folder: Path) -> None:
    (folder / "empty").mkdir()
    preparer = JobPreparer(MemoryStorage, max_zip_bytes=1)
    with pytest.raises(InvalidRequest, match="empty is an empty folder"):
        preparer.keywords("1", {"inputs": {"data": folder}})


def test_run_finds_main_in_the_only_folder_as_the_job_does(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/main.py").write_text("print(1)")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert source.read_code(str(tmp_path), None, "")[1] == tmp_path
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"has no main\.py"):
        source.read_code(str(tmp_path), None, "")
