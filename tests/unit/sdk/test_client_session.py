"""Sessions of the client: code, broken streams, files, ends."""

import base64
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nanogrid.cli.http_serving import serving
from nanogrid.client import (
    AsyncClient,
    Client,
    ExecutionFailed,
    Expired,
    InputError,
    InvalidRequest,
    NotFound,
    Session,
    Unauthorized,
    Unreachable,
    WaitTimeout,
)
from nanogrid.client.sessions.files import _Content
from nanogrid.client.sessions.sse import events
from nanogrid.types import Json
from support.api_store import ApiStore
from support.client_server import FakeApi
from support.client_session_server import FakeSession, ready_session


@pytest.fixture(autouse=True)
def ready(api: FakeApi) -> None:
    """The operator makes each session ready."""
    api.operator = lambda store, path, job: ready_session(store, job["metadata"]["name"])


@pytest.fixture(autouse=True)
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSession]:
    server = FakeSession()
    monkeypatch.setenv("NANOGRID_ROUTER_URL", server.router)
    with serving(server):
        yield server


@pytest.fixture
def session(client: Client) -> Iterator[Session]:
    with client.session(name="s") as made:
        yield made


def test_variables_persist_in_their_context_only(session: Session) -> None:
    assert session.execute("x = 41").success
    texts: list[str] = []
    answer = session.execute("print(x + 1)\nprint('end')", on_stdout=texts.append)
    assert (answer.stdout, texts) == ("42\nend\n", ["42\n", "end\n"])
    assert not session.execute("x", context=None).success
    assert not session.execute("x", context="other").success


def test_failed_code_gives_an_execution_and_on_request_an_error(session: Session) -> None:
    answer = session.execute("1 / 0")
    assert (answer.success, answer.status) == (False, "FAILED")
    assert answer.error == "ZeroDivisionError: division by zero"
    with pytest.raises(ExecutionFailed, match="ZeroDivisionError") as caught:
        answer.raise_for_status()
    assert caught.value.result is answer


def test_an_execution_has_pictures_and_tables(session: Session) -> None:
    png = base64.b64encode(b"\x89PNG").decode()
    code = f"display({{'image/png': '{png}'}}); display({{'text/html': '<b>', 'text/plain': 't'}})"
    answer = session.execute(code)
    assert [one.png for one in answer.results] == [b"\x89PNG", None]
    assert (answer.results[1].html, answer.results[1].text) == ("<b>", "t")
    assert png in answer._repr_html_()


@pytest.mark.parametrize("cut", [0, 1, 2, 3])
def test_a_broken_stream_continues_without_a_second_run_or_repeated_text(
    session: Session, remote: FakeSession, cut: int
) -> None:
    remote.cut_streams_after = cut
    texts: list[str] = []
    answer = session.execute("n = globals().get('n', 0) + 1; print('a'); print(n)",
                             on_stdout=texts.append)  # fmt: skip
    assert answer.stdout == "a\n1\n"
    assert "".join(texts) == "a\n1\n"
    assert len(remote.bodies) == 2
    assert len(remote.answers) == 1


def test_a_request_has_the_field_names_of_the_api(session: Session, remote: FakeSession) -> None:
    session.execute("1", timeout=5, env={"A": "1"}, stdin="in")
    session.bash("echo 1")
    session.bash("serve &", keep_processes=True)
    first, second, third = remote.bodies
    assert first == {
        "code": "1", "stream": True, "context": "default", "timeoutSeconds": 5,
        "env": {"A": "1"}, "stdin": "in",
    }  # fmt: skip
    assert second == {"code": "BASH: echo 1", "stream": True}
    assert third == {"code": "BASH: serve &", "stream": True, "keepProcesses": True}


def test_a_busy_session_is_retried_and_a_refusal_is_final(
    session: Session, remote: FakeSession
) -> None:
    remote.refusals.put((503, "Initializing", "wait"))
    remote.refusals.put((429, "QueueFull", "wait"))
    assert session.execute("1").success
    remote.refusals.put((409, "ExecutionRunning", "execution 7 runs"))
    with pytest.raises(Exception, match="execution 7 runs") as caught:
        session.execute("1")
    assert caught.value.reason == "ExecutionRunning"  # type: ignore[attr-defined]
    assert "policy Serial" in caught.value.hint  # type: ignore[attr-defined]


