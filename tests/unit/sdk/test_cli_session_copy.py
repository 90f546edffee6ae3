"""``session cp`` between local folders and a session."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nanogrid.cli.app import command
from nanogrid.cli.app.exits import Exit
from nanogrid.cli.http_serving import serving
from nanogrid.cli.main import app
from nanogrid.cli.session_copy import parse_remote
from nanogrid.client import Client
from support.client_server import FakeApi
from support.client_session_server import FakeSession, ready_session


@pytest.fixture
def remote(
    api: FakeApi, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeSession]:
    """A session named ``s``; the working directory is an empty folder."""
    server = FakeSession()
    monkeypatch.setenv("NANOGRID_ROUTER_URL", server.router)
    monkeypatch.setattr(command, "make_client", lambda *_: client)
    monkeypatch.chdir(tmp_path)
    api.operator = lambda store, path, job: ready_session(store, "s")
    with serving(server):
        client.session(name="s").ready()
        yield server


def cp(source: str, target: str) -> Result:
    return CliRunner().invoke(app, ["session", "cp", source, target])


@pytest.mark.parametrize(
    ("target", "stored"),
    [
        ("s:", "a.csv"),
        ("s:.", "a.csv"),
        ("s:/app", "a.csv"),
        ("s:data/", "data/a.csv"),
        ("s:data/b.csv", "data/b.csv"),
        ("s:/app/data/./", "data/a.csv"),
        ("s:한글 b.csv", "한글 b.csv"),
    ],
)
def test_a_file_is_uploaded(remote: FakeSession, target: str, stored: str) -> None:
    Path("a.csv").write_bytes(b"a,1\n")
    done = cp("a.csv", target)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "copied 1 file\n")
    assert remote.files == {stored: b"a,1\n"}


@pytest.mark.parametrize(("target", "top"), [("s:", "d/"), ("s:x", "x/"), ("s:x/", "x/d/")])
def test_a_folder_is_uploaded(remote: FakeSession, target: str, top: str) -> None:
    Path("d/sub/deep").mkdir(parents=True)
    Path("d/empty").mkdir()
    Path("d/one").write_bytes(b"1")
    Path("d/sub/deep/.two").write_bytes(b"2")
    done = cp("d", target)
    assert done.exit_code == 0, done.stderr
    assert remote.files == {f"{top}one": b"1", f"{top}sub/deep/.two": b"2"}
    assert "empty/ is empty and is not copied" in done.stderr


@pytest.mark.parametrize("kind", ["link", "link to a folder", "fifo", "socket"])
@pytest.mark.parametrize("alone", [False, True])
def test_what_is_no_file_is_refused_before_anything_is_copied(
    remote: FakeSession, kind: str, alone: bool
) -> None:
    Path("d").mkdir()
    Path("d/a").write_bytes(b"1")
    bad = Path("d/z")
    with socket.socket(socket.AF_UNIX) as opened:
        if kind == "link":
            bad.symlink_to("a")
        elif kind == "link to a folder":
            bad.symlink_to("/tmp", target_is_directory=True)
        elif kind == "fifo":
            os.mkfifo(bad)
        else:
            opened.bind("d/z")
        if alone and kind == "link to a folder":
            return  # a source that is a link to a folder is that folder, as for cp
        done = cp("d/z" if alone else "d", "s:x")
    assert done.exit_code == Exit.USAGE
    assert "d/z " in done.stderr
    assert not remote.files


@pytest.mark.parametrize(
    ("source", "target", "stored"),
    [
        ("s:data/a.csv", ".", "a.csv"),
        ("s:data/a.csv", "b.csv", "b.csv"),
        ("s:/app/data/a.csv", "new/", "new/a.csv"),
        ("s:data/a.csv", "new/b.csv", "new/b.csv"),
    ],
)
def test_a_file_is_downloaded(remote: FakeSession, source: str, target: str, stored: str) -> None:
    remote.files["data/a.csv"] = content = os.urandom(200_000)
    done = cp(source, target)
    assert (done.exit_code, done.stderr) == (0, "copied 1 file\n")
    assert Path(stored).read_bytes() == content
    assert [path.name for path in Path().rglob("*.part")] == []


@pytest.mark.parametrize("name", ["a", "a" * 255])
def test_a_download_replaces_no_other_file(remote: FakeSession, name: str) -> None:
    remote.files["a"] = b"new"
    Path("a.part").write_bytes(b"mine")
    assert cp("s:a", f"./{name}").exit_code == 0
    assert {one.name: one.read_bytes() for one in Path().iterdir()} == {
        name: b"new",
        "a.part": b"mine",
    }


@pytest.mark.parametrize(
    ("source", "target", "top"),
    [("s:data", ".", "data"), ("s:data", "new", "new"), ("s:", "all", "all/data")],
)
def test_a_folder_is_downloaded(remote: FakeSession, source: str, target: str, top: str) -> None:
    remote.files |= {"data/a": b"1", "data/sub/b": b"2"}
    remote.links.append("data/link")
    done = cp(source, target)
    assert done.exit_code == 0, done.stderr
    assert (Path(top) / "a").read_bytes() + (Path(top) / "sub/b").read_bytes() == b"12"
    assert "data/link is a link and is not copied" in done.stderr
    assert "copied 2 files" in done.stderr


def test_a_folder_with_too_many_entries_is_refused(remote: FakeSession) -> None:
    remote.files |= {"data/a": b"1", "data/b": b"2"}
    remote.listed = 1
    done = cp("s:data", "x")
    assert done.exit_code == Exit.USAGE
    assert "more than 1 entries" in done.stderr
    assert "tar" in done.stderr


def test_names_that_lead_out_of_the_folder_are_refused(remote: FakeSession) -> None:
    remote.files["data/../../../escaped"] = b"1"
    done = cp("s:data", "x")
    assert done.exit_code != 0
    assert "outside" in done.stderr
    assert not (Path().resolve().parent / "escaped").exists()


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("a", "b", "exactly one"),
        ("s:a", "s:b", "exactly one"),
        ("s:/etc/passwd", ".", "not below /app"),
        ("s:..", ".", "contains '..'"),
        ("s:/app/../etc/passwd", ".", "contains '..'"),
        ("missing", "s:", "No such file"),
        ("s:missing", ".", "missing does not exist"),
        ("nosuch:a", ".", "nosuch"),
    ],
)
def test_wrong_arguments_are_explained(
    remote: FakeSession, source: str, target: str, said: str
) -> None:
    done = cp(source, target)
    assert done.exit_code != 0
    assert said in done.stderr
    assert not remote.files
    assert not list(Path().iterdir())


@pytest.mark.parametrize("local", ["./a:b", "/a:b", "C:\\x", "A:b", "a/b:c", "-x:y"])
def test_a_path_with_a_slash_before_its_colon_is_local(local: str) -> None:
    assert parse_remote(local) is None


def test_an_upload_that_fails_keeps_an_older_local_file(remote: FakeSession) -> None:
    Path("a").write_bytes(b"old")
    done = cp("s:a", "a")
    assert done.exit_code != 0
    assert Path("a").read_bytes() == b"old"
