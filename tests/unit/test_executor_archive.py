"""Hostile and honest ZIP archives."""

import contextlib
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

from nanogrid.reasons import Reason
from nanogrid_executor import archive, archive_checks
from nanogrid_executor.archive_checks import ArchiveError
from unit import hostile
from unit.hostile import REFUSED, VALID, make, renamed, special


def extract(path: Path, target: Path, max_bytes: int = archive.MAX_BYTES) -> list[str]:
    with archive.opened(str(path), max_bytes) as opened:
        return [file.path for file in opened.extract(str(target))]


@pytest.fixture
def unpack(tmp_path: Path) -> Callable[[bytes], list[str]]:
    """Unpack an archive into ``tmp_path / "out"``."""

    def unpack(data: bytes) -> list[str]:
        (tmp_path / "a.zip").write_bytes(data)
        (tmp_path / "out").mkdir(exist_ok=True)
        return extract(tmp_path / "a.zip", tmp_path / "out")

    return unpack


def test_there_are_enough_of_them() -> None:
    assert len(REFUSED) >= 60


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path: Path, case: str, unpack: Callable[[bytes], list[str]]) -> None:
    build, reason = REFUSED[case]
    data = build()
    started = time.monotonic()
    with pytest.raises(ArchiveError) as caught:
        unpack(data)
    assert time.monotonic() - started < 5, "generous: this machine may be busy"
    assert caught.value.reason is reason, caught.value
    assert str(caught.value).isprintable()
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "out"]
    if reason is not Reason.CORRUPT_ARCHIVE:
        assert os.listdir(tmp_path / "out") == [], "nothing is written before all is checked"


MEASURE = """
import sys
from nanogrid_executor import archive
def high_water():  # not ru_maxrss, which begins with what the parent process has
    return int(next(line for line in open("/proc/self/status") if "VmHWM" in line).split()[1])
before = high_water()
try:
    with archive.opened(sys.argv[1]) as opened: opened.extract(sys.argv[2])
except archive.ArchiveError as error: print(error.reason.value)
print(high_water() - before)
"""


@pytest.mark.parametrize(
    "case",
    ["a million entries", "10,001 entries", "ratio", "quoted overlap bomb", "64 K name"],
)
def test_refusals_cost_little_memory(tmp_path: Path, case: str) -> None:
    (tmp_path / "a.zip").write_bytes(REFUSED[case][0]())
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "a.zip"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    reason, kilobytes = done.stdout.split()
    assert reason == REFUSED[case][1].value
    assert int(kilobytes) < 64 * 1024


def test_a_large_file_is_unpacked_in_constant_memory(tmp_path: Path) -> None:
    info = hostile.zipfile.ZipInfo("large")
    with hostile.zipfile.ZipFile(tmp_path / "a.zip", "w") as opened, opened.open(info, "w") as file:
        for _ in range(100):
            file.write(os.urandom(1024 * 1024))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "a.zip"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) < 32 * 1024
    assert (tmp_path / "large").stat().st_size == 100 * 1024 * 1024


def test_the_older_systems_empty_zip_is_named(unpack: Callable[[bytes], list[str]]) -> None:
    data = REFUSED["34 bytes: no entry, comment"][0]()
    assert len(data) == 34
    with pytest.raises(ArchiveError, match=r"^34 bytes, 0 files$"):
        unpack(data)


def test_archives_inside_are_files(tmp_path: Path, unpack: Callable[[bytes], list[str]]) -> None:
    assert unpack(hostile.nested()) == ["inner.zip", "main.py"]
    assert (tmp_path / "out/inner.zip").stat().st_size < 1024 * 1024


def test_headers_are_refused_before_anything_is_written(
    tmp_path: Path, unpack: Callable[[bytes], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make(("small", b"x"), ("zeros", bytes(20_000_000)))
    monkeypatch.setattr(archive_checks, "RATIO_FREE_BYTES", 1_000_000)
    with pytest.raises(ArchiveError) as caught:
        unpack(data)
    assert caught.value.reason is Reason.ARCHIVE_TOO_LARGE
    assert os.listdir(tmp_path / "out") == []


def test_bytes_are_counted_while_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zip").write_bytes(make(("zeros", bytes(20_000_000))))

    def believe(infos: list[hostile.zipfile.ZipInfo], size: int, max_bytes: int) -> object:
        return [("zeros", infos[0])]

    monkeypatch.setattr(archive_checks, "checked", believe)
    with pytest.raises(ArchiveError) as caught:
        extract(tmp_path / "a.zip", tmp_path, max_bytes=1_000_000)
    assert caught.value.reason is Reason.ARCHIVE_TOO_LARGE
    assert (tmp_path / "zeros").stat().st_size <= 1_000_000


def test_what_the_tick_raises_ends_it(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(VALID)

    def tick() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError), archive.opened(str(tmp_path / "a.zip")) as opened:
        opened.extract(str(tmp_path), tick)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=400), st.integers(0, 500), st.integers(0, 100))
def test_no_bytes_whatever_escape(tmp_path: Path, noise: bytes, at: int, cut: int) -> None:
    whole = make(("main.py", b"print(1)"), ("lib/x.py", b"x" * 200))
    data = bytearray(whole[: len(whole) - cut])
    data[at : at + len(noise)] = noise
    (tmp_path / "a.zip").write_bytes(data)
    target = tmp_path / "deep" / "out"
    target.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(ArchiveError, FileExistsError):
        extract(tmp_path / "a.zip", target)
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "deep"]
    assert os.listdir(tmp_path / "deep") == ["out"]


def test_files_folders_and_modes(tmp_path: Path, unpack: Callable[[bytes], list[str]]) -> None:
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


def test_names_in_cp949(unpack: Callable[[bytes], list[str]]) -> None:
    name = "매출.csv".encode("cp949")
    assert unpack(renamed(b"abcd.csv", name)) == ["매출.csv"]


def test_a_script_in_front_of_the_archive(unpack: Callable[[bytes], list[str]]) -> None:
    assert unpack(b"#!/usr/bin/env python3\n" + VALID) == ["main.py"]


def test_an_honest_zip64_archive(unpack: Callable[[bytes], list[str]]) -> None:
    start, end = VALID.index(hostile.CENTRAL), VALID.rindex(hostile.END)
    assert unpack(hostile.zip64(1, end - start)) == ["main.py"]
