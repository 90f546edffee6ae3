"""The input sync against a real S3 server."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_executor.clock import Deadline
from nanogrid_executor.paths import Paths
from nanogrid_executor.storage.s3 import Storage
from support.executor_sync import fail, make_code, make_input, succeed, way, zipped  # noqa: F401 a fixture
from support.s3_server import BUCKET, S3Server

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("way")]

EMPTY_ZIP_34_BYTES = b"PK\x05\x06" + bytes(16) + b"\x0c\x00" + b"twelve bytes"


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


UNUSUAL = ["1\u00a0000.csv", "a\u2009b\u3000c", "hy\u00adphen", "\ufeffbom.csv", "logo\ue000.png"]


@pytest.mark.parametrize("character", ["\ufffe", "\uffff"])
@pytest.mark.parametrize("body", [b"content", b""])
def test_a_name_that_a_list_cannot_express_is_not_left_out(
    s3: S3Server, paths: Paths, character: str, body: bytes
) -> None:
    prefix = f"not-xml-{ord(character):x}-{len(body)}"
    s3.put(f"{prefix}/a{character}b", body)
    s3.put(f"{prefix}/other", b"x")
    failure = fail(paths, make_input(prefix=f"{prefix}/"))
    assert failure.reason == Reason.UNSAFE_PATH.value
    assert f"s3://{BUCKET}/{prefix}/a\ufffdb is listed and cannot be found" in failure.message
    named = fail(paths, make_input(key=f"{prefix}/a{character}b"))
    assert f"U+{ord(character):04X} in place " in named.message


def test_a_name_with_the_replacement_character_is_an_ordinary_name(
    s3: S3Server, paths: Paths
) -> None:
    for key in ("file", "empty", "folder/", "folder/x"):
        s3.put(f"replaced/\ufffd{key}", b"" if key in ("empty", "folder/") else b"x")
    manifest = succeed(paths, make_input(prefix="replaced/"))
    found = [entry.path for entry in manifest.entries]
    assert found == [f"/app/data/\ufffd{key}" for key in ("empty", "file", "folder/x")]


@pytest.mark.parametrize(
    "name", ["매출 자료.csv", "식품/한글 폴더/수량.csv", "a%20b+c&d=e'f.txt", *UNUSUAL]
)
def test_keys_that_need_quoting(s3: S3Server, paths: Paths, name: str) -> None:
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
    assert failure.message.endswith("(if it is a folder, use prefix instead of key)")


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

    def storage(deadline: Deadline) -> Storage:
        return Storage(deadline, pause=waits.append)

    outcome = fail(paths, make_input(prefix="pre/"), make_storage=storage)
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


def test_an_input_cannot_replace_the_code(s3: S3Server, paths: Paths) -> None:
    s3.put("evil/main.py", b"print('mine')")
    failure = fail(paths, make_input(prefix="evil/", mount_path="/app"))
    assert failure.reason == Reason.PATH_CONFLICT.value
    s3.put("zip/clash.zip", zipped({"main.py": b"", "data/x.csv": b""}))
    s3.put("clash/x.csv", b"")
    failure = fail(paths, make_input(prefix="clash/"), **make_code("zip/clash.zip"))
    assert failure.reason == Reason.PATH_CONFLICT.value


def test_an_object_that_changes_between_listing_and_reading(s3: S3Server, paths: Paths) -> None:
    class Changing(Storage):
        def head(self, bucket: str, key: str, version: str | None = None) -> Any:
            found = super().head(bucket, key, version)
            s3.put(key, b"something else")
            return found

    s3.put("change/file", b"content")
    outcome = fail(paths, make_input(key="change/file"), make_storage=Changing)
    assert outcome.reason == Reason.INPUT_INCOMPLETE.value


def test_missing_code(s3: S3Server, paths: Paths) -> None:
    failure = fail(paths, **make_code("code/none.zip"))
    assert failure.reason == Reason.INPUT_NOT_FOUND.value
    assert "code/none.zip" in failure.message