def test_a_request_is_retried_until_the_router_knows_the_session(
    client: Client, remote: FakeSession
) -> None:
    remote.refusals.put((401, "Unauthorized", "unknown"))
    with client.session(name="s") as session:
        remote.refusals.put((401, "Unauthorized", "token changed"))
        with pytest.raises(Unauthorized):  # final, because the session was known before
            session.health()


def test_files_are_written_listed_read_and_removed(session: Session, remote: FakeSession) -> None:
    assert session.files.write("data/ä b.txt", "text").bytes == 4
    assert session.files.write("/app/raw", b"\x00\xff").path == "raw"
    found = [(one.path, one.type) for one in session.files.list()]
    assert found == [("data", "directory"), ("data/ä b.txt", "file"), ("raw", "file")]
    assert [one.path for one in session.files.list("data")] == ["data/ä b.txt"]
    assert session.files.read("raw") == b"\x00\xff"
    session.files.delete("raw")
    with pytest.raises(NotFound, match="raw does not exist") as caught:
        session.files.read("raw")
    assert caught.value.reason == "FileNotFound"


def test_sync_contexts_and_interrupt(session: Session, remote: FakeSession) -> None:
    assert session.sync("bkt", "sessions/x/input/", "/app/data/in")["files"] == 2
    assert remote.bodies[-1]["local_path"] == "/app/data/in"
    session.execute("1")
    assert session.contexts() == [{"name": "default"}]
    session.drop_context("default")
    with pytest.raises(InvalidRequest, match="no execution runs"):
        session.interrupt()
    remote.running = 3
    session.interrupt()
    session.interrupt(2)
    assert remote.requests[-1] == ("DELETE", "/executions/2")
    assert ("DELETE", "/executions/3") in remote.requests


def test_a_context_manager_ends_only_a_session_that_it_started(
    client: Client, remote: FakeSession
) -> None:
    with client.session(name="s"), client.attach("s") as attached:
        assert attached.execute("1").success
    assert remote.requests.count(("POST", "/end")) == 1


def test_end_returns_the_result(session: Session, api: FakeApi) -> None:
    api.finish(api.job_path("s"), reason="SessionEnded")
    assert session.end("done").reason == "SessionEnded"


def test_an_ended_session_raises_its_reason(session: Session, remote: FakeSession) -> None:
    remote.ended = True
    with pytest.raises(Expired) as caught:
        session.execute("1")
    assert caught.value.reason == "IdleTimeout"
    assert "Create a new session" in caught.value.hint


def test_an_error_inside_the_session_is_not_hidden_when_the_end_fails(
    client: Client, remote: FakeSession
) -> None:
    def use() -> None:
        with client.session(name="s"):
            remote.refusals.put((400, "BadRequest", "no"))
            raise KeyError("inside")

    with pytest.raises(KeyError) as caught:
        use()
    assert "could not be ended" in caught.value.__notes__[0]


def test_a_session_that_fails_to_start_raises_its_error(client: Client, api: FakeApi) -> None:
    fields = {"status": "FAILED", "reason": "InputNotFound", "message": "No file."}
    api.operator = lambda store, path, job: store.finish(path, **fields)
    with pytest.raises(InputError, match="No file"), client.session(name="s"):
        pytest.fail("the session is not ready")


def test_a_session_that_does_not_get_ready_is_cancelled(client: Client, api: FakeApi) -> None:
    api.operator = None
    with pytest.raises(WaitTimeout), client.session(name="s", ready_timeout=0.2):
        pytest.fail("the session is not ready")
    assert api.objects[api.job_path("s")]["spec"]["cancel"] is True


