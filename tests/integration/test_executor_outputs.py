"""Uploads of output files: rules, caps, large files, hostile files, and servers that fail."""

import hashlib
import os
import re
import shutil
import threading
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from nanogrid import wire
from nanogrid_executor.clock import Deadline, endless
from nanogrid_executor.outputs import upload
from nanogrid_executor.outputs.stored import Stored
from nanogrid_executor.outputs.walk import Found, walk
from nanogrid_executor.storage.connection import DELAYS
from nanogrid_executor.storage.s3 import Storage
from support.fake_s3 import FakeS3, fake_s3_of_a_pod
from support.s3_server import BUCKET, S3Server, make_rules
from support.trick_outputs import SECRET, TRICKS, Trick, leave

pytestmark = [pytest.mark.integration, pytest.mark.security]

SWAPPED_UPLOADS = 200  # while a directory is swapped
# As many as in a pod. The S3 library waits between the tries of a part, which no test can skip.
SHORT_DELAYS = tuple(delay / 50 for delay in DELAYS)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A workspace with an output directory, and a secret next to it."""
    (tmp_path / "app/output").mkdir(parents=True)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/token").write_bytes(SECRET)
    return tmp_path / "app"


def store(
    top: Path,
    *,
    succeeded: bool = True,
    deadline: Deadline | None = None,
    find: Callable[[str, wire.OutputRules], Found] = walk,
    delays: tuple[float, ...] = DELAYS,
    **rules: object,
) -> Stored:
    storage = Storage(deadline or endless(), delays=delays, pause=lambda seconds: None)
    return upload.store(make_rules(**rules), str(top), storage, succeeded=succeeded, find=find)


def fill(top: Path, **files: bytes) -> None:
    for name, body in files.items():
        path = top / "output" / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def keys(s3: S3Server, prefix: str) -> list[str]:
    listed = s3.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return sorted(entry["Key"].removeprefix(prefix) for entry in listed)


@pytest.mark.parametrize(
    ("rules", "stored"),
    [
        ({}, ["a.csv", "a.txt", "deep/b.csv", "deep/er/c.csv", "deep/er/c.tmp"]),
        ({"include": ["*.csv"]}, ["a.csv"]),
        ({"include": ["**/*.csv"]}, ["a.csv", "deep/b.csv", "deep/er/c.csv"]),
        ({"exclude": ["**/*.tmp", "a.*"]}, ["deep/b.csv", "deep/er/c.csv"]),
        ({"include": ["deep/**"], "exclude": ["deep/er/"]}, ["deep/b.csv"]),
        ({"upload_policy": "OnSuccess"}, ["a.csv", "a.txt", "deep/b.csv", "deep/er/c.csv"]),
        ({"upload_policy": "Never"}, []),
    ],
)
def test_rules(s3: S3Server, top: Path, rules: dict[str, object], stored: list[str]) -> None:
    fill(top, a_csv=b"1", a_txt=b"2", deep__b_csv=b"3", deep__er__c_csv=b"4", deep__er__c_tmp=b"")
    prefix = f"rules/{hashlib.md5(repr(rules).encode()).hexdigest()}/"
    got = [file.path for file in store(top, prefix=prefix, **rules).files]
    assert got[: len(stored)] == stored
    assert keys(s3, prefix) == got


@pytest.mark.parametrize(
    ("policy", "stored"),
    [("Always", [".partial/a.txt"]), ("OnSuccess", []), ("Never", [])],
)
def test_a_failed_run(s3: S3Server, top: Path, policy: str, stored: list[str]) -> None:
    fill(top, a_txt=b"1")
    prefix = f"failed/{policy}/"
    result = store(top, succeeded=False, prefix=prefix, upload_policy=policy)
    assert keys(s3, prefix) == stored
    assert [f.url for f in result.files] == [f"s3://{BUCKET}/{prefix}{key}" for key in stored]
    assert [f.path for f in result.files] == [key.removeprefix(".partial/") for key in stored]


def test_files_within_the_caps_are_stored(s3: S3Server, top: Path) -> None:
    fill(top, a=b"1", b=b"22", c=b"333", d=b"4444")
    result = store(top, prefix="caps/", max_file_bytes=3, max_bytes=5)
    assert keys(s3, "caps/") == ["a", "b"]
    assert result.failed == [
        "1 file is over maxFileBytes 3, the first is d",
        "1 file is over maxBytes 5, the first is c",
    ]


def test_a_large_file_in_parts(s3: S3Server, top: Path) -> None:
    body = os.urandom(1024) * 12_345
    fill(top, large_bin=body, small_bin=body[:1000])
    result = store(top, prefix="large/")
    for file, want in zip(result.files, (body, body[:1000]), strict=True):
        assert (file.bytes, file.sha256) == (len(want), hashlib.sha256(want).hexdigest())
        assert s3.get(f"large/{file.path}") == want


def test_many_files_in_parallel(s3: S3Server, top: Path) -> None:
    for number in range(300):
        fill(top, **{f"d{number % 7}__{number}": b"%d" % number})
    assert len(store(top, prefix="many-out/").files) == 300
    assert len(keys(s3, "many-out/")) == 300


def test_presigned_urls(s3: S3Server, top: Path) -> None:
    fill(top, **{"차트 1+2%20&3_png": b"png"})
    (file,) = store(top, prefix="presigned/", presigned_expiry_seconds=60).files
    assert file.url.startswith(f"{s3.endpoint}/{BUCKET}/presigned/")
    assert "X-Amz-Expires=60" in file.url
    with urllib.request.urlopen(file.url) as answer:
        assert answer.read() == b"png"
        assert answer.headers["Content-Type"] == "image/png"


@pytest.mark.parametrize(
    "name", ["1\u00a0000.csv", "\ufeffbom", "soft\u00adhyphen", "\ue000\u202e"]
)
def test_outputs_with_unusual_names(s3: S3Server, top: Path, name: str) -> None:
    (top / "output" / name).write_bytes(b"x")
    prefix = f"unusual-{name.encode().hex()}/"
    result = store(top, prefix=prefix)
    assert ([file.path for file in result.files], result.failed) == ([name], [])
    assert keys(s3, prefix) == [name]


def test_there_are_25_trick_outputs() -> None:
    assert len({trick.name for trick in TRICKS}) == len(TRICKS) >= 25


def test_tricks_are_never_stored_and_always_reported(s3: S3Server, top: Path) -> None:
    left = [trick for trick in TRICKS if leave(trick, top)]
    fill(top, honest_txt=b"honest")
    result = store(top, prefix="tricks/")
    assert len(left) >= len(TRICKS) - 2, "only devices may be impossible here"
    assert [file.path for file in result.files] == ["honest.txt"]
    assert keys(s3, "tricks/") == ["honest.txt"]
    lines = notes_of_each(top, left)
    for trick in left:
        assert trick.line in lines[trick.name], lines
    shown = [line for line in (*result.skipped, *result.failed)]
    assert all(line.isprintable() and len(line) < 400 for line in shown)
    assert len(shown) < 50, "their number is bounded"


def notes_of_each(top: Path, tricks: list[Trick]) -> dict[str, str]:
    """What a walk says of each trick when it is alone."""
    lines = {}
    for trick in tricks:
        shutil.rmtree(top / "output")
        (top / "output").mkdir()
        leave(trick, top)
        found = walk(str(top), make_rules())
        assert found.files == [], trick
        lines[trick.name] = "\n".join(found.skipped + found.failed)
    return lines


@pytest.mark.parametrize("kind", ["link", "file", "fifo"])
def test_an_output_directory_that_is_something_else(s3: S3Server, top: Path, kind: str) -> None:
    (top / "output").rmdir()
    if kind == "link":
        os.symlink("../secrets", top / "output")
    elif kind == "file":
        (top / "output").write_bytes(b"x")
    else:
        os.mkfifo(top / "output")
    result = store(top, prefix=f"replaced-{kind}/")
    assert (result.files, keys(s3, f"replaced-{kind}/")) == ([], [])
    assert "output is not a readable directory" in result.skipped[0]


@pytest.mark.parametrize(
    "name", ["..%2f..%2fresults", "..secret", ".partial", "result.json", "a b?#"]
)
def test_a_name_that_looks_like_another_place_stays_below_the_prefix(
    s3: S3Server, top: Path, name: str
) -> None:
    (top / "output" / name).write_bytes(b"odd")
    prefix = f"names/{hashlib.md5(name.encode()).hexdigest()}/"
    (file,) = store(top, prefix=prefix).files
    assert file.url == f"s3://{BUCKET}/{prefix}{name}"
    assert s3.get(f"{prefix}{name}") == b"odd"


def test_thousands_of_tricks_are_summarized(s3: S3Server, top: Path) -> None:
    for number in range(3000):
        os.symlink("x", top / f"output/{number:04}")
    result = store(top)
    assert len(result.skipped) == 21
    assert result.skipped[-1] == "2980 more like these"


def test_too_many_directory_entries(s3: S3Server, top: Path) -> None:
    for number in range(80):
        fill(top, **{f"{number}": b""})
    result = store(top, prefix="entries/", find=partial(walk, max_entries=50))
    assert len(result.files) == 50
    assert "over 50 directory entries" in result.failed[0]


def test_a_directory_that_is_swapped_during_the_upload(s3: S3Server, top: Path) -> None:
    """The code's processes have ended by then and cannot run this race; it must not matter."""
    out = top / "output"
    (out / "d").mkdir()
    (out / "d/token").write_bytes(b"harmless token padding"[: len(SECRET)])
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(out / "d", out / "hidden")
            os.symlink("../../secrets", out / "d")
            os.unlink(out / "d")
            os.rename(out / "hidden", out / "d")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(SWAPPED_UPLOADS):
            for file in store(top, prefix="swap/").files:
                assert s3.get(f"swap/{file.path}") != SECRET
    finally:
        stop.set()
        thread.join()


