"""Files of the code's ZIP below the output directory are no outputs unless the code writes them."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nanogrid import names, wire
from nanogrid_executor.clock import endless
from nanogrid_executor.inputs.proof import prove
from nanogrid_executor.outputs.shipped import NOTHING, shipped_outputs
from nanogrid_executor.outputs.walk import Found, walk
from nanogrid_executor.paths import Paths
from nanogrid_executor.storage.s3 import Storage
from support.s3_server import make_rules, make_task

CODE = wire.S3Source(bucket="b", key="code.zip")
TASK = make_task(code_inline=None, code_s3=CODE, bucket="", outputs=make_rules())


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
    write_manifest(made, TASK, entries)
    later = os.stat(made.manifest).st_ctime_ns + 1
    while os.stat(made.manifest).st_ctime_ns < later:  # the file system's clock moves on
        os.utime(made.manifest)
    return made


def write_manifest(
    paths: Paths, task: wire.PodTask, entries: list[wire.ManifestEntry]
) -> wire.Manifest:
    os.makedirs(paths.run_dir, exist_ok=True)
    prove(task, paths, Storage(endless()), entries, [], time.monotonic())
    return manifest_of(paths)


def manifest_of(paths: Paths) -> wire.Manifest:
    return wire.loads(wire.Manifest, Path(paths.manifest).read_bytes())


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


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_while_the_code_runs_loses_no_output(paths: Paths, hours: int) -> None:
    manifest = manifest_of(paths)
    assert sorted(manifest.shipped) == ["deep/다른.csv", "old.csv"]
    output(paths, "old.csv").write_text("new")
    shift = hours * 3600 * 10**9
    moved = {path: at + shift for path, at in manifest.shipped.items()}
    Path(paths.manifest).write_text(wire.dumps(replace(manifest, shipped=moved)))
    at = os.stat(paths.manifest).st_mtime_ns + shift
    os.utime(paths.manifest, ns=(at, at))
    assert ("old.csv", 3) in found(paths).files


def test_another_output_directory_has_its_own_files(paths: Paths) -> None:
    task = replace(TASK, outputs=make_rules(path="output/deep/"))
    write_manifest(paths, task, manifest_of(paths).entries)
    assert list(shipped_outputs(task, paths).changed) == ["다른.csv"]
    assert found(paths, task).files == []


def test_without_code_in_s3_or_a_manifest_everything_is_an_output(paths: Paths) -> None:
    inline = make_task(code_inline="1", outputs=make_rules())
    assert shipped_outputs(inline, paths) == NOTHING
    Path(paths.manifest).write_text("{")
    assert shipped_outputs(TASK, paths) == NOTHING
    assert len(found(paths).files) == 3
