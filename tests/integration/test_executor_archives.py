"""Code and inputs that are archives: unpacked, searched, or refused by the sync."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_executor.paths import Paths
from support.executor_sync import fail, make_code, make_input, succeed, way, zipped  # noqa: F401 a fixture
from support.hostile_archives import as_written, make, stored_entry
from support.s3_server import BUCKET, S3Server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.security,
    pytest.mark.usefixtures("way"),
]

EMPTY_ZIP_34_BYTES = b"PK\x05\x06" + bytes(16) + b"\x0c\x00" + b"twelve bytes"


def test_code_is_unpacked_next_to_its_inputs(s3: S3Server, paths: Paths) -> None:
    body = zipped({"main.py": b"print(1)", "lib/도움.py": b"x = 1"})
    s3.put("code/v1.zip", body)
    s3.put("code-data/in.csv", b"1")
    digest = hashlib.sha256(body).hexdigest()
    manifest = succeed(
        paths, make_input(prefix="code-data/"), **make_code("code/v1.zip", sha256=digest)
    )
    found = [entry.path for entry in manifest.entries]
    assert found == ["/app/data/in.csv", "/app/lib/도움.py", "/app/main.py"]
    assert Path(paths.real("/app/lib/도움.py")).read_bytes() == b"x = 1"
    assert os.listdir(paths.run_dir) == ["manifest.json"], "the ZIP itself is removed"


@pytest.mark.parametrize("extra", [{}, {"__MACOSX/shop/._main.py": b"junk"}])
def test_a_single_folder_is_entered(s3: S3Server, paths: Paths, extra: dict[str, bytes]) -> None:
    s3.put("code/folder.zip", zipped({"shop/main.py": b"", "shop/lib/x.py": b"", **extra}))
    manifest = succeed(paths, **make_code("code/folder.zip"))
    assert [entry.path for entry in manifest.entries] == ["/app/lib/x.py", "/app/main.py"]
    assert set(os.listdir(paths.workspace)) - {"output"} == {"lib", "main.py"}


def test_names_in_a_guessed_encoding_are_unpacked_and_reported(s3: S3Server, paths: Paths) -> None:
    names = ("Größe.txt".encode("cp437"), "매출.csv".encode("cp949"), b"dir//x", b"main.py")
    s3.put("code/old.zip", as_written(*map(stored_entry, names)))
    manifest = succeed(paths, **make_code("code/old.zip"))
    found = sorted(entry.path for entry in manifest.entries)
    assert found == ["/app/Größe.txt", "/app/dir/x", "/app/main.py", "/app/매출.csv"]
    (text,) = manifest.report.notes
    assert text.startswith(f"s3://{BUCKET}/code/old.zip: 1 name without the UTF-8 flag, read as")
    assert "cp437: Größe.txt; " in text
    assert text.endswith("cp949: 매출.csv")


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (["python3", "-m", "app"], "app/__main__.py"),
        (["bash", "-e", "run.sh"], "run.sh"),
        (["make"], "Makefile"),
        (["sh", "-c", "python3 main.py"], "main.py"),
    ],
)
def test_every_kind_of_command_enters_the_only_folder(
    s3: S3Server, paths: Paths, command: list[str], file: str
) -> None:
    s3.put("code/kinds.zip", zipped({f"shop/{file}": b"", "shop/x": b"", "desktop.ini": b""}))
    manifest = succeed(paths, **make_code("code/kinds.zip"), command=command)
    assert [entry.path for entry in manifest.entries] == [f"/app/{file}", "/app/x"]


@pytest.mark.parametrize(
    ("files", "unpacked"),
    [
        (["lib/x.py", "data.csv"], ["data.csv", "lib/x.py"]),
        (["lib/x.py"], ["lib/x.py"]),
        (["shop/main.py", "shop/lib/x.py"], ["lib/x.py", "main.py"]),
    ],
)
def test_a_session_needs_no_script(
    s3: S3Server, paths: Paths, files: list[str], unpacked: list[str]
) -> None:
    s3.put("code/session.zip", zipped(dict.fromkeys(files, b"")))
    rules = wire.SessionRules(
        idle_timeout_seconds=9, max_lifetime_seconds=9, execution_timeout_seconds=9
    )
    manifest = succeed(paths, **make_code("code/session.zip"), session=rules)
    assert [entry.path.removeprefix("/app/") for entry in manifest.entries] == unpacked


def test_the_script_of_the_command_is_searched(s3: S3Server, paths: Paths) -> None:
    s3.put("code/job.zip", zipped({"shop/bin/job.py": b"", "shop/x": b""}))
    command = ["python3", "-X", "dev", "bin/job.py", "main.py"]
    manifest = succeed(paths, **make_code("code/job.zip"), command=command)
    assert [entry.path for entry in manifest.entries] == ["/app/bin/job.py", "/app/x"]


def test_the_script_may_be_an_input(s3: S3Server, paths: Paths) -> None:
    s3.put("code/lib.zip", zipped({"lib/x.py": b""}))
    s3.put("scripts/run.py", b"")
    item = make_input(key="scripts/run.py", mount_path="/app")
    succeed(paths, item, **make_code("code/lib.zip"), command=["python3", "run.py"])


def test_a_missing_entry_point(s3: S3Server, paths: Paths) -> None:
    s3.put("code/other.zip", zipped({f"a/{n}.py": b"" for n in range(15)}))
    failure = fail(paths, **make_code("code/other.zip"))
    assert failure.reason == Reason.ENTRYPOINT_NOT_FOUND.value
    assert failure.message == (
        "no main.py at the top level; the archive holds a/0.py, a/1.py, a/2.py, a/3.py, a/4.py, "
        "a/5.py, a/6.py, a/7.py, a/8.py, a/9.py and 5 more"
    )


def test_an_input_is_unpacked(s3: S3Server, paths: Paths) -> None:
    body = zipped({"2025/매출.csv": b"1", "readme": b"22"})
    s3.put("packed/data.zip", body)
    digest = hashlib.sha256(body).hexdigest()
    item = make_input(key="packed/data.zip", unpack=True, min_files=2, sha256=digest)
    manifest = succeed(paths, item)
    assert [e.path for e in manifest.entries] == ["/app/data/2025/매출.csv", "/app/data/readme"]
    assert (manifest.report.files, manifest.report.bytes) == (2, 3)
    assert Path(paths.real("/app/data/2025/매출.csv")).read_bytes() == b"1"
    left = set(os.listdir(paths.workspace)) - {"output", "main.py"}  # of the agent
    assert left == {"data"}, "the ZIP itself is removed"


@pytest.mark.parametrize(
    ("body", "changes", "reason"),
    [
        (b"no zip", {}, Reason.CORRUPT_ARCHIVE),
        (EMPTY_ZIP_34_BYTES, {}, Reason.EMPTY_ARCHIVE),
        (None, {"min_files": 3}, Reason.INPUT_NOT_FOUND),
        (None, {"max_bytes": 10}, Reason.INPUT_TOO_LARGE),
        (None, {"max_bytes": 500}, Reason.ARCHIVE_TOO_LARGE),
        (None, {"sha256": "0" * 64}, Reason.CHECKSUM_MISMATCH),
        (None, {"mount_path": "/etc"}, Reason.UNSAFE_PATH),
    ],
)
def test_an_input_that_cannot_be_unpacked(
    s3: S3Server, paths: Paths, body: bytes | None, changes: dict[str, Any], reason: Reason
) -> None:
    packed = make(("a", bytes(600)), ("b", b"x"))
    s3.put("packed/bad.zip", packed if body is None else body)
    failure = fail(paths, make_input(key="packed/bad.zip", unpack=True, **changes))
    assert failure.reason == reason.value, failure


def test_an_optional_input_to_unpack_may_be_missing(s3: S3Server, paths: Paths) -> None:
    item = make_input(key="packed/none.zip", unpack=True, required=False)
    assert succeed(paths, item).entries == []
    os.unlink(paths.manifest)
    item = make_input(key="packed/none.zip", unpack=True)
    assert fail(paths, item).reason == Reason.INPUT_NOT_FOUND.value


def test_an_unpacked_input_conflicts_with_another(s3: S3Server, paths: Paths) -> None:
    s3.put("packed/x.zip", zipped({"x.csv": b""}))
    s3.put("meets/x.csv", b"")
    packed = make_input("a", key="packed/x.zip", unpack=True)
    failure = fail(paths, packed, make_input("b", prefix="meets/"))
    assert failure.reason == Reason.PATH_CONFLICT.value
    assert "packed/x.zip" in failure.message


@pytest.mark.parametrize(
    ("body", "reason", "message"),
    [
        (EMPTY_ZIP_34_BYTES, Reason.EMPTY_ARCHIVE, "34 bytes, 0 files"),
        (b"this is no archive, only some text", Reason.CORRUPT_ARCHIVE, "not a valid ZIP"),
        (zipped({"a/main.py": b"", "b": b""}), Reason.ENTRYPOINT_NOT_FOUND, "a/main.py, b"),
        (zipped({"index.js": b""}), Reason.ENTRYPOINT_NOT_FOUND, "holds index.js"),
        (zipped({"../main.py": b""}), Reason.UNSAFE_ARCHIVE, "'../main.py'"),
    ],
)
def test_refused_archives(
    s3: S3Server, paths: Paths, body: bytes, reason: Reason, message: str
) -> None:
    s3.put("code/bad.zip", body)
    failure = fail(paths, **make_code("code/bad.zip"))
    assert failure.reason == reason.value
    assert message in failure.message


def test_an_archive_may_hold_hidden_archives(s3: S3Server, paths: Paths) -> None:
    s3.put("code/hidden.zip", zipped({"main.py": b"", ".nanogrid-archive.zip": b"mine"}))
    s3.put("packed/other.zip", zipped({"x.csv": b""}))
    item = make_input(key="packed/other.zip", unpack=True)
    succeed(paths, item, **make_code("code/hidden.zip"))
    assert Path(paths.real("/app/.nanogrid-archive.zip")).read_bytes() == b"mine"


def test_an_unpacked_path_that_is_too_long_for_its_mount(s3: S3Server, paths: Paths) -> None:
    long = "/".join(["d" * 120] * 32)
    s3.put("packed/long.zip", zipped({long: b""}))
    mount = "/app/" + "m" * 200
    failure = fail(paths, make_input(key="packed/long.zip", unpack=True, mount_path=mount))
    assert failure.reason == Reason.UNSAFE_PATH.value
    s3.put("packed/longer.zip", zipped({f"{long}/{'d' * 200}": b""}))
    failure = fail(paths, make_input(key="packed/longer.zip", unpack=True))
    assert failure.reason == Reason.UNSAFE_ARCHIVE.value
