"""Files of a session: the HTTP API, uploads, file sync, and replacing a file while it is read."""

import os
import threading
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.api import uploads
from nanogrid_executor.session.errors import ApiError
from nanogrid_executor.session.filesync import check_request
from nanogrid_executor.session.workspace import Workspace
from support.session_client import assert_error
from support.session_fakes import session_task

pytestmark = pytest.mark.security


def test_a_file_is_read_as_it_was_written(client: FlaskClient) -> None:
    data = os.urandom(3_000_000)
    sent = client.put("/files/data/deep/er/x.csv", data=data)
    assert sent.status_code == 201
    assert sent.json["bytes"] == len(data)
    got = client.get("/files/data/deep/er/x.csv")
    assert got.data == data
    assert got.mimetype == "text/csv"
    listed = client.get("/files?path=data").json
    assert [f["path"] for f in listed["files"]] == [
        "data/deep", "data/deep/er", "data/deep/er/x.csv"
    ]  # fmt: skip
    assert client.get("/debug/files?path=/app/data").json == listed
    assert client.delete("/files/data/deep/er/x.csv").json["deleted"]
    assert_error(client.get("/files/data/deep/er/x.csv"), 404, Reason.FILE_NOT_FOUND)


@pytest.mark.parametrize(
    "path", ["../x", "a/../../x", "a//x", "data/.app/x", "a%00b", "..", "/etc/passwd"]
)
def test_a_path_outside_of_the_workspace_is_refused(client: FlaskClient, path: str) -> None:
    response = client.put(f"/files/{path}", data=b"x")
    assert response.status_code in (400, 404)
    assert response.json["error"]["reason"] in ("UnsafePath", "BadRequest")
    for shown in (f"/debug/files?path={path}", f"/files?path={path}"):
        assert client.get(shown).status_code in (400, 404)


