"""Tunnels to a port of a pod: HTTP through frames of a WebSocket."""

import io
import os
import socket
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest
from urllib3.exceptions import ClosedPoolError, ReadTimeoutError

from nanogrid.cli.http_serving import QuietHandler, serving
from nanogrid.client import Forbidden, NotFound, Unauthorized, Unreachable
from nanogrid.client.errors import ApiError
from nanogrid.client.http import Http
from nanogrid.client.kube.pod_tunnel import PodTunnel
from nanogrid.client.kube.websocket_frames import BadFrame, accept_of, frame, read_frame
from support import port_forward
from support.client_server import FakeApi, failure
from support.client_session_server import TOKEN, FakeSession

POD = "s-pod"
LARGE = os.urandom(300_000)


@pytest.fixture
def remote(api: FakeApi) -> Iterator[FakeSession]:
    """A session behind a port of a pod."""
    server = FakeSession()
    api.pods.ports[POD] = server.server_port
    with serving(server):
        yield server


@pytest.fixture
def http(api: FakeApi, remote: FakeSession) -> Iterator[Http]:
    made = Http("", TOKEN, PodTunnel(api.cluster(), "team", POD, 9080))
    yield made
    made.close()


@pytest.mark.parametrize("piece", [1, 100, 1 << 15, 1 << 17])
@pytest.mark.parametrize("pings", [False, True])
def test_requests_and_answers_of_any_size_pass(
    api: FakeApi, http: Http, piece: int, pings: bool
) -> None:
    api.pods.piece, api.pods.pings = piece, pings
    data = LARGE[: 2000 * piece]
    assert http.json("PUT", "/sessions/team/s/files/a", content=data)["bytes"] == len(data)
    assert http.send("GET", "/sessions/team/s/files/a").data == data
    length = {"Content-Length": str(len(data))}
    stored = http.json("PUT", "/sessions/team/s/files/b", content=io.BytesIO(data), headers=length)
    assert stored["bytes"] == len(data)
    assert http.json("GET", "/sessions/team/s/health")["status"] == "healthy"
    assert len(api.pods.opened) == 1  # one connection serves them all
    assert "/namespaces/team/pods/s-pod/portforward?ports=9080" in api.pods.opened[0]


def test_a_lost_connection_is_opened_again(api: FakeApi, http: Http, remote: FakeSession) -> None:
    api.pods.cut_after = 5
    with pytest.raises(Unreachable):
        http.json("GET", "/sessions/team/s/health")
    assert http.json("GET", "/sessions/team/s/health")["status"] == "healthy"
    assert len(api.pods.opened) == 2


def test_a_port_without_a_listener_has_the_words_of_the_kubelet(
    api: FakeApi, http: Http, remote: FakeSession
) -> None:
    http.json("GET", "/sessions/team/s/health")
    remote.shutdown()
    remote.server_close()
    api.pods.cut_after = 0
    with pytest.raises(Unreachable):
        http.json("GET", "/sessions/team/s/health")
    with pytest.raises(Unreachable, match="error forwarding port 9080 to pod s-pod"):
        http.json("GET", "/sessions/team/s/health")


def test_a_silent_pod_is_a_timeout(api: FakeApi) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        api.pods.ports[POD] = silent.getsockname()[1]
        tunnel = PodTunnel(api.cluster(), "team", POD, 9080)
        with pytest.raises(ReadTimeoutError):
            tunnel.pool.request("GET", "/", timeout=0.1, retries=False)
        tunnel.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (failure(403, "Forbidden", "pods s-pod is forbidden"), Forbidden),
        (failure(404, "NotFound", "pods s-pod not found"), NotFound),
        ((200, {"kind": "Status"}), ApiError),  # a proxy that knows no upgrade
    ],
)
def test_a_refused_upgrade_is_the_error_of_the_api_server(
    api: FakeApi, answer: tuple[int, dict[str, str]], error: type[Exception]
) -> None:
    api.refusals.put(answer)
    with pytest.raises(error):
        PodTunnel(api.cluster(), "team", POD, 9080)
    assert api.cluster().version()


def test_a_pod_that_is_gone_ends_later_connections(api: FakeApi, http: Http) -> None:
    http.json("GET", "/sessions/team/s/health")
    api.pods.ports.clear()
    api.pods.cut_after = 0
    with pytest.raises(Unreachable):
        http.json("GET", "/sessions/team/s/health")
    with pytest.raises(Unreachable, match="not found"):
        http.json("GET", "/sessions/team/s/health")


class _LastAnswer(QuietHandler):
    """Answers with a large body, and closes the connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(401 if self.path == "/refused" else 200)
        self.send_header("Content-Length", str(len(LARGE)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(LARGE)


def test_the_last_answer_of_a_connection_is_read(api: FakeApi) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _LastAnswer)
    api.pods.ports[POD] = server.server_port
    with serving(server):
        http = Http("", TOKEN, PodTunnel(api.cluster(), "team", POD, 9080))
        assert http.send("GET", "/").data == LARGE
        answer = http.send("GET", "/", preload=False)
        assert b"".join(answer.stream(1000)) == LARGE
        with pytest.raises(Unauthorized, match="HTTP 401"):
            http.send("GET", "/refused")
        http.close()
    assert len(api.pods.opened) == 3


def test_an_unused_tunnel_is_closed(api: FakeApi, remote: FakeSession) -> None:
    tunnel = PodTunnel(api.cluster(), "team", POD, 9080)
    tunnel.close()
    with pytest.raises(ClosedPoolError):
        tunnel.pool.request("GET", "/", retries=False)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 70_001])
def test_frames_have_the_format_of_the_protocol(size: int) -> None:
    data = LARGE[:size]
    made = frame(2, data)
    assert port_forward.read_frame(io.BytesIO(made).read) == (2, data)
    assert frame(2, data, b"\x00" * 4).endswith(data)
    assert read_frame(io.BytesIO(port_forward.frame(2, data)).read) == (2, data)


def test_the_accept_key_is_that_of_the_specification() -> None:
    assert accept_of("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "data", [b"\x82\x05ab", b"\x82\x85abcdefghi", b"\x82\x7f" + b"\xff" * 8, b"\x82\x7e\x01"]
)
def test_wrong_frames_are_errors(data: bytes) -> None:
    with pytest.raises(BadFrame):
        read_frame(io.BytesIO(data).read)
    assert read_frame(io.BytesIO(b"").read) is None
