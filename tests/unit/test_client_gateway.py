"""Functions over the gateway: results at once, later, and after lost answers."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from nanogrid.client import Client, Forbidden, InvalidRequest, NotConfigured, WaitTimeout
from nanogrid.client.gateway import Gateway
from unit.client_server import NAMESPACE, result_of, serving

Json = dict[str, Any]
JOB = {"metadata": {"name": "n", "namespace": NAMESPACE, "uid": "u"}, "spec": {}}
RESULT = result_of(JOB, stdout="done\n")


class FakeGateway(ThreadingHTTPServer):
    """Gives the scripted answers, one per request; None ends the connection."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[tuple[int, Json] | None] = []
        self.seen: list[tuple[str, str, Json, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        return  # clients that leave


class _Handler(BaseHTTPRequestHandler):
    server: FakeGateway
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_json = self.headers.get("Content-Type", "") == "application/json"
        body = json.loads(sent) if is_json else {"raw": sent}
        token = self.headers.get("Authorization", "")
        self.server.seen.append((self.command, self.path, body, token))
        script = self.server.script
        answer = script.pop(0) if len(script) > 1 else script[0]
        if answer is None:
            self.close_connection = True
            return
        data = json.dumps(answer[1]).encode()
        self.send_response(answer[0])
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_DELETE = do_GET


PENDING = (202, {"phase": "Running", "links": {"self": "/runs/r1"}})


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    server = FakeGateway()
    with serving(server):
        yield server


def test_a_result_at_once(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRID_TOKEN", "t")
    gateway.script = [(200, RESULT)]
    client = Client(gateway_url=gateway.url)
    assert client.invoke("f", {"x": 1}, request_id="r1", timeout=9).stdout == "done\n"
    method, path, body, token = gateway.seen[0]
    assert (method, path, token) == ("POST", "/run", "Bearer t")
    assert (body["functionId"], body["inputData"], body["requestId"]) == ("f", {"x": 1}, "r1")
    assert 0 < body["wait"] <= 9


def test_a_run_that_takes_longer_is_asked_for_until_it_ends(gateway: FakeGateway) -> None:
    gateway.script = [PENDING, PENDING, (200, RESULT)]
    assert Gateway.connect(gateway.url).run("f")["stdout"] == "done\n"
    assert [(m, p) for m, p, *_ in gateway.seen] == [
        ("POST", "/run"), ("GET", "/runs/r1"), ("GET", "/runs/r1"),
    ]  # fmt: skip


def test_lost_answers_and_a_busy_gateway_repeat_the_same_request(gateway: FakeGateway) -> None:
    gateway.script = [None, (503, {"error": {"reason": "X", "message": "m"}}), (200, RESULT)]
    assert Gateway.connect(gateway.url).run("f")
    (sent,) = {body["requestId"] for _, _, body, _ in gateway.seen}
    assert sent
    assert len(gateway.seen) == 3


def test_the_deadline_ends_the_wait(gateway: FakeGateway) -> None:
    gateway.script = [PENDING]
    with pytest.raises(WaitTimeout, match=r"0\.3 s"):
        Gateway.connect(gateway.url).run("f", timeout=0.3)


def test_a_refusal_is_final(gateway: FakeGateway) -> None:
    gateway.script = [(403, {"error": {"reason": "Forbidden", "message": "not yours"}})]
    with pytest.raises(Forbidden, match="not yours"):
        Gateway.connect(gateway.url).run("f")
    assert len(gateway.seen) == 1


def test_a_run_is_looked_up(gateway: FakeGateway) -> None:
    gateway.script = [PENDING, (200, RESULT)]
    found = Gateway.connect(gateway.url)
    assert found.get("r1")[0] is False
    assert found.get("r1") == (True, RESULT)


def test_run_sends_a_function_to_the_gateway_that_the_client_was_made_with(
    gateway: FakeGateway,
) -> None:
    gateway.script = [(200, RESULT)]
    heard: list[str] = []
    client = Client(gateway_url=gateway.url)
    result = client.run(function="f", input=[1], version=2, on_stdout=heard.append)
    assert (result.stdout, heard) == ("done\n", ["done\n"])
    _, path, body, _ = gateway.seen[0]
    assert (path, body["functionId"], body["inputData"], body["version"]) == ("/run", "f", [1], 2)
    with pytest.raises(InvalidRequest, match="takes no memory"):
        client.run(function="f", memory="64Mi")


def test_an_upload_is_a_form_with_a_file(gateway: FakeGateway) -> None:
    gateway.script = [(201, {"functionId": "f", "version": 1})]
    found = Gateway.connect(gateway.url)
    assert found.upload(b"PK", functionId=None, memory="64Mi")["version"] == 1
    _, path, body, _ = gateway.seen[0]
    assert path == "/upload"
    assert b'name="file"; filename="code.zip"' in body["raw"]
    assert b'name="memory"\r\n\r\n64Mi' in body["raw"]
    assert b"functionId" not in body["raw"]


def test_a_started_run_is_waited_for(gateway: FakeGateway) -> None:
    found = Gateway.connect(gateway.url)
    gateway.script = [PENDING]
    assert found.start("f", None, "r 1") == "r 1"
    gateway.script = [PENDING, None, (200, RESULT)]
    assert found.wait("r 1") == RESULT
    assert gateway.seen[-1][1] == "/runs/r%201"
    gateway.script = [PENDING]
    with pytest.raises(WaitTimeout):
        found.wait("r", 0.1)


def test_without_an_address_there_is_a_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NANOGRID_URL", raising=False)
    with pytest.raises(NotConfigured) as caught:
        Client().invoke("f")
    assert "NANOGRID_URL" in caught.value.cure
