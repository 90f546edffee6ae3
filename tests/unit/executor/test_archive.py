"""Unpacking of hostile and honest ZIP archives."""

import contextlib
import io
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanogrid import archive
from nanogrid.archive import ArchiveError, Limits
from nanogrid.reasons import Reason
from nanogrid_executor.inputs.archive import extract
from support import hostile_archives as hostile
from support.archive_cases import ACCEPTED, CASES, REFUSED
from support.hostile_archives import VALID, make, special

pytestmark = pytest.mark.security

BUSY_SECONDS = 5  # generous: other work may share the machine
Unpack = Callable[..., list[str]]


def unpack_file(path: Path, target: Path, script: str | None) -> list[str]:
    with path.open("rb") as file, archive.opened(file) as opened:
        opened.locate(archive.entry_point_of(["python3", script] if script else []))
        return [file.path for file in extract(opened, str(target))]


@pytest.fixture
def unpack(tmp_path: Path) -> Unpack:
    """Unpack an archive into ``tmp_path / "out"``."""

    def unpack(data: bytes, script: str | None = None) -> list[str]:
        (tmp_path / "a.zip").write_bytes(data)
        (tmp_path / "out").mkdir(exist_ok=True)
        return unpack_file(tmp_path / "a.zip", tmp_path / "out", script)

    return unpack


@pytest.mark.parametrize("name", [name for name in CASES if name not in ACCEPTED])
def test_a_hostile_archive_is_refused(tmp_path: Path, name: str, unpack: Unpack) -> None:
    case = CASES[name]
    data = case.build()
    started = time.monotonic()
    with pytest.raises(ArchiveError) as caught:
        unpack(data, case.entry_point)
    assert time.monotonic() - started < BUSY_SECONDS
    assert caught.value.reason is case.reason, caught.value
    assert str(caught.value).isprintable()
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "out"]
    if case.reason is not Reason.CORRUPT_ARCHIVE:
        assert os.listdir(tmp_path / "out") == [], "nothing is written before all is checked"


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_honest_archive_is_unpacked(tmp_path: Path, name: str, unpack: Unpack) -> None:
    case = ACCEPTED[name]
    assert sorted(unpack(case.build(), case.entry_point)) == case.unpacked
    out = tmp_path / "out"
    written = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    assert sorted(written) == case.unpacked


MEASURE = """
import sys
from nanogrid import archive
from nanogrid_executor.inputs.archive import extract
def high_water():  # not ru_maxrss, which begins with the value of the parent process
    return int(next(line for line in open("/proc/self/status") if "VmHWM" in line).split()[1])
before = high_water()
try:
    with open(sys.argv[1], "rb") as file, archive.opened(file) as opened:
        extract(opened, sys.argv[2])
except archive.ArchiveError as error: print(error.reason.value)
print(high_water() - before)
"""


def measure(tmp_path: Path) -> list[str]:
    """Unpack ``a.zip`` in a new process: the reason of a refusal, and KiB of memory."""
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "a.zip"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    "name",
    [
        "a million entries",
        "a million entries announced as one",
        "89,000 entries announced as one",
        "10,001 entries",
        "ratio",
        "quoted overlap bomb",
        "64 K name",
    ],
)
def test_a_refusal_takes_little_memory(tmp_path: Path, name: str) -> None:
    build, reason = REFUSED[name]
    (tmp_path / "a.zip").write_bytes(build())
    got, kilobytes = measure(tmp_path)
    assert got == reason.value
    assert int(kilobytes) < 64 * 1024


def test_a_large_file_is_unpacked_in_constant_memory(tmp_path: Path) -> None:
    info, block = hostile.zipfile.ZipInfo("large"), os.urandom(1024 * 1024)
    with (
        hostile.zipfile.ZipFile(tmp_path / "a.zip", "w") as opened,
        opened.open(info, "w") as file,
    ):
        for _ in range(100):
            file.write(block)
    (kilobytes,) = measure(tmp_path)
    assert int(kilobytes) < 32 * 1024
    assert (tmp_path / "large").stat().st_size == 100 * 1024 * 1024


def test_the_empty_zip_of_the_older_system_is_named(unpack: Unpack) -> None:
    data = REFUSED["34 bytes: no entry, comment"][0]()
    assert len(data) == 34
    with pytest.raises(ArchiveError, match=r"^34 bytes, 0 files$"):
        unpack(data)


def test_an_archive_inside_is_a_file(tmp_path: Path, unpack: Unpack) -> None:
    assert unpack(hostile.nested()) == ["inner.zip", "main.py"]
    assert (tmp_path / "out/inner.zip").stat().st_size < 1024 * 1024


def test_bytes_are_counted_as_they_come(tmp_path: Path) -> None:
    data = make(("a", bytes(1_000_000)), ("b", bytes(20_000_000)))
    with archive.opened(io.BytesIO(data), Limits(unpacked_bytes=21_000_000)) as opened:
        _, large = opened.entries
        opened.entries = [large._replace(path=name) for name in ("b", "again")]  # 40 MB, not 21
        with pytest.raises(ArchiveError) as caught:
            extract(opened, str(tmp_path))
    assert caught.value.reason is Reason.ARCHIVE_TOO_LARGE
    assert str(caught.value) == "more than 21000000 bytes unpacked"
    assert (tmp_path / "again").stat().st_size <= 1_000_000


def test_an_exception_of_on_chunk_ends_the_work(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(VALID)

    def on_chunk() -> None:
        raise TimeoutError

    with (
        (tmp_path / "a.zip").open("rb") as file,
        archive.opened(file) as opened,
        pytest.raises(TimeoutError),
    ):
        extract(opened, str(tmp_path), on_chunk)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=400), st.integers(0, 500), st.integers(0, 100))
def test_no_bytes_escape_the_target(tmp_path: Path, noise: bytes, at: int, cut: int) -> None:
    whole = make(("main.py", b"print(1)"), ("lib/x.py", b"x" * 200))
    data = bytearray(whole[: len(whole) - cut])
    data[at : at + len(noise)] = noise
    (tmp_path / "a.zip").write_bytes(data)
    target = tmp_path / "deep" / "out"
    target.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(ArchiveError, FileExistsError):
        unpack_file(tmp_path / "a.zip", target, None)
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "deep"]
    assert os.listdir(tmp_path / "deep") == ["out"]


def test_files_folders_and_modes(tmp_path: Path, unpack: Unpack) -> None:
    data = make(
        ("main.py", b"print(1)"),
        special("run.sh", stat.S_IFREG | 0o4775, b"#!/bin/sh\n"),
        ("empty/", b""),
        ("깊은/폴더/자료.csv", "금액".encode()),
    )
    assert unpack(data) == ["main.py", "run.sh", "깊은/폴더/자료.csv"]
    out = tmp_path / "out"
    assert (out / "깊은/폴더/자료.csv").read_text() == "금액"
    assert (out / "empty").is_dir()
    assert stat.S_IMODE((out / "run.sh").stat().st_mode) == 0o755, "no set-user-ID bit"
    assert stat.S_IMODE((out / "main.py").stat().st_mode) == 0o644
