"""Storing output files: rules, caps, large files, tricks, and servers that fail half-way."""

import hashlib
import os
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.fake_s3 import FakeS3, fake_s3
from integration.support import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, make_rules
from nanogrid import names
from nanogrid_executor import outputs
from nanogrid_executor.clock import Deadline, endless
from nanogrid_executor.result import Stored
from nanogrid_executor.s3 import Storage

pytestmark = pytest.mark.integration

SECRET = b"the token of the agent"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A workspace with an output directory, and a secret beside it."""
    (tmp_path / "app/output").mkdir(parents=True)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/token").write_bytes(SECRET)
    return tmp_path / "app"


def store(
    top: Path, *, succeeded: bool = True, deadline: Deadline | None = None, **rules: object
) -> Stored:
    storage = Storage(deadline or endless(), pause=lambda seconds: None)
    return outputs.store(make_rules(**rules), str(top), storage, succeeded=succeeded)


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


def test_caps_leave_the_rest(s3: S3Server, top: Path) -> None:
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


def test_many_files_side_by_side(s3: S3Server, top: Path) -> None:
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


def tricks(top: Path) -> None:
    """Everything that a hostile program may leave instead of a file."""
    out = top / "output"
    token = top.parent / "secrets/token"
    os.symlink(token, out / "absolute.txt")
    os.symlink("../../secrets/token", out / "relative.txt")
    os.symlink("../../secrets", out / "folder")
    os.symlink("/proc/self/environ", out / "environ.txt")
    os.symlink("/", out / "root")
    os.symlink("loop", out / "loop")
    os.symlink("nowhere", out / "dangling")
    (out / "inner").mkdir()
    os.symlink("..", out / "inner/up")
    os.link(token, out / "hard.txt")
    os.mkfifo(out / "fifo")
    os.mkfifo(out / "inner/fifo.png")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(out / "socket"))
    with open(out / "sparse", "wb") as file:
        file.truncate(1 << 40)
    (out / "new\nline.txt").write_bytes(b"x")
    (out / "escape\x1b[2J.txt").write_bytes(b"x")
    (out / "tab\there").write_bytes(b"x")
    (out / "\u202etxt.exe").write_bytes(b"x")
    Path(os.fsdecode(bytes(out) + b"/latin\xe9.txt")).write_bytes(b"x")
    deep = out / "/".join(["d" * 200] * 6)
    deep.mkdir(parents=True)
    (deep / "long").write_bytes(b"x")
    deeper = out / "/".join(["e"] * 40)
    deeper.mkdir(parents=True)
    (deeper / "file").write_bytes(b"x")


def test_tricks_are_never_stored_and_always_named(s3: S3Server, top: Path) -> None:
    tricks(top)
    fill(top, honest_txt=b"honest")
    result = store(top, prefix="tricks/")
    assert [file.path for file in result.files] == ["honest.txt"]
    assert keys(s3, "tricks/") == ["honest.txt"]
    said = "\n".join(result.skipped + result.failed)
    links = ("absolute.txt", "relative.txt", "folder", "environ.txt", "root", "loop", "dangling")
    for name in (*links, "inner/up"):
        assert f"{name} is a symbolic link" in said
    for line in (
        "hard.txt has 2 names",
        "fifo is a FIFO",
        "inner/fifo.png is a FIFO",
        "socket is a socket",
        "over maxFileBytes 1073741824, the first is sparse",
        r"'new\nline.txt' has a name that cannot be an S3 key",
        r"'escape\x1b[2J.txt' has",
        r"'tab\there' has",
        r"'\u202etxt.exe' has",
        r"'latin\udce9.txt' has",
        "has a name that is too long for an S3 key",
        "folders deep",
    ):
        assert line in said, said
    assert all(line.isprintable() and len(line) < 400 for line in result.skipped + result.failed)


def test_thousands_of_tricks_are_summed_up(s3: S3Server, top: Path) -> None:
    for number in range(3000):
        os.symlink("x", top / f"output/{number:04}")
    result = store(top)
    assert len(result.skipped) == 21
    assert result.skipped[-1] == "2980 more like these"


def test_more_entries_than_anybody_needs(
    s3: S3Server, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanogrid_executor.walk.MAX_ENTRIES", 50)
    for number in range(80):
        fill(top, **{f"{number}": b""})
    result = store(top, prefix="entries/")
    assert len(result.files) == 50
    assert "over 50 directory entries" in result.failed[0]


def test_a_directory_that_is_swapped_under_the_uploader(s3: S3Server, top: Path) -> None:
    """A race that the code's process cannot even run: it is dead by then. It must not matter."""
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
        deadline = time.monotonic() + 4
        rounds = 0
        while time.monotonic() < deadline:
            rounds += 1
            for file in store(top, prefix="swap/").files:
                assert s3.get(f"swap/{file.path}") != SECRET
    finally:
        stop.set()
        thread.join()
    assert rounds > 20


