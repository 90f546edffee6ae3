"""The region of a bucket is asked only as long as the phase has time for it."""

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from nanogrid import names
from nanogrid_executor.clock import Deadline
from nanogrid_executor.storage import region
from nanogrid_executor.storage.region import HEADER, bucket_region


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.HTTPServer]:
    """An S3 whose buckets are in eu-west-1."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(301)
            self.send_header(HEADER, "eu-west-1")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        monkeypatch.setenv(names.ENV_S3_ENDPOINT, f"http://127.0.0.1:{made.server_port}")
        yield made
        made.shutdown()
        thread.join()


@pytest.mark.usefixtures("server")
def test_the_region_is_that_of_the_answer() -> None:
    assert bucket_region("b", Deadline(60)) == "eu-west-1"


@pytest.mark.usefixtures("server")
def test_after_the_deadline_nothing_is_asked() -> None:
    assert bucket_region("b", Deadline(0)) == ""


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 301 Moved\r\n"])
def test_a_server_that_does_not_finish_its_answer_ends_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    # Without the deadline it would take an hour.
    monkeypatch.setattr(region, "SECONDS", 3600.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv(names.ENV_S3_ENDPOINT, "http://{}:{}".format(*server.getsockname()))
        held: list[socket.socket] = []

        def accept() -> None:
            held.append(server.accept()[0])
            held[0].sendall(answer)

        thread = threading.Thread(target=accept)
        thread.start()
        deadline = Deadline(0.3)
        assert bucket_region("b", deadline) == ""
        assert deadline.remaining() == 0
        thread.join()
        held[0].close()
