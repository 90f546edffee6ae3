"""The input sync against a real S3 server."""

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from integration.support import BUCKET, S3Server, make_task
from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor import sync
from nanogrid_executor.clock import Deadline
from nanogrid_executor.paths import Paths
from nanogrid_executor.s3 import Storage

pytestmark = pytest.mark.integration

EMPTY_ZIP_34_BYTES = b"PK\x05\x06" + bytes(16) + b"\x0c\x00" + b"twelve bytes"


SOURCE = ("key", "prefix", "sha256", "version_id")


def fast_storage(deadline: Deadline) -> Storage:
    return Storage(deadline, pause=lambda seconds: None)


def make_input(name: str = "data", **changes: Any) -> wire.Input:
    source = {key: changes.pop(key) for key in SOURCE if key in changes}
    bucket = changes.pop("bucket", BUCKET)
    mount = changes.pop("mount_path", "/app/data")
    return wire.Input(
        name=name, s3=wire.S3Source(bucket=bucket, **source), mount_path=mount, **changes
    )


def run(paths: Paths, *inputs: wire.Input, **changes: Any) -> wire.InputReport | wire.SyncFailure:
    return sync.run(make_task(inputs=list(inputs), **changes), paths, fast_storage)


def succeed(paths: Paths, *inputs: wire.Input, **changes: Any) -> wire.Manifest:
    outcome = run(paths, *inputs, **changes)
    assert isinstance(outcome, wire.InputReport), outcome
    manifest = wire.loads(wire.Manifest, Path(paths.manifest).read_bytes())
    assert manifest.report == outcome
    return manifest


def fail(paths: Paths, *inputs: wire.Input, **changes: Any) -> wire.SyncFailure:
    outcome = run(paths, *inputs, **changes)
    assert isinstance(outcome, wire.SyncFailure), outcome
    assert not os.path.exists(paths.manifest), "no proof may exist of a sync that failed"
    return outcome


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def code(key: str, **changes: Any) -> dict[str, Any]:
    source = wire.S3Source(bucket=BUCKET, key=key, **changes)
    return {"code_inline": None, "code_s3": source}


def test_one_key(s3: S3Server, paths: Paths) -> None:
    s3.put("one/sales.csv", "날짜,금액\n".encode())
    manifest = succeed(paths, make_input(key="one/sales.csv"))
    assert Path(paths.real("/app/data/sales.csv")).read_text() == "날짜,금액\n"
    (entry,) = manifest.entries
    assert entry.path == "/app/data/sales.csv"
    assert entry.source == f"s3://{BUCKET}/one/sales.csv"
    assert entry.sha256 == hashlib.sha256("날짜,금액\n".encode()).hexdigest()
    assert entry.etag
    assert (manifest.report.files, manifest.report.bytes) == (1, entry.bytes)


def test_a_prefix_keeps_its_folders_and_skips_directory_markers(s3: S3Server, paths: Paths) -> None:
    s3.put("pre/", b"")
    s3.put("pre/a.txt", b"a")
    s3.put("pre/empty.txt", b"")
    s3.put("pre/sub/", b"")
    s3.put("pre/sub/b.txt", b"b")
    s3.put("prefix-of-another/c.txt", b"c")
    manifest = succeed(paths, make_input(prefix="pre/"))
    found = [entry.path for entry in manifest.entries]
    assert found == ["/app/data/a.txt", "/app/data/empty.txt", "/app/data/sub/b.txt"]


@pytest.mark.parametrize("name", ["매출 자료.csv", "식품/한글 폴더/수량.csv", "a%20b+c&d=e'f.txt"])
def test_names_that_need_quoting(s3: S3Server, paths: Paths, name: str) -> None:
    prefix = f"names-{hashlib.md5(name.encode()).hexdigest()}"
    s3.put(f"{prefix}/{name}", b"content")
    succeed(paths, make_input(prefix=f"{prefix}/"))
    assert Path(paths.real(f"/app/data/{name}")).read_bytes() == b"content"