def test_a_file_that_is_exchanged_after_the_walk(
    s3: S3Server, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(top, a=b"1", b=b"2", c=b"3", d=b"4")
    real = outputs.walk

    def walk_then_exchange(workspace: str, rules: object) -> outputs.Found:
        found = real(workspace, rules)  # type: ignore[arg-type]  # it is what store() gave
        os.unlink(top / "output/a")
        os.symlink("../../secrets/token", top / "output/a")
        os.unlink(top / "output/b")
        os.mkfifo(top / "output/b")
        (top / "output/c").write_bytes(b"longer")
        os.unlink(top / "output/d")
        return found

    monkeypatch.setattr(outputs, "walk", walk_then_exchange)
    result = store(top, prefix="exchanged/")
    assert result.files == []
    assert keys(s3, "exchanged/") == []
    assert [line.partition(":")[0] for line in result.failed] == ["a", "b", "c", "d"]


def test_without_a_bucket(top: Path) -> None:
    fill(top, a=b"1")
    assert store(top, bucket="").failed == ["1 files: there is no bucket for outputs"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    with fake_s3() as running:
        monkeypatch.setenv(names.ENV_S3_ENDPOINT, running.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        yield running


def test_a_multipart_upload_that_fails_is_aborted(server: FakeS3, top: Path) -> None:
    fill(top, a=b"1", large=bytes(20_000_000))
    server.behaviour.statuses = lambda method, path, number: 503 if "partNumber=2" in path else 200
    result = store(top)
    assert [file.path for file in result.files] == ["a"]
    assert result.failed[0].startswith("large: ")
    assert "503" in result.failed[0] or "Fault" in result.failed[0]
    begun = [r for r in server.behaviour.requests if r.endswith("?uploads=")]
    aborted = [r for r in server.behaviour.requests if r.startswith("DELETE")]
    assert len(begun) == len(aborted) == 2
    parts = [r for r in server.behaviour.requests if "partNumber=2" in r]
    assert len(parts) == 2 * 4, "a part that fails is sent again, not the whole file"


def test_an_abort_that_fails_is_tried_again(server: FakeS3, top: Path) -> None:
    fill(top, large=bytes(20_000_000))

    def unwell(method: str, path: str, number: int) -> int:
        if method == "DELETE":
            return 500 if number < 3 else 200
        return 403 if "partNumber=2" in path else 200

    server.behaviour.statuses = unwell
    assert store(top).failed == [f"large: s3://{BUCKET}/outputs/r-1/large: Fault"]
    assert [r.split()[0] for r in server.behaviour.requests].count("DELETE") == 3


def test_an_upload_that_has_no_time_left(server: FakeS3, top: Path) -> None:
    fill(top, a=b"1", large=bytes(20_000_000))
    result = store(top, deadline=Deadline(0))
    assert result.failed == ["a and 1 more files: no time was left to upload it"]
    assert server.behaviour.requests == []


def test_an_upload_whose_time_ends_half_way(server: FakeS3, top: Path) -> None:
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


def test_a_refusal_names_every_file(server: FakeS3, top: Path) -> None:
    fill(top, a=b"1", b=b"2")
    server.behaviour.statuses = lambda method, path, number: 403
    assert [line.partition(":")[0] for line in store(top).failed] == ["a", "b"]
