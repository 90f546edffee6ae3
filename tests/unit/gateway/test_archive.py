"""An upload is refused when the job would refuse it, with the same reason."""

import io
import tempfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogrid.archive import ArchiveError, entry_point_of, opened
from nanogrid.reasons import Reason
from nanogrid_executor.inputs.archive import extract
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.functions import archive
from support import hostile_archives as hostile
from support.archive_cases import ACCEPTED, CASES, REFUSED
from support.hostile_archives import make

pytestmark = pytest.mark.security


def refusal(data: bytes, entry_point: str = "main.py") -> ApiError:
    with pytest.raises(ApiError) as caught:
        archive.check(io.BytesIO(data), entry_point)
    assert caught.value.status == 422
    return caught.value


@pytest.mark.parametrize("name", [name for name in CASES if name not in ACCEPTED])
def test_a_hostile_archive_is_refused(name: str) -> None:
    case = CASES[name]
    data = case.build()

    error = refusal(data, case.entry_point)

    assert error.reason == case.reason
    assert error.found is not None
    assert error.found["bytes"] == len(data)
    assert str(error).startswith("The ZIP is refused: ")
    assert str(error).isprintable()


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_honest_archive_is_accepted(name: str) -> None:
    case = ACCEPTED[name]
    checked = archive.check(io.BytesIO(case.build()), case.entry_point)
    assert sorted(checked.files) == sorted(case.files)


def job_verdict(data: bytes) -> Reason | None:
    """The verdict of the job's sync, with the archive unpacked into an empty directory."""
    with tempfile.TemporaryDirectory() as target:
        try:
            with opened(io.BytesIO(data)) as archive:
                archive.locate(entry_point_of(["python3", "main.py"]))
                extract(archive, target)
        except ArchiveError as error:
            return error.reason
    return None


@settings(max_examples=200)
@given(st.binary(max_size=8), st.integers(0, 600), st.integers(0, 20), st.booleans())
def test_gateway_and_job_agree_on_damaged_archives(
    noise: bytes, at: int, cut: int, in_folder: bool
) -> None:
    folder = "app/" if in_folder else ""
    data = bytearray(
        make((f"{folder}main.py", b"print(1)"), (f"{folder}x", b"x" * 99), ("__MACOSX/x", b"y"))
    )
    data[at : at + cut] = noise
    try:
        archive.check(io.BytesIO(data), "main.py")
        verdict = None
    except ApiError as error:
        verdict = error.reason
    assert verdict == job_verdict(bytes(data))


def test_the_empty_zip_of_34_bytes_is_named() -> None:
    build, _ = REFUSED["34 bytes: no entry, comment"]

    error = refusal(build())

    assert error.reason == Reason.EMPTY_ARCHIVE
    assert error.found == {"bytes": 34, "files": 0, "entries": 0}
    assert str(error) == (
        "The ZIP is refused: 34 bytes, 0 files. "
        "Zip the files again (zip -r code.zip .), then upload it."
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("10,001 entries", {"entries": 10_001}),
        ("absolute", {"entry": "/etc/passwd"}),
        ("duplicate", {"entry": "a"}),
        ("file and folder", {"entry": "a"}),
        ("zip64: a size of petabytes", {"unpackedBytes": 1 << 50}),
        ("cut off", {}),
    ],
)
def test_a_refusal_shows_programs_what_was_found(name: str, found: dict[str, object]) -> None:
    data = REFUSED[name][0]()
    assert refusal(data).found == {"bytes": len(data), **found}


def test_a_missing_entry_point_shows_the_files() -> None:
    data = make(("src/app.py", b""), ("README.md", b""))

    error = refusal(data)

    assert error.reason == Reason.ENTRYPOINT_NOT_FOUND
    assert error.found == {"bytes": len(data), "files": ["README.md", "src/app.py"]}
    assert "the archive holds src/app.py, README.md." in str(error)
    archive.check(io.BytesIO(data), "src/app.py")


@pytest.mark.parametrize(
    ("name", "megabytes"),
    [
        ("a million entries", 2),
        ("a million entries announced as one", 2),
        ("89,000 entries announced as one", 6),  # the directory is read, and not parsed
    ],
)
def test_too_many_entries_take_little_memory(name: str, megabytes: int) -> None:
    data = REFUSED[name][0]()
    tracemalloc.start()
    refusal(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < megabytes * hostile.MEGABYTE


def test_contents_are_read_in_chunks() -> None:
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

    assert peak < 4 * hostile.MEGABYTE
