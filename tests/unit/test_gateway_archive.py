"""What is refused at upload is what the job would refuse, and for the same reason."""

import io
import tracemalloc
from pathlib import Path

import pytest

from nanogrid.reasons import Reason
from nanogrid_executor import archive as executor
from nanogrid_executor import archive_checks
from nanogrid_gateway.api import archive
from nanogrid_gateway.api.errors import ApiError
from unit import hostile
from unit.hostile import REFUSED, VALID, make

SHARED = [
    "MAX_ENTRIES",
    "MAX_RATIO",
    "RATIO_FREE_BYTES",
    "MAX_DEPTH",
    "MAX_NAME_BYTES",
    "MAX_DIRECTORY_BYTES",
]


def refusal(data: bytes, entry_point: str = "main.py") -> ApiError:
    with pytest.raises(ApiError) as caught:
        archive.check(io.BytesIO(data), entry_point)
    assert caught.value.status == 422
    return caught.value


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_archive_is_refused_with_the_jobs_own_reason(name: str) -> None:
    build, reason = REFUSED[name]

    error = refusal(build())

    assert error.reason == reason
    assert error.found is not None
    assert error.found["bytes"] == len(build())
    assert len(str(error)) > 30


@pytest.mark.parametrize("name", SHARED)
def test_the_limits_are_the_jobs(name: str) -> None:
    assert getattr(archive, name) == getattr(archive_checks, name)


def test_the_limit_of_bytes_is_the_jobs() -> None:
    assert archive.MAX_BYTES == executor.MAX_BYTES


ACCEPTED = {
    "plain": VALID,
    "in the only folder": make(("app/main.py", b"x"), ("app/util.py", b"")),
    "beside a Mac's resource forks": make(("app/main.py", b"x"), ("__MACOSX/app/._main.py", b"")),
    "with folders": make(("lib/", b""), ("lib/a.py", b"1"), ("main.py", b"")),
    "Korean names": make(("main.py", b""), ("매출/합계.csv", b"1")),
    "nested archive": make(("main.py", b""), ("inner.zip", VALID)),
    "ZIP64": hostile.zip64(
        1, hostile.VALID.rindex(hostile.END) - hostile.VALID.index(hostile.CENTRAL)
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_honest_archive_is_accepted_by_both(name: str, tmp_path: Path) -> None:
    data = ACCEPTED[name]
    path = tmp_path / "code.zip"
    path.write_bytes(data)
    with executor.opened(str(path)) as opened:
        theirs = sorted(opened.files)

    assert sorted(archive.check(io.BytesIO(data), "main.py").files) == theirs


def test_the_empty_zip_of_34_bytes_is_named_as_such() -> None:
    build, _ = REFUSED["34 bytes: no entry, comment"]

    error = refusal(build())

    assert error.reason == Reason.EMPTY_ARCHIVE
    assert error.found == {"bytes": 34, "files": 0, "entries": 0}
    assert "34 bytes holds 0 files" in str(error)


def test_a_missing_entry_point_shows_what_is_there_instead() -> None:
    error = refusal(make(("src/app.py", b""), ("README.md", b"")))

    assert error.reason == Reason.ENTRYPOINT_NOT_FOUND
    assert error.found is not None
    assert error.found["files"] == ["README.md", "src/app.py"]
    archive.check(io.BytesIO(make(("src/app.py", b""), ("README.md", b""))), "src/app.py")


def test_a_million_entries_cost_no_memory() -> None:
    data = hostile.a_million()
    tracemalloc.start()
    refusal(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2 * 1024 * 1024


def test_contents_are_read_in_pieces() -> None:
    info = hostile.zipfile.ZipInfo("main.py")
    info.compress_type = hostile.zipfile.ZIP_DEFLATED
    buffer = io.BytesIO()
    with hostile.zipfile.ZipFile(buffer, "w") as opened, opened.open(info, "w") as file:
        for _ in range(60):
            file.write(bytes(hostile.MEGABYTE))
    tracemalloc.start()
    archive.check(buffer, "main.py")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 * 1024 * 1024
