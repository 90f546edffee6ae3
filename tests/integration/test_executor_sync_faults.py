"""The input sync with odd keys, changing objects, and an S3 that is slow or fails."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_executor.clock import Deadline
from nanogrid_executor.inputs.fetch import Progress
from nanogrid_executor.paths import Paths
from nanogrid_executor.storage.s3 import Storage
from support.executor_sync import fail, fast_storage, make_input, succeed, way  # noqa: F401 a fixture
from support.fake_s3 import Behaviour, Content, FakeS3, fake_s3_of_a_pod
from support.s3_server import BUCKET

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("way")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    with fake_s3_of_a_pod(monkeypatch) as running:
        yield running


@pytest.fixture
def s3(server: FakeS3) -> Behaviour:
    return server.behaviour


def hold(s3: Behaviour, *keys: str, body: bytes = b"content") -> None:
    """Store objects, and list them."""
    for key in keys:
        s3.listed[key] = s3.stored[key] = Content(body)


@pytest.mark.parametrize(
    "name",
    ["a b.txt", "매출 자료/한글.csv", "a%20b", "~!@#$^&()+='`;,.txt", "[a]{b}*?", " x ", "e\u0301"],
)
def test_keys_that_are_file_names(s3: Behaviour, paths: Paths, name: str) -> None:
    hold(s3, f"in/{name}")
    succeed(paths, make_input(prefix="in/"))
    assert Path(paths.real(f"/app/data/{name}")).read_bytes() == b"content"


@pytest.mark.parametrize(
    "key",
    [
        *("in/../x", "in/a/../../x", "in//x", "in/./x", "in/a\\b", "in/a\nb", "in/a\tb"),
        *("in/" + "x" * 256, "in/" + "가" * 86, "in/a\x9bb", "in/a\x7fb"),
    ],
)
def test_keys_that_cannot_be_file_names(s3: Behaviour, paths: Paths, key: str) -> None:
    hold(s3, "in/good", key)
    failure = fail(paths, make_input(prefix="in/"))
    assert failure.reason == Reason.UNSAFE_PATH.value, failure
    assert failure.message.isprintable()
    assert "in/" in failure.message
    assert os.listdir(paths.workspace) == [], "nothing is written before all is checked"


def test_a_backslash_is_named_as_the_cause(s3: Behaviour, paths: Paths) -> None:
    hold(s3, "in/report\\may.csv")
    for source in ({"prefix": "in/"}, {"key": "in/report\\may.csv"}):
        failure = fail(paths, make_input(**source))
        assert failure.reason == Reason.UNSAFE_PATH.value
        assert "has a backslash" in failure.message


@pytest.mark.parametrize(
    "source",
    [
        *({"key": key} for key in ("/a", "a//b", "a/../b", "./a", "a/", "a\nb", "..")),
        *({"prefix": prefix} for prefix in ("/a/", "a//b/", "../", "a/./", "a\x01b/")),
    ],
)
def test_sources_that_the_client_would_change(
    s3: Behaviour, paths: Paths, source: dict[str, str]
) -> None:
    failure = fail(paths, make_input(**source))
    assert failure.reason == Reason.UNSAFE_PATH.value
    assert failure.message.isprintable()
    assert s3.requests == []


def test_directory_markers_next_to_empty_files(s3: Behaviour, paths: Paths) -> None:
    hold(s3, "in/", "in/a/", "in/b/c/", body=b"")
    for key in ("in/", "in/a/", "in/b/c/"):
        del s3.stored[key]
    hold(s3, "in/empty", "in/a/also empty", body=b"")
    manifest = succeed(paths, make_input(prefix="in/", min_files=2))
    assert [e.path for e in manifest.entries] == ["/app/data/a/also empty", "/app/data/empty"]


def test_a_version(s3: Behaviour, paths: Paths) -> None:
    s3.stored = {"k": Content(b"new", "e2"), "k@v1": Content(b"old", "e1")}
    succeed(paths, make_input(key="k", version_id="v1"))
    assert Path(paths.real("/app/data/k")).read_bytes() == b"old"
    failure = fail_again(paths, make_input(key="k", version_id="v9"))
    assert failure.reason == Reason.INPUT_NOT_FOUND.value


def fail_again(paths: Paths, *inputs: wire.Input) -> wire.SyncFailure:
    os.unlink(paths.manifest)
    return fail(paths, *inputs)


@pytest.mark.parametrize("honours", [True, False])
def test_an_object_that_changes(s3: Behaviour, paths: Paths, honours: bool) -> None:
    hold(s3, "in/a", "in/b")
    s3.stored["in/b"] = Content(b"CONTENT", "e2")
    s3.honours_if_match = honours
    failure = fail(paths, make_input(prefix="in/"))
    assert failure.reason == Reason.INPUT_INCOMPLETE.value
    assert "in/b changed" in failure.message


def test_an_object_that_grows_and_has_no_etag(s3: Behaviour, paths: Paths) -> None:
    hold(s3, "in/a")
    s3.stored["in/a"] = Content(b"content and more", "e1")
    failure = fail(paths, make_input(prefix="in/"))
    assert failure.reason == Reason.INPUT_INCOMPLETE.value
    assert "7 bytes then, 16 now" in failure.message


def test_an_object_that_vanishes(s3: Behaviour, paths: Paths) -> None:
    hold(s3, "in/a", "in/b")
    del s3.stored["in/b"]
    failure = fail(paths, make_input(prefix="in/"))
    assert failure.reason == Reason.INPUT_INCOMPLETE.value
    assert f"s3://{BUCKET}/in/b vanished" in failure.message


@pytest.mark.parametrize("status", [500, 503])
def test_a_temporary_error_is_retried(s3: Behaviour, paths: Paths, status: int) -> None:
    hold(s3, "in/a")
    s3.statuses = lambda method, path, number: status if number < 3 and "in/a" in path else 200
    manifest = succeed(paths, make_input(prefix="in/"))
    assert manifest.report.retries == 2


@pytest.mark.parametrize(
    ("status", "reason", "tries"), [(403, "InputAccessDenied", 1), (500, "StorageUnavailable", 4)]
)
def test_a_permanent_error_ends_the_sync(
    s3: Behaviour, paths: Paths, status: int, reason: str, tries: int
) -> None:
    hold(s3, "in/a")
    s3.statuses = lambda method, path, number: status if "in/a" in path else 200
    assert fail(paths, make_input(prefix="in/")).reason == reason
    assert s3.seen["GET", "in/a"] == tries


def test_a_wrong_clock_is_distinguished_from_wrong_credentials(s3: Behaviour, paths: Paths) -> None:
    hold(s3, "in/a")
    s3.error_code = "RequestTimeTooSkewed"
    s3.statuses = lambda method, path, number: 403

    failure = fail(paths, make_input(prefix="in/"))

    assert failure.reason == Reason.CLOCK_SKEW.value
    assert "RequestTimeTooSkewed" in failure.message
    assert len(s3.requests) == 1, "a retry does not fix a clock"


def test_a_slow_sync_ends_at_its_timeout(s3: Behaviour, paths: Paths) -> None:
    hold(s3, "in/a", "in/b", body=bytes(100_000))
    s3.chunk_seconds = 0.05
    failure = fail(paths, make_input(prefix="in/"), input_sync_timeout_seconds=2.0)
    assert failure.reason == Reason.INPUT_SYNC_TIMEOUT.value
    assert "0 of 2 files" in failure.message


def test_a_failing_server_is_not_retried_after_the_timeout(s3: Behaviour, paths: Paths) -> None:
    deadlines: list[Deadline] = []

    def storage(deadline: Deadline) -> Storage:
        deadlines.append(deadline)
        return fast_storage(deadline)

    def refuse(method: str, path: str, number: int) -> int:
        deadlines[0].shorten(0.9)  # less than the shortest pause
        return 500

    s3.statuses = refuse
    failure = fail(paths, make_input(prefix="in/"), make_storage=storage)
    assert failure.reason == Reason.INPUT_SYNC_TIMEOUT.value
    assert "no time for another try" in failure.message
    assert "Fault" in failure.message
    assert len(s3.requests) == 1


def test_progress_is_logged(s3: Behaviour, paths: Paths, capfd: pytest.CaptureFixture[str]) -> None:
    hold(s3, *(f"in/{n}" for n in range(100)), body=bytes(2000))
    s3.chunk_seconds = 0.01
    succeed(paths, make_input(prefix="in/"), progress=Progress(interval=0.05))
    lines = [line for line in capfd.readouterr().out.splitlines() if "sync-progress" in line]
    assert lines
    assert "/100 " in lines[-1]
    assert "/200000 " in lines[-1]
    assert "/s" in lines[-1]


def test_the_manifest_is_stored_in_s3(s3: Behaviour, paths: Paths) -> None:
    hold(s3, "in/a")
    report = succeed(paths, make_input(prefix="in/"), bucket=BUCKET).report
    assert report.manifest == f"s3://{BUCKET}/results/r-1/manifest.json"
    stored = s3.puts[f"/{BUCKET}/results/r-1/manifest.json"]
    assert stored == Path(paths.manifest).read_bytes()
    assert json.loads(stored)["report"]["manifest"] == report.manifest


def test_a_sync_succeeds_without_the_copy_of_its_manifest(
    s3: Behaviour, paths: Paths, capfd: pytest.CaptureFixture[str]
) -> None:
    hold(s3, "in/a")
    s3.statuses = lambda method, path, number: 403 if method == "PUT" else 200
    assert succeed(paths, make_input(prefix="in/"), bucket=BUCKET).report.manifest is None
    assert "manifest-not-stored" in capfd.readouterr().out


def test_the_first_failure_ends_the_sync(s3: Behaviour, paths: Paths) -> None:
    hold(s3, *(f"in/{n:04}" for n in range(500)))
    del s3.stored["in/0003"]
    fail(paths, make_input(prefix="in/"))
    assert sum(request.startswith("GET") for request in s3.requests) < 400


def test_an_unexpected_error_has_a_reason(paths: Paths) -> None:
    def broken(deadline: object) -> Storage:
        raise RuntimeError("boom")

    outcome = fail(paths, make_storage=broken)
    assert outcome == wire.SyncFailure(reason="SyncFailed", message="RuntimeError: boom")