def test_the_error_names_what_keeps_a_session_from_being_ready(
    client: Client, api: FakeApi
) -> None:
    """Its sandbox runs; its load balancer does not."""
    waiting = {"type": "Ready", "status": "False", "reason": "ExposureIgnored"}
    shown = {"status": {"phase": "Running", "reason": "Executing", "conditions": [waiting]}}
    api.operator = lambda store, path, job: store.put(path, store.objects[path] | shown)

    named = pytest.raises(WaitTimeout, match="ExposureIgnored")
    with named, client.session(name="s", ready_timeout=0.2):
        pytest.fail("the session is not ready")


def late_operator(store: ApiStore, path: str, job: Json) -> None:
    """Make the session ready after its creator has begun to wait."""
    store.put(path, store.objects[path] | {"status": {"phase": "Pending"}})
    ready_session(store, job["metadata"]["name"])


@pytest.mark.parametrize(
    ("rules", "seconds"),
    [
        ({}, 900),
        ({"idleTimeoutSeconds": 60}, 60),
        ({"maxLifetimeSeconds": 300}, 300),
        ({"maxLifetimeSeconds": 7200}, 900),
    ],
)
def test_the_idle_timeout_in_force_is_known(
    client: Client, remote: FakeSession, rules: Json, seconds: int
) -> None:
    session = client.session(name="s", session=rules)
    assert session.idle_timeout == seconds
    assert f"ends after {seconds} s without a request" in repr(session)


@pytest.mark.parametrize("first", ["execute", "start", "files", "bash", "health", "contexts"])
def test_without_a_context_manager_the_first_request_waits(
    client: Client, api: FakeApi, remote: FakeSession, first: str
) -> None:
    api.operator = None
    session = client.session(name="s", session={"idleTimeoutSeconds": 60})
    path = api.job_path("s")
    work = threading.Timer(0.1, late_operator, (api, path, api.objects[path]))
    work.start()
    calls: dict[str, Callable[[], Any]] = {
        "execute": lambda: session.execute("1"),
        "start": session.start,
        "files": lambda: session.files.write("a", b"1"),
        "bash": lambda: session.bash("1"),
        "health": session.health,
        "contexts": session.contexts,
    }
    calls[first]()
    assert session.execute("print(1)").stdout == "1\n"
    assert repr(session) == "<Session team/s Running, ends after 60 s without a request>"
    assert ("POST", "/end") not in remote.requests
    work.join()


def test_a_session_that_never_got_ready_is_cancelled_at_its_end(
    client: Client, api: FakeApi, remote: FakeSession
) -> None:
    api.operator = None
    session = client.session(name="s")
    with pytest.raises(WaitTimeout):
        session.end(timeout=0.1)
    assert api.objects[api.job_path("s")]["spec"]["cancel"] is True
    assert not remote.requests


def test_the_first_request_of_a_failed_session_raises_why_it_never_ran(
    client: Client, api: FakeApi
) -> None:
    fields = {"status": "FAILED", "reason": "InputNotFound", "message": "No file."}
    api.operator = lambda store, path, job: store.finish(path, **fields)
    with pytest.raises(InputError, match="No file"):
        client.session(name="s").execute("1")


def test_attach_refuses_a_batch_job(client: Client, api: FakeApi) -> None:
    api.operator = None
    client.submit("1", name="batch")
    with pytest.raises(InvalidRequest, match="not a session"):
        client.attach("batch")


def test_a_session_has_the_given_spec(client: Client, api: FakeApi) -> None:
    client.session(name="s", session={"idleTimeoutSeconds": 60}, memory="128Mi")
    spec = api.objects[api.job_path("s")]["spec"]
    assert (spec["mode"], spec["session"]) == ("Session", {"idleTimeoutSeconds": 60})
    assert client.session().name.startswith("session-")


def test_events_may_arrive_in_pieces_and_comments_are_skipped() -> None:
    pieces = [b": c\n\nevent: a\r\nda", b'ta: {"x":1}\r\n\r\n', b"event: b\ndata: 2\n\n", b"event"]
    assert list(events(pieces)) == [("a", {"x": 1}), ("b", 2)]
    with pytest.raises(Unreachable):
        list(events([b"data: {\n\n"]))


