"""Entry points and limits of archives; the table of archives runs through the two callers."""

import io
import zipfile

import pytest

from nanogrid import archive
from nanogrid.archive import ArchiveError, EntryPoint, Limits, entry_point_of, folder_of
from nanogrid.archive.entries import safe_entry
from nanogrid.archive.limits import MAX_PATH_BYTES
from nanogrid.reasons import Reason
from support.archive_cases import CASES, REFUSED
from support.hostile_archives import make

FOLDER_OF_MAIN = entry_point_of(["python3", "main.py"])


@pytest.mark.parametrize(
    ("files", "folder"),
    [
        (["main.py"], ""),
        (["a/main.py", "main.py"], ""),
        (["main.py/__main__.py"], ""),
        (["a/main.py", "a/b"], "a"),
        (["a/main.py/__main__.py"], "a"),
        (["a/main.py", "__MACOSX/x"], "a"),
        (["a/main.py", "Thumbs.db", "Desktop.ini", ".DS_Store", "._a", ".directory"], "a"),
        (["a/main.py", "b"], None),
        (["a/main.py", "b/Thumbs.db"], None),
        (["a/b/main.py"], None),
        (["__MACOSX/main.py"], None),
        ([], None),
    ],
)
def test_folder_of_a_script(files: list[str], folder: str | None) -> None:
    assert folder_of(files, FOLDER_OF_MAIN) == folder


def test_the_table_has_enough_rows_and_states_every_rule() -> None:
    assert len(CASES) >= 80
    assert len(REFUSED) >= 60
    assert all(case.rule.endswith(".") for case in CASES.values())


def test_a_script_outside_the_archive_counts() -> None:
    run = entry_point_of(["python3", "run.py"])
    with archive.opened(io.BytesIO(make(("lib/x.py", b"")))) as opened:
        opened.locate(run, others={"run.py"})
        opened.locate(EntryPoint())
        assert opened.files == ["lib/x.py"], "no folder is entered"
        with pytest.raises(ArchiveError) as caught:
            opened.locate(run)
    assert caught.value.found == {"files": ["lib/x.py"]}
    assert str(caught.value) == "no run.py at the top level; the archive holds lib/x.py"


@pytest.mark.parametrize("extra", [0, 1])
def test_the_longest_path(extra: int) -> None:
    path = "/".join(["d" * 124] * 32) + "d" * (1 + extra)
    info = zipfile.ZipInfo(path)
    assert len(path) == MAX_PATH_BYTES + extra
    if not extra:
        entry = safe_entry(info)
        assert entry is not None
        assert entry.path == path
        return
    with pytest.raises(ArchiveError) as caught:
        safe_entry(info)
    assert caught.value.reason is Reason.UNSAFE_ARCHIVE


def test_the_ratio_of_small_archives_does_not_count() -> None:
    data = make(("small", b"x"), ("zeros", bytes(20_000_000)))
    with archive.opened(io.BytesIO(data)) as opened:
        assert opened.files == ["small", "zeros"]
    with (
        pytest.raises(ArchiveError) as caught,
        archive.opened(io.BytesIO(data), Limits(ratio_free_bytes=1_000_000)),
    ):
        pass
    assert caught.value.reason is Reason.ARCHIVE_TOO_LARGE
    assert caught.value.found == {"unpackedBytes": 20_000_001}


def test_errors_of_the_caller_are_not_taken_for_damage() -> None:
    with (
        pytest.raises(ValueError, match="of the caller"),
        archive.opened(io.BytesIO(make(("main.py", b"")))),
    ):
        raise ValueError("of the caller")