def test_two_hundred_small_files(s3: S3Server, paths: Paths) -> None:
    for number in range(200):
        s3.put(f"many/{number:03}.txt", b"%d" % number)
    manifest = succeed(paths, make_input(prefix="many", min_files=200))
    assert manifest.report.files == 200
    assert Path(paths.real("/app/data/123.txt")).read_bytes() == b"123"


def test_a_large_file_is_streamed(s3: S3Server, paths: Paths) -> None:
    body = os.urandom(1024) * (20 * 1024)
    s3.put("large/blob", body)
    digest = hashlib.sha256(body).hexdigest()
    succeed(paths, make_input(key="large/blob", sha256=digest))


def test_optional_input_may_be_missing(s3: S3Server, paths: Paths) -> None:
    manifest = succeed(paths, make_input(key="no/such", required=False))
    assert manifest.entries == []


def test_missing_key(s3: S3Server, paths: Paths) -> None:
    failure = fail(paths, make_input(key="no/such/key.csv"))
    assert failure.reason == Reason.INPUT_NOT_FOUND.value
    assert f"s3://{BUCKET}/no/such/key.csv" in failure.message
    assert "found 0 files, at least 1 expected" in failure.message


def test_empty_prefix_and_too_few_files(s3: S3Server, paths: Paths) -> None:
    failure = fail(paths, make_input(prefix="nothing/here/"))
    assert failure.reason == Reason.INPUT_NOT_FOUND.value
    assert "gives 0 files, at least 1 expected" in failure.message
    s3.put("few/one", b"1")
    failure = fail(paths, make_input(prefix="few/", min_files=2))
    assert "gives 1 files, at least 2 expected" in failure.message


@pytest.mark.parametrize("where", [{"key": "a"}, {"prefix": "a/"}])
def test_missing_bucket(s3: S3Server, paths: Paths, where: dict[str, str]) -> None:
    failure = fail(paths, make_input(bucket="no-such-bucket", **where))
    assert failure.reason == Reason.INPUT_NOT_FOUND.value
    assert "no-such-bucket" in failure.message


@pytest.mark.parametrize("where", [{"key": "ready"}, {"prefix": "a/"}])
@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials(
    s3: S3Server,
    paths: Paths,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    where: dict[str, str],
) -> None:
    monkeypatch.setenv(variable, "wrong")
    failure = fail(paths, make_input(**where))
    assert failure.reason == Reason.INPUT_ACCESS_DENIED.value


