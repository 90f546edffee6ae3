"""Large downloads in parts: correct in every size, and ended by the first error."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from nanogrid.reasons import Reason
from nanogrid_executor.clock import Deadline, DeadlineError
from nanogrid_executor.storage import multipart
from nanogrid_executor.storage.download import Received, Target
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.s3 import Object, Storage
from support.s3_server import BUCKET, S3Server

pytestmark = pytest.mark.integration


def fetch(
    storage: Storage, key: str, path: Path, known: Object | None = None
) -> tuple[Received, int]:
    """Download in parts of 1,000 bytes: what was received, and the counted bytes."""
    counted: list[int] = []
    target = Target(str(path), counted.append, None)
    known = known or storage.head(BUCKET, key)
    got = multipart.download(storage, BUCKET, known, target, large_bytes=1000, part_bytes=1000)
    return got, sum(counted)


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 2000, 12_345, 100_000])
def test_any_size(s3: S3Server, tmp_path: Path, size: int) -> None:
    body = os.urandom(size)
    s3.put(f"parts/{size}", body)
    got, counted = fetch(Storage(), f"parts/{size}", tmp_path / "file")
    assert got == Received(size, hashlib.sha256(body).hexdigest())
    assert (tmp_path / "file").read_bytes() == body
    assert counted == size


class Slow(Storage):
    """Parts arrive in another order than they were requested."""

    def part(self, bucket: str, known: Object, start: int, end: int) -> object:  # type: ignore[override]
        time.sleep(0.03 if start % 4000 == 0 else 0.0)
        return super().part(bucket, known, start, end)


def test_parts_that_arrive_in_disorder(s3: S3Server, tmp_path: Path) -> None:
    body = os.urandom(20_000)
    s3.put("parts/disorder", body)
    got, _ = fetch(Slow(), "parts/disorder", tmp_path / "file")
    assert got.sha256 == hashlib.sha256(body).hexdigest()


class Changing(Storage):
    """The object is replaced or removed while its parts are copied."""

    def __init__(self, s3: S3Server, body: bytes | None) -> None:
        super().__init__(pause=lambda seconds: None)
        self.server, self.body = s3, body

    def part(self, bucket: str, known: Object, start: int, end: int) -> object:  # type: ignore[override]
        if start == 5000 and self.body is None:
            self.server.delete(known.key)
        elif start == 5000 and self.body is not None:
            self.server.put(known.key, self.body)
        return super().part(bucket, known, start, end)


@pytest.mark.parametrize("body", [b"x" * 20_000, b"short", None])
def test_an_object_that_changes_during_the_download(
    s3: S3Server, tmp_path: Path, body: bytes | None
) -> None:
    s3.put("parts/changes", bytes(20_000))
    started = time.monotonic()
    with pytest.raises(StorageError) as caught:
        fetch(Changing(s3, body), "parts/changes", tmp_path / "file")
    assert caught.value.reason is Reason.INPUT_INCOMPLETE
    assert time.monotonic() - started < 60, "no thread waits for a part that will not come"


def test_a_deadline_during_the_download(s3: S3Server, tmp_path: Path) -> None:
    s3.put("parts/late", bytes(200_000))
    known = Storage().head(BUCKET, "parts/late")
    with pytest.raises(DeadlineError):
        fetch(Slow(Deadline(0.1)), "parts/late", tmp_path / "file", known)


def test_an_object_without_an_etag_is_not_copied_in_parts(s3: S3Server, tmp_path: Path) -> None:
    class Whole(Storage):
        def part(self, *args: object) -> object:  # type: ignore[override]
            raise AssertionError

    s3.put("parts/whole", b"x" * 5000)
    got, _ = fetch(Whole(), "parts/whole", tmp_path / "file", Object("parts/whole", 5000, None))
    assert got.size == 5000
