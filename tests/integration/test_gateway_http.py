"""The gateway as an HTTP server: methods, paths, headers, connections, and its orderly end."""

import contextlib
import http.client
import json
import socket
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from nanogrid import names
from support.builders import merge_patch
from support.gateway_fixtures import MARKS
from support.gateway_world import Answer, Gateway, World, wait_for
from support.hostile_archives import VALID
from support.s3_server import BUCKET

pytestmark = MARKS


@pytest.fixture(scope="module")
def gateway(world: World) -> Iterator[Gateway]:
    with world.gateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def function(gateway: Gateway) -> str:
    return str(gateway.upload(VALID).json["functionId"])


def upload_body(archive: bytes) -> tuple[bytes, bytes]:
    """The head and the body of an upload."""
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="c.zip"\r\n\r\n' + archive
    body += b"\r\n--b--\r\n"
    head = "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return f"{head}Content-Length: {len(body)}\r\n".encode(), body


def answer_of(client: socket.socket) -> Answer:
    """Read one answer of a connection."""
    client.settimeout(60)
    response = http.client.HTTPResponse(client)
    response.begin()
    return Answer(response.status, response.headers, response.read(), 0)


@pytest.mark.parametrize("path", ["/runs", "/functions", "/openapi.json", "/healthz", "/web/"])
def test_head_is_get_without_a_body(gateway: Gateway, path: str) -> None:
    get, head = gateway.call("GET", path), gateway.call("HEAD", path)

    assert (head.status, head.body) == (get.status, b"")
    for name in ("Content-Type", "Content-Length", "Cache-Control", "X-Content-Type-Options"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize(
    ("request_line", "allowed"),
    [
        ("PUT /runs", "GET, HEAD"),
        ("GET /run", "POST"),
        ("OPTIONS /functions", "GET, HEAD"),
        ("POST /functions/f-1", "DELETE, GET, HEAD"),
        ("DELETE /web/sign-in", "GET, HEAD, POST"),
    ],
)
def test_a_wrong_method_names_the_right_ones(
    gateway: Gateway, request_line: str, allowed: str
) -> None:
    answer = gateway.call(*request_line.split(), b"")

    assert (answer.status, answer.headers["Allow"]) == (405, allowed)
    assert allowed in answer.body.decode()
    is_page = answer.headers["Content-Type"].startswith("text/html")
    assert is_page == (" /web/" in request_line)


@pytest.mark.parametrize("path", ["/runs/", "/functions/", "/healthz/", "/web"])
def test_a_trailing_slash_does_not_matter(gateway: Gateway, path: str) -> None:
    assert gateway.call("GET", path).status == 200


@pytest.mark.parametrize("path", ["/", "//runs", "/runs//", "/Runs", "/static/x", "/web/static/no"])
def test_other_paths_are_not_found(gateway: Gateway, path: str) -> None:
    answer = gateway.call("GET", path)

    assert answer.status == (303 if path == "/" else 404)


def test_every_answer_has_the_headers_that_protect_browsers(gateway: Gateway) -> None:
    for path in ("/runs", "/nothing", "/web/", "/web/nothing"):
        answer = gateway.call("GET", path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Server"] == "nanogrid-gateway"
    assert "immutable" in gateway.call("GET", "/web/static/page.css").headers["Cache-Control"]


def test_a_connection_serves_many_requests(gateway: Gateway, function: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    body = json.dumps({"functionId": function, "inputData": {"after": 0}})
    with contextlib.closing(connection):
        for method, path, data in (("GET", "/runs", None), ("POST", "/run", body)) * 3:
            connection.request(method, path, data)
            response = connection.getresponse()
            response.read()
            assert (response.status, response.headers["Connection"]) == (200, None)


def test_a_client_that_expects_100_continue_gets_it(gateway: Gateway) -> None:
    head, body = upload_body(VALID)
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        assert answer_of(client).status == 201


@pytest.mark.parametrize(
    "request_",
    [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nNo Colon\r\n\r\n", b"GET /" + b"x" * 9000],
    ids=["no request", "header", "line"],
)
def test_a_malformed_head_is_a_400_and_no_traceback(gateway: Gateway, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(request_)
        assert answer_of(client).status == 400

    assert "Traceback" not in gateway.log


def test_beyond_the_limit_the_oldest_connection_without_a_request_is_closed(world: World) -> None:
    with world.gateway(max_connections=3) as small, contextlib.ExitStack() as stack:
        address = ("127.0.0.1", small.port)
        idle = [stack.enter_context(socket.create_connection(address)) for _ in range(3)]
        assert small.call("GET", "/healthz").status == 200
        idle[0].settimeout(60)
        assert idle[0].recv(1) == b"", "closed by the gateway"
        idle[2].settimeout(0.2)
        with pytest.raises(TimeoutError):
            idle[2].recv(1)


def _works(gateway: Gateway) -> bool:
    try:
        return gateway.call("GET", "/healthz").status == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_client_that_leaves_frees_its_place(
    world: World, gateway: Gateway, function: str
) -> None:
    with world.gateway(max_waiting=1) as small:
        request_id = f"gone-{uuid.uuid4()}"
        given = {"functionId": function, "inputData": {"never": True}, "requestId": request_id}
        body = json.dumps(given).encode()
        head = f"POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", small.port)) as client:
            client.sendall(head + body)
            wait_for(lambda: world.cluster.jobs(request_id), "the job")
            full = small.run(function, {"after": 0.5})
        assert full.status == 202

        def waits() -> bool:
            return small.run(function, {"after": 0.2}).status == 200

        wait_for(waits, "the free place")


def test_a_stop_ends_log_streams_and_lets_an_upload_finish(
    world: World, gateway: Gateway, function: str
) -> None:
    request_id = f"stream-{uuid.uuid4().hex[:8]}"
    gateway.run(function, None, requestId=request_id, wait=0)
    job = world.cluster.job(request_id)
    world.cluster.logs["pod-s"] = [b"one\n"] + [b""] * 200
    status = {"phase": "Running", "podName": "pod-s", "requestId": request_id}
    world.cluster.write(names.PLURAL, merge_patch(job, {"status": status}))
    head, body = upload_body(VALID)
    with (
        # The grace is longer than the test waits: nothing ends because of it.
        world.gateway(grace_seconds=600) as first,
        socket.create_connection(("127.0.0.1", first.port)) as client,
        socket.create_connection(("127.0.0.1", first.port)),  # sends nothing
        ThreadPoolExecutor(1) as pool,
    ):
        client.sendall(head + b"\r\n" + body[:50])
        events = pool.submit(first.events, f"/runs/{request_id}/logs")
        wait_for(lambda: any("/pods/pod-s/log" in r for r in world.cluster.requests), "the log")
        first.process.terminate()
        wait_for(lambda: not _works(first), "the end of new connections")
        client.sendall(body[50:])
        uploaded = answer_of(client)
        seen = events.result(60)
        assert first.process.wait(60) == 0

    assert (uploaded.status, uploaded.headers["Connection"]) == (201, "close")
    assert [name for name, _ in seen][-1] == "gone"


def test_a_request_that_does_not_end_is_cut_off_after_the_grace(
    world: World, gateway: Gateway
) -> None:
    head, body = upload_body(VALID)
    with (
        world.gateway(grace_seconds=1) as first,
        socket.create_connection(("127.0.0.1", first.port)) as client,
    ):
        client.sendall(head + b"\r\n" + body[:50])
        wait_for(lambda: first.call("GET", "/healthz").status == 200, "the gateway")
        first.process.terminate()
        assert first.process.wait(60) == 0
        with contextlib.suppress(ConnectionError):
            client.settimeout(60)
            assert client.recv(100) in (b"", b"HTTP/1.1 408 Request Timeout\r\n"[:100])


def test_an_upload_of_a_client_that_leaves_is_stored_as_a_whole(
    world: World, gateway: Gateway
) -> None:
    def functions() -> set[str]:
        objects = list(world.cluster.objects)
        return {name for plural, name in objects if plural == names.FUNCTION_PLURAL}

    def archives() -> set[str]:
        found = world.s3.client.list_objects_v2(Bucket=BUCKET, Prefix="functions/")
        return {entry["Key"].split("/")[1] for entry in found.get("Contents", [])}

    head, body = upload_body(VALID)
    before = archives() | functions()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", gateway.port)) as client:
            client.sendall(head + b"\r\n" + body)
    assert gateway.upload(VALID).status == 201

    wait_for(lambda: archives() - before == functions() - before, "a function for each archive")
