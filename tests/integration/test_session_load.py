"""Clients without the session's token: however many and slow, the session stays ready."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid import names
from nanogrid_executor.session.api.app import create_app
from nanogrid_executor.session.api.auth import Auth
from nanogrid_executor.session.api.heads import HEAD_BYTES, WAITING_PER_ADDRESS
from nanogrid_executor.session.api.server import THREADS, HttpServer, make_server
from nanogrid_executor.session.session import Session
from support.session_fakes import make_paths, make_session
from support.session_pod import TOKEN, Client
from support.waiting import WAIT_SECONDS, wait_until

pytestmark = [pytest.mark.alone, pytest.mark.security]

SLOW_CONNECTIONS = 300
HEAD_SECONDS = 600  # longer than any client of these tests waits
HALF_HEAD = b"GET /executions HTTP/1.1\r\nHost: session\r\nX-Padding: "
AUTHORIZED = f"Authorization: Bearer {TOKEN}\r\n".encode()


@contextlib.contextmanager
def serving(session: Session, head: float) -> Iterator[HttpServer]:
    """The API of a session, which needs a token."""
    file = Path(session.paths.real(names.SESSION_TOKEN_FILE))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(TOKEN)
    server = make_server(create_app(session, Auth(str(file))), 0, head)
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return make_session(make_paths(tmp_path))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_session_is_reached_over_ipv4_and_ipv6(session: Session, address: str) -> None:
    with (
        serving(session, head=60) as server,
        socket.create_connection((address, server.bind_addr[1]), timeout=10) as client,
    ):
        client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert client.recv(12).startswith(b"HTTP/1.")


@contextlib.contextmanager
def connected(server: HttpServer, count: int, begin: bytes = b"") -> Iterator[list[socket.socket]]:
    """Connections that have sent some bytes."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = socket.create_connection(
                ("127.0.0.1", server.bind_addr[1]), timeout=WAIT_SECONDS
            )
            stack.enter_context(client)
            with contextlib.suppress(ConnectionError):
                client.sendall(begin)
            clients.append(client)
        yield clients


def probe(server: HttpServer) -> tuple[int, Any, float]:
    """Status, body and seconds of a readiness probe."""
    began = time.monotonic()
    status, body = Client(server.bind_addr[1], "wrong").ask("GET", "/health")
    return status, body, time.monotonic() - began


