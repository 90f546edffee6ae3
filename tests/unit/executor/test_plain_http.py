"""The agent's own request over plain HTTP, against servers that answer anything."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from nanogrid_executor.agent import plain_http
from nanogrid_executor.agent.report_client import post_once, url_of
from nanogrid_executor.agent.results_url import ResultsUrl, parse

Answer = Callable[[socket.socket], object]
HANG_SECONDS = 60.0


@contextmanager
def server(answer: Answer) -> Iterator[tuple[tuple[str, int], list[bytes]]]:
    """Its address, and what it got from one client up to the empty body."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                data = b""
                while not data.endswith(b"{}") and (part := client.recv(1000)):
                    data += part
                got.append(data)
                answer(client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname(), got
        thread.join(HANG_SECONDS)


def post(address: tuple[str, int], seconds: float = HANG_SECONDS) -> int:
    return plain_http.post(address, "operator:1", "/v1/results", b"{}", {"A": "b"}, seconds)


def test_the_request_is_http_and_the_status_comes_back() -> None:
    with server(lambda client: client.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")) as (at, got):
        assert post(at) == 204
    (request,) = got
    lines = request.split(b"\r\n")
    assert lines[0] == b"POST /v1/results HTTP/1.1"
    assert {*lines[1:-2]} == {
        b"Host: operator:1", b"Content-Length: 2", b"Connection: close", b"A: b",
    }  # fmt: skip
    assert lines[-2:] == [b"", b"{}"]


def test_a_status_may_come_in_pieces() -> None:
    def slowly(client: socket.socket) -> None:
        for byte in b"HTTP/1.0 503\r\n":
            client.send(bytes([byte]))

    with server(slowly) as (at, _):
        assert post(at) == 503


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 2x4 \r\n", b"x" * 3000], ids=repr
)
def test_what_is_no_answer_of_http_is_an_error(answer: bytes) -> None:
    with server(lambda client: client.sendall(answer)) as (at, _), pytest.raises(ConnectionError):
        post(at)


def test_a_server_that_says_nothing_is_left_in_time() -> None:
    left = threading.Event()
    with server(lambda client: left.wait(HANG_SECONDS)) as (at, _):
        with pytest.raises(TimeoutError):
            post(at, 0.2)
        left.set()


def test_a_header_cannot_add_another_one() -> None:
    with pytest.raises(ValueError, match="cannot be printed"):
        plain_http.post(("127.0.0.1", 1), "a", "/", b"", {"A": "b\r\nC: d"}, HANG_SECONDS)


def test_a_missing_token_is_an_answer_and_not_an_error(tmp_path: object) -> None:
    found = post_once("http://127.0.0.1:1/v1/results", f"{tmp_path}/none", b"{}")
    assert "No such file" in str(found)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://op:8090/v1/results", ResultsUrl("http", "op", 8090, "/v1/results")),
        ("https://op.ns.svc/v1", ResultsUrl("https", "op.ns.svc", None, "/v1")),
        ("http://[fd00::1]:80/", ResultsUrl("http", "fd00::1", 80, "/")),
        ("http://[fd00::1]", ResultsUrl("http", "fd00::1", None, "/")),
        ("", ResultsUrl("", "", None, "/")),
    ],
)
def test_the_parts_of_a_url(url: str, expected: ResultsUrl) -> None:
    assert parse(url) == expected


def test_another_path_of_an_address_of_ipv6() -> None:
    assert url_of("http://[fd00::1]:80/v1/results", "/v1/memory") == "http://[fd00::1]:80/v1/memory"