def test_outside_the_cluster_a_broken_port_forward_is_opened_again(
    client: Client, remote: FakeSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NANOGRID_ROUTER_URL")
    opened: list[tuple[str, str, int]] = []
    ended: list[int] = []

    @contextmanager
    def forward(cluster: Any, namespace: str, target: str, port: int) -> Iterator[int]:
        opened.append((namespace, target, port))
        yield remote.server_port if len(opened) > 1 else free_port()
        ended.append(len(opened))

    monkeypatch.setattr("nanogrid.client.sessions.connection.port_forward", forward)
    with client.session(name="s") as session:
        assert session.execute("print(1)").stdout == "1\n"
        assert ended == [1]
    assert opened == [("system", "svc/router", 8080)] * 2
    assert ended == [1, 2]


def free_port() -> int:
    """A port without a listener."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def test_the_asynchronous_session_has_the_same_calls(
    api: FakeApi, remote: FakeSession
) -> None:
    async with (
        AsyncClient(cluster=api.cluster()) as client,
        await client.session(name="s") as session,
    ):
        texts: list[str] = []
        await session.execute("y = 2")
        answer = await session.execute("print(y)", on_stdout=texts.append)
        assert (answer.stdout, texts) == ("2\n", ["2\n"])
        await session.files.write("f", b"x")
        assert await session.files.read("f") == b"x"
        assert [one.path for one in await session.files.list()] == ["f"]
        await session.files.delete("f")
        assert (await session.sync("bkt", "p"))["files"] == 2
    assert remote.requests[-1] == ("POST", "/end")


async def test_the_asynchronous_session_is_entered_or_awaited(
    api: FakeApi, remote: FakeSession
) -> None:
    async with AsyncClient(cluster=api.cluster()) as client:
        async with client.session(name="s") as session, client.attach("s") as attached:
            assert (await attached.execute("print(1)")).stdout == "1\n"
            assert repr(session).startswith("<AsyncSession team/s Running")
        assert remote.requests.count(("POST", "/end")) == 1
        started = await client.session(name="t")
        assert await started.start() is started
        assert (await started.execute("print(2)")).stdout == "2\n"
        assert remote.requests.count(("POST", "/end")) == 1
        api.operator = None
        with pytest.raises(WaitTimeout):
            async with client.session(name="never", ready_timeout=0.1):
                pytest.fail("the session is not ready")


@pytest.mark.parametrize("path", ["..", "../end", "data/../../end", "/app/../end"])
def test_a_path_does_not_lead_out_of_the_files(
    session: Session, remote: FakeSession, tmp_path: Path, path: str
) -> None:
    before = len(remote.requests)
    calls: list[Callable[[], object]] = [
        lambda: session.files.read(path),
        lambda: session.files.write(path, b""),
        lambda: session.files.delete(path),
        lambda: session.files.download(path, tmp_path / "a"),
    ]
    for call in calls:
        with pytest.raises(InvalidRequest, match=r"contains '\.\.'"):
            call()
    assert len(remote.requests) == before
    assert session.files.write("a..b/..c", b"1").path == "a..b/..c"


@pytest.mark.parametrize("size", [0, 1, 1_000_000])
def test_a_local_file_is_sent_in_pieces_and_from_its_beginning_again(
    session: Session, remote: FakeSession, tmp_path: Path, size: int
) -> None:
    local = tmp_path / "a"
    local.write_bytes(os.urandom(size))
    remote.refusals.put((503, "QueueFull", "later"))
    assert session.files.write("a", local).bytes == size
    assert remote.files["a"] == local.read_bytes()
    assert [one for one in remote.requests if one[0] == "PUT"] == [("PUT", "/files/a")] * 2


def test_a_local_file_that_changes_is_sent_as_it_was(tmp_path: Path) -> None:
    local = tmp_path / "a"
    local.write_bytes(b"12345")
    with local.open("rb") as file:
        content = _Content(file)
        with local.open("ab") as more:
            more.write(b"6")
        assert (content.size, content.read(3), content.read(9), content.read(9)) == (
            5, b"123", b"45", b"",
        )  # fmt: skip
        content = _Content(file)
        os.truncate(local, 0)
        with pytest.raises(OSError, match="became shorter"):
            content.read(9)