def test_s3_down(s3: S3Server, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(names.ENV_S3_ENDPOINT, "http://127.0.0.1:1")
    waits: list[float] = []
    task = make_task(inputs=[make_input(prefix="pre/")])
    outcome = sync.run(task, paths, lambda deadline: Storage(deadline, pause=waits.append))
    assert isinstance(outcome, wire.SyncFailure)
    assert outcome.reason == Reason.STORAGE_UNAVAILABLE.value
    assert "no answer from http://127.0.0.1:1: Connection refused" in outcome.message
    assert all(low <= wait <= low * 1.25 for wait, low in zip(waits, (1, 2, 4), strict=True))


def test_checksum_mismatch(s3: S3Server, paths: Paths) -> None:
    s3.put("sum/file", b"content")
    failure = fail(paths, make_input(key="sum/file", sha256="0" * 64))
    assert failure.reason == Reason.CHECKSUM_MISMATCH.value


def test_too_large(s3: S3Server, paths: Paths) -> None:
    s3.put("big/file", b"0123456789")
    failure = fail(paths, make_input(prefix="big/", max_bytes=9))
    assert failure.reason == Reason.INPUT_TOO_LARGE.value


def test_two_inputs_one_path(s3: S3Server, paths: Paths) -> None:
    s3.put("left/same.csv", b"left")
    s3.put("right/same.csv", b"right")
    failure = fail(paths, make_input("a", key="left/same.csv"), make_input("b", prefix="right/"))
    assert failure.reason == Reason.PATH_CONFLICT.value
    assert "/app/data/same.csv" in failure.message


def test_an_input_must_not_replace_the_code(s3: S3Server, paths: Paths) -> None:
    s3.put("evil/main.py", b"print('mine')")
    failure = fail(paths, make_input(prefix="evil/", mount_path="/app"))
    assert failure.reason == Reason.PATH_CONFLICT.value
    s3.put("zip/clash.zip", zipped({"main.py": b"", "data/x.csv": b""}))
    s3.put("clash/x.csv", b"")
    failure = fail(paths, make_input(prefix="clash/"), **code("zip/clash.zip"))
    assert failure.reason == Reason.PATH_CONFLICT.value


def test_an_object_that_changes_between_listing_and_reading(s3: S3Server, paths: Paths) -> None:
    class Changing(Storage):
        def head(self, bucket: str, key: str, version: str | None = None) -> Any:
            found = super().head(bucket, key, version)
            s3.put(key, b"something else")
            return found

    s3.put("change/file", b"content")
    task = make_task(inputs=[make_input(key="change/file")])
    outcome = sync.run(task, paths, Changing)
    assert isinstance(outcome, wire.SyncFailure)
    assert outcome.reason == Reason.INPUT_INCOMPLETE.value


def test_code_is_unpacked_beside_its_inputs(s3: S3Server, paths: Paths) -> None:
    body = zipped({"main.py": b"print(1)", "lib/도움.py": b"x = 1"})
    s3.put("code/v1.zip", body)
    s3.put("code-data/in.csv", b"1")
    digest = hashlib.sha256(body).hexdigest()
    manifest = succeed(paths, make_input(prefix="code-data/"), **code("code/v1.zip", sha256=digest))
    found = [entry.path for entry in manifest.entries]
    assert found == ["/app/data/in.csv", "/app/lib/도움.py", "/app/main.py"]
    assert Path(paths.real("/app/lib/도움.py")).read_bytes() == b"x = 1"
    assert os.listdir(paths.run_dir) == ["manifest.json"], "the ZIP itself is not left behind"


@pytest.mark.parametrize("extra", [{}, {"__MACOSX/shop/._main.py": b"junk"}])
def test_a_single_folder_is_looked_into(
    s3: S3Server, paths: Paths, extra: dict[str, bytes]
) -> None:
    s3.put("code/folder.zip", zipped({"shop/main.py": b"", "shop/lib/x.py": b"", **extra}))
    manifest = succeed(paths, **code("code/folder.zip"))
    assert [entry.path for entry in manifest.entries] == ["/app/lib/x.py", "/app/main.py"]
    assert sorted(os.listdir(paths.workspace)) == ["lib", "main.py"]


def test_the_commands_script_is_looked_for(s3: S3Server, paths: Paths) -> None:
    s3.put("code/job.zip", zipped({"shop/bin/job.py": b"", "shop/x": b""}))
    command = ["python3", "-X", "dev", "bin/job.py", "main.py"]
    manifest = succeed(paths, **code("code/job.zip"), command=command)
    assert [entry.path for entry in manifest.entries] == ["/app/bin/job.py", "/app/x"]


def test_the_script_may_be_an_input(s3: S3Server, paths: Paths) -> None:
    s3.put("code/lib.zip", zipped({"lib/x.py": b""}))
    s3.put("scripts/run.py", b"")
    item = make_input(key="scripts/run.py", mount_path="/app")
    succeed(paths, item, **code("code/lib.zip"), command=["python3", "run.py"])


def test_an_entry_point_that_is_nowhere(s3: S3Server, paths: Paths) -> None:
    s3.put("code/other.zip", zipped({f"a/{n}.py": b"" for n in range(15)}))
    failure = fail(paths, **code("code/other.zip"))
    assert failure.reason == Reason.ENTRYPOINT_NOT_FOUND.value
    assert failure.message == (
        "no main.py at the top level; the archive holds a/0.py, a/1.py, a/2.py, a/3.py, a/4.py, "
        "a/5.py, a/6.py, a/7.py, a/8.py, a/9.py and 5 more"
    )


def test_an_input_that_is_unpacked(s3: S3Server, paths: Paths) -> None:
    body = zipped({"2025/매출.csv": b"1", "readme": b"22"})
    s3.put("packed/data.zip", body)
    digest = hashlib.sha256(body).hexdigest()
    item = make_input(key="packed/data.zip", unpack=True, min_files=2, sha256=digest)
    manifest = succeed(paths, item)
    assert [e.path for e in manifest.entries] == ["/app/data/2025/매출.csv", "/app/data/readme"]
    assert (manifest.report.files, manifest.report.bytes) == (2, 3)
    assert Path(paths.real("/app/data/2025/매출.csv")).read_bytes() == b"1"
    assert os.listdir(paths.workspace) == ["data"], "the ZIP itself is not left behind"


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
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(600))
        archive.writestr("b", b"x")
    s3.put("packed/bad.zip", buffer.getvalue() if body is None else body)
    failure = fail(paths, make_input(key="packed/bad.zip", unpack=True, **changes))
    assert failure.reason == reason.value, failure


