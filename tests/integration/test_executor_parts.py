"""Large downloads in parts: correct in every size, and ended by the first error."""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanogrid.reasons import Reason
from nanogrid_executor.clock import Deadline, DeadlineError
from nanogrid_executor.storage import multipart
from nanogrid_executor.storage.download import Received, Target
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.s3 import Object, Storage
from support.fake_s3 import Content, FakeS3, fake_s3_of_a_pod
from support.s3_server import BUCKET, S3Server

pytestmark = pytest.mark.integration
Write = Callable[[bytes, int], None]


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

    def part(self, bucket: str, known: Object, start: int, end: int, write: Write) -> None:
        time.sleep(0.03 if start % 4000 == 0 else 0.0)
        super().part(bucket, known, start, end, write)


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

    def part(self, bucket: str, known: Object, start: int, end: int, write: Write) -> None:
        if start == 5000 and self.body is None:
            self.server.delete(known.key)
        elif start == 5000 and self.body is not None:
            self.server.put(known.key, self.body)
        super().part(bucket, known, start, end, write)


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


MIB = 1 << 20
SIZE = 20_000  # of the object below, in parts of 1,000 bytes


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    """A server with one object whose answers a test can break."""
    with fake_s3_of_a_pod(monkeypatch) as server:
        server.behaviour.stored["large"] = Content(os.urandom(SIZE))
        yield server


@pytest.mark.parametrize("sent", [0, 1, 400, 999])
def test_a_range_that_breaks_is_copied_again(fake: FakeS3, tmp_path: Path, sent: int) -> None:
    broken = "bytes=5000-5999"
    does = fake.behaviour
    does.cut = lambda key, wanted, number: sent if wanted == broken and number < 3 else None
    storage = Storage(pause=lambda seconds: None)
    got, counted = fetch(storage, "large", tmp_path / "file")
    body = does.stored["large"].body
    assert got == Received(SIZE, hashlib.sha256(body).hexdigest())
    assert (tmp_path / "file").read_bytes() == body
    assert counted == SIZE, "no byte counts twice"
    assert storage.retries == 2
    assert does.seen["RANGE", broken] == 3
    assert does.seen["RANGE", "bytes=6000-6999"] == 1, "the other parts are copied once"


def test_a_range_that_always_breaks_ends_the_download(fake: FakeS3, tmp_path: Path) -> None:
    broken = "bytes=5000-5999"
    fake.behaviour.cut = lambda key, wanted, number: 400 if wanted == broken else None
    with pytest.raises(StorageError) as caught:
        fetch(Storage(pause=lambda seconds: None), "large", tmp_path / "file")
    assert caught.value.reason is Reason.STORAGE_UNAVAILABLE
    assert fake.behaviour.seen["RANGE", broken] == 4


@pytest.mark.parametrize("honours", [True, False])
def test_an_object_that_changes_between_two_ranges(
    fake: FakeS3, tmp_path: Path, honours: bool
) -> None:
    """Its size stays the same: only the ETag tells, by If-Match or in the answer."""
    does = fake.behaviour
    does.honours_if_match = honours
    other = Content(os.urandom(SIZE), "e2")

    def change(key: str, wanted: str, number: int) -> None:
        if wanted == "bytes=5000-5999":
            does.stored["large"] = other

    does.cut = change
    with pytest.raises(StorageError) as caught:
        fetch(Storage(pause=lambda seconds: None), "large", tmp_path / "file")
    assert caught.value.reason is Reason.INPUT_INCOMPLETE
    assert "changed" in str(caught.value)


def test_a_file_that_is_cut_off_during_the_download(fake: FakeS3, tmp_path: Path) -> None:
    """The code of a session can do this to a file that it sees."""
    path = tmp_path / "file"

    class Cutting(Storage):
        def part(self, bucket: str, known: Object, start: int, end: int, write: Write) -> None:
            super().part(bucket, known, start, end, write)
            if end == known.size:  # no other part makes the file longer again
                os.truncate(path, start + 1)

    with pytest.raises(StorageError) as caught:
        fetch(Cutting(), "large", path)
    assert caught.value.reason is Reason.INPUT_INCOMPLETE
    assert "cut off on the disk" in str(caught.value)


def test_memory_is_a_few_chunks_and_not_the_part(s3: S3Server) -> None:
    body = os.urandom(8 * MIB)
    s3.put("parts/chunks", body)
    storage = Storage()
    copy = bytearray(len(body))
    sizes: list[int] = []

    def write(chunk: bytes, position: int) -> None:
        sizes.append(len(chunk))
        copy[position : position + len(chunk)] = chunk

    storage.part(BUCKET, storage.head(BUCKET, "parts/chunks"), 0, len(body), write)
    assert copy == body
    assert max(sizes) <= MIB, "a chunk, and at most one read of the connection more"


def test_no_part_begins_far_before_the_hash(
    fake: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first part hangs, a fixed number of others is copied."""
    monkeypatch.setattr(multipart, "WORKERS", 8)
    monkeypatch.setattr(multipart, "AHEAD", 3)
    waits = threading.Event()
    lock = threading.Lock()
    begun: list[int] = []
    most: list[int] = []

    class Hanging(Storage):
        def part(self, bucket: str, known: Object, start: int, end: int, write: Write) -> None:
            with lock:
                begun.append(start)
            if start == 0:
                assert waits.wait(60)
                most.append(max(begun))
            super().part(bucket, known, start, end, write)
            if start == 2000:
                waits.set()

    got, _ = fetch(Hanging(), "large", tmp_path / "file")
    assert most[0] <= 2000, "the parts 0, 1 and 2 may begin"
    assert sorted(begun) == list(range(0, SIZE, 1000))
    assert got.sha256 == hashlib.sha256(fake.behaviour.stored["large"].body).hexdigest()


def test_a_thread_that_outlives_its_download_writes_to_no_other_file(
    fake: FakeS3, tmp_path: Path
) -> None:
    """The descriptor of the download is closed then, and its number belongs to another file."""
    held, fails, released, ended = (threading.Event() for _ in range(4))

    class Late(Storage):
        def part(self, bucket: str, known: Object, start: int, end: int, write: Write) -> None:
            if start == 1000:
                assert held.wait(60)
                fails.set()
                raise StorageError(Reason.INPUT_INCOMPLETE, "this part fails")
            if start != 0:
                assert fails.wait(60)
                return
            write(b"first", 0)
            held.set()
            assert released.wait(60)
            try:
                write(b"late", 0)
            finally:
                ended.set()

    with pytest.raises(StorageError, match="this part fails"):
        fetch(Late(), "large", tmp_path / "file")
    others = [(tmp_path / f"other{number}").open("wb") for number in range(20)]
    released.set()
    assert ended.wait(60)
    for other in others:
        other.close()
    assert (tmp_path / "file").read_bytes()[:5] == b"first"
    assert [os.path.getsize(other.name) for other in others] == [0] * 20