def test_a_file_that_is_replaced_after_the_walk(s3: S3Server, top: Path) -> None:
    fill(top, a=b"1", b=b"2", c=b"3", d=b"4")

    def walk_then_replace(workspace: str, rules: wire.OutputRules) -> Found:
        found = walk(workspace, rules)
        os.unlink(top / "output/a")
        os.symlink("../../secrets/token", top / "output/a")
        os.unlink(top / "output/b")
        os.mkfifo(top / "output/b")
        (top / "output/c").write_bytes(b"longer")
        os.unlink(top / "output/d")
        return found

    result = store(top, prefix="replaced/", find=walk_then_replace)
    assert result.files == []
    assert keys(s3, "replaced/") == []
    assert [line.partition(":")[0] for line in result.failed] == ["a", "b", "c", "d"]


def test_without_a_bucket(top: Path) -> None:
    fill(top, a=b"1")
    assert store(top, bucket="").failed == ["1 file: there is no bucket for outputs"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    with fake_s3_of_a_pod(monkeypatch) as running:
        yield running


def test_a_multipart_upload_that_fails_is_aborted(server: FakeS3, top: Path) -> None:
    fill(top, a=b"1", large=bytes(20_000_000))
    server.behaviour.statuses = lambda method, path, number: 503 if "partNumber=2" in path else 200
    result = store(top, delays=SHORT_DELAYS)
    assert [file.path for file in result.files] == ["a"]
    assert result.failed[0].startswith("large: ")
    assert "503" in result.failed[0] or "Fault" in result.failed[0]
    begun = [r for r in server.behaviour.requests if r.endswith("?uploads=")]
    aborted = [r for r in server.behaviour.requests if r.startswith("DELETE")]
    assert len(begun) == len(aborted) == 2
    parts = [r for r in server.behaviour.requests if "partNumber=2" in r]
    assert len(parts) == 2 * 4, "a failed part is sent again, not the whole file"


def test_a_failed_abort_is_retried(server: FakeS3, top: Path) -> None:
    fill(top, large=bytes(20_000_000))

    def failing(method: str, path: str, number: int) -> int:
        if method == "DELETE":
            return 500 if number < 3 else 200
        return 403 if "partNumber=2" in path else 200

    server.behaviour.statuses = failing
    result = store(top, delays=SHORT_DELAYS)
    assert result.failed == [f"large: s3://{BUCKET}/outputs/r-1/large: Fault"]
    assert [r.split()[0] for r in server.behaviour.requests].count("DELETE") == 3


def test_an_upload_without_time_left(server: FakeS3, top: Path) -> None:
    fill(top, a=b"1", large=bytes(20_000_000))
    result = store(top, deadline=Deadline(0))
    assert result.failed == ["a and 1 more files: no time was left to upload it"]
    assert server.behaviour.requests == []


def test_an_upload_whose_time_ends_between_two_parts(server: FakeS3, top: Path) -> None:
    fill(top, large=bytes(60_000_000))
    deadline = Deadline(60)

    def slow(method: str, path: str, number: int) -> int:
        if re.search("partNumber=[34]", path):
            deadline.shorten(0)
        return 200

    server.behaviour.statuses = slow
    result = store(top, deadline=deadline)
    assert result.failed == ["large: no time was left to upload it"]
    assert [r for r in server.behaviour.requests if r.startswith("DELETE")]
    assert not [r for r in server.behaviour.requests if "POST" in r and "uploadId" in r]


def test_a_refusal_is_reported_for_every_file(server: FakeS3, top: Path) -> None:
    fill(top, a=b"1", b=b"2")
    server.behaviour.statuses = lambda method, path, number: 403
    assert [line.partition(":")[0] for line in store(top).failed] == ["a", "b"]