def received(client: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while data := client.recv(4096):
            got += data
    return got


@pytest.mark.parametrize("begin", [b"", HALF_HEAD], ids=["silent", "half heads"])
def test_slow_connections_leave_a_session_ready(session: Session, begin: bytes) -> None:
    with serving(session, head=HEAD_SECONDS) as server, connected(server, SLOW_CONNECTIONS, begin):
        seconds = []
        for _ in range(5):
            status, body, took = probe(server)
            assert (status, body["status"]) == (200, "healthy")
            seconds.append(took)
        client = Client(server.bind_addr[1])
        assert client.ask("POST", "/execute", {"code": "print(1)"})[1]["stdout"] == "1\n"
    print(f"\nslowest probe among {SLOW_CONNECTIONS} slow connections: {max(seconds):.3f} s")


def test_requests_that_occupy_all_threads_leave_a_session_ready(session: Session) -> None:
    slow_body = b"PUT /files/x HTTP/1.1\r\nHost: s\r\n" + AUTHORIZED + b"Content-Length: 9\r\n\r\nx"
    with serving(session, head=HEAD_SECONDS) as server, connected(server, THREADS + 8, slow_body):
        wait_until(lambda: server.requests.idle == 0)
        assert probe(server)[0] == 200


def test_the_oldest_waiting_connections_make_room(session: Session) -> None:
    with (
        serving(session, head=HEAD_SECONDS) as server,
        connected(server, WAITING_PER_ADDRESS + 2, HALF_HEAD) as clients,
    ):
        answers = [received(client) for client in clients[:2]]
        clients[-1].sendall(b"\r\n" + AUTHORIZED + b"Connection: close\r\n\r\n")
        newest = received(clients[-1])

    for answer in answers:
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"Retry-After: 1" in head
        assert json.loads(body)["error"]["reason"] == "RateLimited"
    assert newest.startswith(b"HTTP/1.1 200 ")


def test_a_head_that_takes_too_long_is_cut_off(session: Session) -> None:
    with serving(session, head=1) as server:
        with connected(server, 2) as (silent, slow):
            began = time.monotonic()
            with contextlib.suppress(ConnectionError):
                while time.monotonic() - began < WAIT_SECONDS:
                    slow.sendall(HALF_HEAD[:1])
                    if slow.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                        break
            answer, nothing = received(slow), received(silent)
        assert Client(server.bind_addr[1]).ask("GET", "/executions")[0] == 200

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert nothing == b""


def test_a_head_that_is_too_large_is_refused(session: Session) -> None:
    line = b"GET /executions HTTP/1.1\r\nHost: s\r\n" + AUTHORIZED + b"Connection: close\r\nX: "
    with serving(session, head=HEAD_SECONDS) as server, connected(server, 2, line) as (large, fits):
        with contextlib.suppress(ConnectionError):
            large.sendall(b"x" * (HEAD_BYTES + 1))
        fits.sendall(b"x" * (HEAD_BYTES - 1000) + b"\r\n\r\n")

        assert received(large).startswith(b"HTTP/1.1 431 ")
        assert received(fits).startswith(b"HTTP/1.1 200 ")


def test_a_body_without_a_token_is_not_read(session: Session) -> None:
    begin = b"PUT /files/x HTTP/1.1\r\nHost: s\r\nContent-Length: 60000\r\n\r\nx"
    with serving(session, head=HEAD_SECONDS) as server, connected(server, 3, begin) as clients:
        began = time.monotonic()
        answers = [received(client) for client in clients]
        took = time.monotonic() - began
        wait_until(lambda: server.requests.idle == THREADS)

    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 401 "}
    assert took < 30  # the time that a thread waits for the body of an authorized request


def test_requests_without_a_token_get_429_and_others_do_not(session: Session) -> None:
    with serving(session, head=HEAD_SECONDS) as server:
        wrong, right = (Client(server.bind_addr[1], token) for token in ("wrong", TOKEN))
        statuses = []
        for _ in range(4000):
            response = wrong.open("GET", "/executions")
            statuses.append(response.status)
            body = json.loads(response.read())
            if response.status == 429:
                break

        assert set(statuses[:-1]) == {401}
        assert statuses[-1] == 429
        assert body["error"]["reason"] == "RateLimited"
        assert int(response.headers["Retry-After"]) >= 1
        assert right.ask("GET", "/executions")[0] == 200
        assert probe(server)[0] == 200


def test_health_tells_the_id_of_a_session_only_with_its_token(session: Session) -> None:
    own = session.task.request_id
    with serving(session, head=HEAD_SECONDS) as server:
        stranger, owner = (Client(server.bind_addr[1], token) for token in ("wrong", TOKEN))

        assert owner.ask("GET", "/health")[1]["session_id"] == own
        assert own not in json.dumps(stranger.ask("GET", "/health")[1])
        assert stranger.ask("GET", f"/health?session_id={own}")[0] == 200
        status, body = stranger.ask("GET", "/health?session_id=another")
        assert (status, body["error"]["reason"]) == (409, "WrongSession")
        assert own not in json.dumps(body)


def test_a_connection_serves_further_requests_of_the_owner(session: Session) -> None:
    request = b"GET /executions HTTP/1.1\r\nHost: s\r\n" + AUTHORIZED
    with serving(session, head=HEAD_SECONDS) as server, connected(server, 1) as (client,):
        client.sendall(request + b"\r\n" + request + b"Connection: close\r\n\r\n")  # pipelined

        assert received(client).count(b"HTTP/1.1 200 ") == 2
