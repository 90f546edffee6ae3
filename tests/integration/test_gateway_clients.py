"""Clients that send too much, send too slowly, or read nothing: they do not delay others."""

import contextlib
import http.client
import itertools
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nanogrid import names, wire
from support.gateway_fixtures import MARKS
from support.gateway_results import finish, result_of
from support.gateway_world import Gateway, World, wait_for
from support.hostile_archives import VALID, make

pytestmark = MARKS


@pytest.fixture(scope="module")
def small(world: World) -> Iterator[Gateway]:
    """A gateway that takes small bodies only."""
    with world.gateway(max_upload_bytes=20_000, max_input_bytes=1000) as small:
        yield small


@pytest.fixture(scope="module")
def impatient(world: World) -> Iterator[Gateway]:
    """A gateway that gives a request one second to arrive."""
    with world.gateway(read_seconds=1) as impatient:
        yield impatient


def test_too_large_bodies_are_refused_unread(small: Gateway) -> None:
    large = small.run("f-1", "x" * 1000)
    assert (large.status, large.reason) == (413, "RequestTooLarge")
    archive = make(("main.py", uuid.uuid4().bytes * 100_000), compression=0)
    assert small.upload(archive).reason == "RequestTooLarge"
    assert small.upload(VALID).status == 201


@pytest.mark.parametrize(("path", "chunks"), [("/run", 1), ("/upload", 40)])
def test_a_large_body_of_unknown_length_gets_an_answer(
    small: Gateway, path: str, chunks: int
) -> None:
    kind = 'multipart/form-data; boundary="b"' if path == "/upload" else "application/json"
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", small.port, timeout=60)
        body = iter([b"--b\r\nContent-Disposition: form-data; name=file; filename=x\r\n\r\n"])
        body = itertools.chain(body, [b"x" * 16_000] * chunks)
        connection.request("POST", path, body, {"Content-Type": kind}, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["error"]["reason"] == "RequestTooLarge"
        connection.close()


HEAD = b"POST /run HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SLOW = {"head": HEAD + b"X-Padding:", "body": HEAD + b"Content-Length: 900\r\n\r\n{"}


def slow_sender(port: int, begin: bytes, stop: threading.Event) -> bytes:
    """Send a byte every 0.2 s until there is an answer or the connection is closed."""
    got = b""
    with socket.create_connection(("127.0.0.1", port)) as client, contextlib.suppress(OSError):
        client.settimeout(0.2)
        client.sendall(begin)
        while not stop.is_set() and not got:
            with contextlib.suppress(TimeoutError):
                got = client.recv(100) or b"cut off"
            client.sendall(b" " if not got else b"")
        client.settimeout(60)
        while got and (more := client.recv(1000)):
            got += more
    return got


@pytest.mark.parametrize("part", SLOW)
def test_a_request_that_arrives_too_slowly_is_answered_408(impatient: Gateway, part: str) -> None:
    answer = slow_sender(impatient.port, SLOW[part], threading.Event())
    function_id = impatient.upload(VALID).json["functionId"]
    assert impatient.run(function_id, {"after": 0}).status == 200
    head, _, body = answer.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"Content-Type: application/json" in head
    assert "Send it faster" in json.loads(body)["error"]["message"]


def test_slow_senders_do_not_delay_others(world: World) -> None:
    stop = threading.Event()
    count = 50
    with world.gateway(max_slow_clients=30, read_seconds=300) as gateway:
        function_id = gateway.upload(VALID).json["functionId"]

        def times() -> list[float]:
            answers = [gateway.run(function_id, {"after": 0}) for _ in range(20)]
            assert {a.status for a in answers} == {200}
            return sorted(a.seconds for a in answers)

        alone = times()
        with ThreadPoolExecutor(count) as pool:
            begins = list(SLOW.values()) * (count // 2)
            calls = [pool.submit(slow_sender, gateway.port, b, stop) for b in begins]
            try:
                wait_for(lambda: sum(c.done() for c in calls) >= count - 30, "the refusals")
                among = times()
                waiting = sum(not c.done() for c in calls)
            finally:
                stop.set()
            refused = [answer for c in calls if (answer := c.result(60))]
    print(f"\nmedian {alone[10] * 1000:.0f} ms alone, {among[10] * 1000:.0f} ms among slow senders")

    assert 0 < waiting <= 30
    assert b"HTTP/1.1 408" in {answer[:12] for answer in refused} <= {b"HTTP/1.1 408", b"cut off"}


def test_clients_that_read_nothing_of_their_answers_do_not_delay_others(
    world: World,
) -> None:
    request_id, size = f"unread-{uuid.uuid4().hex[:8]}", 32 << 20
    # Fewer threads than such clients.
    with world.gateway(storage_threads=4, read_seconds=2) as small:
        function_id = small.upload(VALID).json["functionId"]
        small.run(function_id, None, requestId=request_id, wait=0)
        key = names.outputs_prefix(request_id) + "large"
        world.s3.put(key, bytes(size))
        output = wire.OutputFile(
            path="large",
            url=f"s3://user-data/{key}",
            bytes=size,
            sha256="0" * 64,
            content_type="text/plain",
        )
        job = world.cluster.job(request_id)
        finish(world.cluster, job, result_of(job, outputs=[output]))
        request = f"GET /runs/{request_id}/outputs/large HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(idle_reader(small.port)) for _ in range(6)]
            for client in clients:
                client.sendall(request)
            heads = [client.recv(12) for client in clients]
            began = time.monotonic()
            whole = small.call("GET", f"/runs/{request_id}/outputs/large")
            print(f"\nserved after {time.monotonic() - began:.1f} s, next to six that do not read")
            wait_for(lambda: connections(small.port) == 0, "the end of their connections")
            rest = [drained(client) for client in clients]

    assert set(heads) == {b"HTTP/1.1 200"}
    assert (whole.status, len(whole.body)) == (200, size)
    assert max(rest) < size


@contextlib.contextmanager
def idle_reader(port: int) -> Iterator[socket.socket]:
    """A connection with a small receive buffer."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        client.connect(("127.0.0.1", port))
        yield client


def connections(port: int) -> int:
    """The number of established connections of the server on this port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(f":{port:04X}" in line.split()[1] and line.split()[3] == "01" for line in lines)


def drained(client: socket.socket) -> int:
    """The number of bytes until the connection ends."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while data := client.recv(1 << 16):
            count += len(data)
    return count