def test_no_request_follows_a_link(client: FlaskClient, paths: Paths, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("hidden")
    Path(paths.workspace, "link").symlink_to(secret)
    Path(paths.workspace, "file").symlink_to(secret / "key")

    assert_error(client.get("/files/link/key"), 409, Reason.PATH_CONFLICT)
    assert_error(client.get("/files/file"), 409, Reason.PATH_CONFLICT)
    assert_error(client.put("/files/link/new", data=b"x"), 409, Reason.PATH_CONFLICT)
    assert_error(client.get("/files?path=link"), 409, Reason.PATH_CONFLICT)
    assert_error(client.delete("/files/link/key"), 409, Reason.PATH_CONFLICT)
    kinds = {f["path"]: f["type"] for f in client.get("/files").json["files"]}
    assert kinds["link"] == kinds["file"] == "link"
    assert "link/key" not in kinds

    assert client.put("/files/file", data=b"mine").status_code == 201  # replaces the link
    assert (secret / "key").read_text() == "hidden"
    assert client.get("/files/file").data == b"mine"


def test_special_files_and_folders_are_refused(client: FlaskClient, paths: Paths) -> None:
    os.mkfifo(Path(paths.workspace, "pipe"))
    assert_error(client.get("/files/pipe"), 409, Reason.PATH_CONFLICT)
    assert_error(client.get("/files/data"), 409, Reason.PATH_CONFLICT)
    assert_error(client.put("/files/data", data=b"x"), 409, Reason.PATH_CONFLICT)
    assert [p.name for p in Path(paths.workspace).glob(".nanogrid*")] == []


def test_a_file_is_refused_by_its_announced_length(client: FlaskClient, paths: Paths) -> None:
    response = client.put("/files/x", environ_overrides={"CONTENT_LENGTH": str(2 << 30)})
    assert_error(response, 413, Reason.FILE_TOO_LARGE)
    assert not Path(paths.workspace, "x").exists()


def test_a_listing_is_bounded(client: FlaskClient, paths: Paths) -> None:
    folder = Path(paths.real(names.DEFAULT_DATA_PATH))
    for number in range(1002):
        (folder / f"{number:04}").touch()
    listed = client.get("/files?path=data").json
    assert (listed["count"], listed["truncated"]) == (1000, True)
    assert [f["path"] for f in listed["files"][:2]] == ["data/0000", "data/0001"]


FOLDER_INPUT = wire.Input(
    name="o", s3=wire.S3Source(bucket="shared", prefix="ref"), mount_path="/app/data"
)
FILE_INPUT = wire.Input(
    name="k", s3=wire.S3Source(bucket="shared", key="one/file.csv"), mount_path="/app/data"
)


@pytest.mark.parametrize(
    ("bucket", "prefix", "allowed"),
    [
        ("own", "sessions/r-1/input/", True),
        ("own", "sessions/r-1", True),
        ("own", "sessions/r-1/", True),
        ("shared", "ref", True),
        ("shared", "ref/deeper/", True),
        ("shared", "one/file.csv", True),
        ("own", "sessions/r-12/", False),
        ("own", "sessions/", False),
        ("own", "", False),
        ("own", "ref/", False),
        ("shared", "reference/", False),
        ("shared", "one/", False),
        ("shared", "one/file.csv2", False),
        ("shared", "sessions/r-1/", False),
    ],
)
def test_only_the_sessions_own_sources_are_allowed(bucket: str, prefix: str, allowed: bool) -> None:
    task = session_task(bucket="own", inputs=[FOLDER_INPUT, FILE_INPUT])
    if allowed:
        assert check_request(task, bucket, prefix, "/app/data/").folder == "/app/data"
        return
    with pytest.raises(ApiError) as caught:
        check_request(task, bucket, prefix, "/app/data/")
    assert (caught.value.status, caught.value.reason) == (403, Reason.PREFIX_NOT_ALLOWED)
    assert "s3://own/sessions/r-1/" in str(caught.value)


def test_the_sessions_own_prefix_is_below_the_root_of_its_namespace() -> None:
    task = session_task(bucket="own", root="team-b/")

    own = check_request(task, "own", "team-b/sessions/r-1/input/", "/app/data/")
    assert own.source.prefix == "team-b/sessions/r-1/input/"
    for other in ("sessions/r-1/input/", "team-a/sessions/r-1/", "team-b/sessions/r-2/", "team-b/"):
        with pytest.raises(ApiError) as caught:
            check_request(task, "own", other, "/app/data/")
        assert caught.value.reason == Reason.PREFIX_NOT_ALLOWED
    with pytest.raises(ApiError) as caught:
        check_request(task, "own", "team-b/sessions/r-1/%2e%2e/r-2/", "/app/data/")
    assert caught.value.reason == Reason.UNSAFE_PATH


def test_copies_of_files_have_different_keys() -> None:
    keys = [uploads.copy_key("r-1", path) for path in ("data/x", "x", "data/app/x", "app/x")]
    assert keys[0] == "sessions/r-1/data/x"
    assert len(set(keys)) == 4
    with pytest.raises(ApiError):
        uploads.copy_key("r-1", "data/.app/x")


def test_a_body_of_a_wrong_length_leaves_no_file(paths: Paths) -> None:
    workspace = Workspace(paths.workspace)

    def send(size: int, length: int | None, limit: int) -> None:
        pieces = [b"x" * size, b""]
        uploads.receive(session_task(), workspace, "f", lambda count: pieces.pop(0), length, limit)

    with pytest.raises(ApiError, match="the maximum is 10") as caught:
        send(11, None, 10)
    assert caught.value.status == 413
    with pytest.raises(ApiError, match="has 4 bytes, but Content-Length is 5"):
        send(4, 5, 10)
    assert [p.name for p in Path(paths.workspace).iterdir() if p.is_file()] == []
    send(5, 5, 10)
    assert Path(paths.workspace, "f").read_bytes() == b"xxxxx"


def test_a_reader_gets_a_complete_file_while_it_is_replaced(paths: Paths) -> None:
    workspace = Workspace(paths.workspace)
    bodies = [bytes([n]) * 200_000 for n in range(8)]
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for body in bodies:
                with workspace.create("f") as new:
                    new.file.write(body)
                    new.commit()

    with workspace.create("f") as new:
        new.file.write(bodies[0])
        new.commit()
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(100):
            file, size = workspace.open("f")
            with file:
                assert file.read() in bodies
            assert size == 200_000
    finally:
        stop.set()
        thread.join()