def test_an_optional_input_to_unpack_may_be_missing(s3: S3Server, paths: Paths) -> None:
    item = make_input(key="packed/none.zip", unpack=True, required=False)
    assert succeed(paths, item).entries == []
    os.unlink(paths.manifest)
    item = make_input(key="packed/none.zip", unpack=True)
    assert fail(paths, item).reason == Reason.INPUT_NOT_FOUND.value


def test_an_unpacked_input_must_not_meet_another(s3: S3Server, paths: Paths) -> None:
    s3.put("packed/x.zip", zipped({"x.csv": b""}))
    s3.put("meets/x.csv", b"")
    packed = make_input("a", key="packed/x.zip", unpack=True)
    failure = fail(paths, packed, make_input("b", prefix="meets/"))
    assert failure.reason == Reason.PATH_CONFLICT.value
    assert "packed/x.zip" in failure.message


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        (EMPTY_ZIP_34_BYTES, Reason.EMPTY_ARCHIVE, "34 bytes, 0 files"),
        (b"this is no archive, only some text", Reason.CORRUPT_ARCHIVE, "no valid ZIP"),
        (zipped({"a/main.py": b"", "b": b""}), Reason.ENTRYPOINT_NOT_FOUND, "a/main.py, b"),
        (zipped({"index.js": b""}), Reason.ENTRYPOINT_NOT_FOUND, "holds index.js"),
        (zipped({"../main.py": b""}), Reason.UNSAFE_ARCHIVE, "'../main.py'"),
    ],
)
def test_archives_that_are_refused(
    s3: S3Server, paths: Paths, body: bytes, reason: Reason, words: str
) -> None:
    s3.put("code/bad.zip", body)
    failure = fail(paths, **code("code/bad.zip"))
    assert failure.reason == reason.value
    assert words in failure.message


def test_missing_code(s3: S3Server, paths: Paths) -> None:
    failure = fail(paths, **code("code/none.zip"))
    assert failure.reason == Reason.INPUT_NOT_FOUND.value
    assert "code/none.zip" in failure.message


@pytest.mark.parametrize(("key", "status"), [("cli/file", 0), ("cli/none", 1)])
def test_as_the_init_container_runs_it(s3: S3Server, paths: Paths, key: str, status: int) -> None:
    s3.put("cli/file", b"content")
    env = {**os.environ, names.ENV_TASK: wire.dumps(make_task(inputs=[make_input(key=key)]))}
    command = [sys.executable, "-m", "nanogrid_executor", "sync", "--root", paths.root]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    message = Path(paths.real(names.TERMINATION_FILE)).read_text()
    if status:
        assert wire.loads(wire.SyncFailure, message).reason == Reason.INPUT_NOT_FOUND.value
        assert "sync-failed reason=InputNotFound" in done.stdout
    else:
        assert wire.loads(wire.InputReport, message).files == 1
        assert "sync-end files=1 bytes=7" in done.stdout
