"""Files of the code's ZIP below the output directory are no outputs unless the code writes them."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nanogrid import names, wire
from nanogrid_executor.outputs.shipped import NOTHING, shipped_outputs
from nanogrid_executor.outputs.walk import Found, walk
from nanogrid_executor.paths import Paths
from support.s3_server import make_rules, make_task

CODE = wire.S3Source(bucket="b", key="code.zip")
TASK = make_task(code_inline=None, code_s3=CODE, outputs=make_rules())


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A workspace with two files of the code and one of an input below output/, and a manifest."""
    made = Paths(str(tmp_path))
    sources = {"old.csv": CODE.uri(), "deep/다른.csv": CODE.uri(), "in.csv": "s3://b/in.csv"}
    entries = []
    for name, source in sources.items():
        path = Path(made.real(f"{names.WORKSPACE}/output/{name}"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
        place = f"{names.WORKSPACE}/output/{name}"
        entries.append(wire.ManifestEntry(path=place, bytes=3, sha256="0" * 64, source=source))
    report = wire.InputReport(files=3, bytes=9, duration_millis=1, retries=0)
    os.makedirs(made.run_dir)
    made.write_manifest(wire.dumps(wire.Manifest(report=report, entries=entries)))
    later = os.stat(made.manifest).st_mtime_ns + 1
    while os.stat(made.manifest).st_ctime_ns < later:  # the file system's clock moves on
        os.utime(made.manifest, ns=(0, later - 1))
    return made


def found(paths: Paths, task: wire.PodTask = TASK) -> Found:
    return walk(paths.workspace, task.outputs, shipped=shipped_outputs(task, paths))


def output(paths: Paths, name: str) -> Path:
    return Path(paths.workspace, "output", name)


def test_unchanged_files_of_the_code_are_left_out_and_named(paths: Paths) -> None:
    output(paths, "new.csv").write_text("new")
    seen = found(paths)
    assert seen.files == [("in.csv", 3), ("new.csv", 3)]
    line = "2 files are from the code's ZIP and unchanged, the first is deep/다른.csv"
    assert (seen.skipped, seen.failed) == ([line], [])


def copied(path: Path) -> None:
    path.with_suffix(".tmp").write_text("old")
    path.with_suffix(".tmp").rename(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "the same content": lambda path: path.write_text("old"),
    "other content": lambda path: path.write_text("new"),
    "longer content": lambda path: path.write_text("longer"),
    "a new file": copied,
    "touched": lambda path: path.touch(),
    "an old time": lambda path: os.utime(path, (0, 0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_code_writes_is_an_output(paths: Paths, change: str) -> None:
    CHANGES[change](output(paths, "old.csv"))
    seen = found(paths)
    assert [name for name, _ in seen.files] == ["in.csv", "old.csv"]


def test_another_output_directory_has_its_own_files(paths: Paths) -> None:
    task = make_task(code_inline=None, code_s3=CODE, outputs=make_rules(path="output/deep/"))
    assert list(shipped_outputs(task, paths).sizes) == ["다른.csv"]
    assert found(paths, task).files == []


def test_without_code_in_s3_or_a_manifest_everything_is_an_output(paths: Paths) -> None:
    inline = make_task(code_inline="1", outputs=make_rules())
    assert shipped_outputs(inline, paths) == NOTHING
    Path(paths.manifest).write_text("{")
    assert shipped_outputs(TASK, paths) == NOTHING
    assert len(found(paths).files) == 3
