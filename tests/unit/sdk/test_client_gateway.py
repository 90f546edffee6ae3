"""Functions over the gateway: immediate results, later results, lost answers."""

import pytest

from nanogrid.client import Client, Forbidden, InvalidRequest, NotConfigured, WaitTimeout
from nanogrid.client.gateway import Gateway
from support.fake_gateway import PENDING, RESULT, FakeGateway
from support.fast_timing import fast_timing


def connected(server: FakeGateway) -> Gateway:
    """A client whose pauses take no time."""
    return Gateway.connect(server.url, timing=fast_timing())


def test_an_immediate_result(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOGRID_TOKEN", "t")
    gateway.script = [(200, RESULT)]
    client = Client(gateway_url=gateway.url)
    assert client.invoke("f", {"x": 1}, request_id="r1", timeout=9).stdout == "done\n"
    method, path, body, token = gateway.seen[0]
    assert (method, path, token) == ("POST", "/run", "Bearer t")
    assert (body["functionId"], body["inputData"], body["requestId"]) == ("f", {"x": 1}, "r1")
    assert 0 < body["wait"] <= 9


def test_a_longer_run_is_polled_until_it_ends(gateway: FakeGateway) -> None:
    gateway.script = [PENDING, PENDING, (200, RESULT)]
    assert connected(gateway).run("f")["stdout"] == "done\n"
    assert [(m, p) for m, p, *_ in gateway.seen] == [
        ("POST", "/run"), ("GET", "/runs/r1"), ("GET", "/runs/r1"),
    ]  # fmt: skip


def test_lost_answers_and_a_busy_gateway_repeat_the_same_request(gateway: FakeGateway) -> None:
    gateway.script = [None, (503, {"error": {"reason": "X", "message": "m"}}), (200, RESULT)]
    assert connected(gateway).run("f")
    (sent,) = {body["requestId"] for _, _, body, _ in gateway.seen}
    assert sent
    assert len(gateway.seen) == 3


def test_the_deadline_ends_the_wait(gateway: FakeGateway) -> None:
    gateway.script = [PENDING]
    gateway.retry_after = "1"
    with pytest.raises(WaitTimeout, match="within 3 s"):
        connected(gateway).run("f", timeout=3)
    assert 3 <= len(gateway.seen) <= 5


def test_a_refusal_is_final(gateway: FakeGateway) -> None:
    gateway.script = [(403, {"error": {"reason": "Forbidden", "message": "access denied"}})]
    with pytest.raises(Forbidden, match="access denied"):
        connected(gateway).run("f")
    assert len(gateway.seen) == 1


def test_get_returns_state_or_result_of_a_run(gateway: FakeGateway) -> None:
    gateway.script = [PENDING, (200, RESULT)]
    found = connected(gateway)
    assert found.get("r1")[0] is False
    assert found.get("r1") == (True, RESULT)


def test_run_uses_the_gateway_of_the_client(gateway: FakeGateway) -> None:
    gateway.script = [(200, RESULT)]
    texts: list[str] = []
    client = Client(gateway_url=gateway.url)
    result = client.run(function="f", input=[1], version=2, pool="fast", on_stdout=texts.append)
    assert (result.stdout, texts) == ("done\n", ["done\n"])
    _, path, body, _ = gateway.seen[0]
    assert (path, body["functionId"], body["inputData"], body["version"]) == ("/run", "f", [1], 2)
    assert body["pool"] == "fast"
    with pytest.raises(InvalidRequest, match="does not accept memory"):
        client.run(function="f", memory="64Mi")


def test_an_upload_is_a_form_with_a_file(gateway: FakeGateway) -> None:
    gateway.script = [(201, {"functionId": "f", "version": 1})]
    found = connected(gateway)
    assert found.upload(b"PK", functionId=None, memory="64Mi")["version"] == 1
    _, path, body, _ = gateway.seen[0]
    assert path == "/upload"
    assert b'name="file"; filename="code.zip"' in body["raw"]
    assert b'name="memory"\r\n\r\n64Mi' in body["raw"]
    assert b"functionId" not in body["raw"]


def test_wait_returns_the_result_of_a_started_run(gateway: FakeGateway) -> None:
    found = connected(gateway)
    gateway.script = [PENDING]
    assert found.start("f", None, "r 1") == "r 1"
    gateway.script = [PENDING, None, (200, RESULT)]
    assert found.wait("r 1") == RESULT
    assert gateway.seen[-1][1] == "/runs/r%201"
    gateway.script = [PENDING]
    gateway.retry_after = "1"
    with pytest.raises(WaitTimeout):
        found.wait("r", 3)


def test_a_missing_address_has_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NANOGRID_URL", raising=False)
    with pytest.raises(NotConfigured) as caught:
        Client().invoke("f")
    assert "NANOGRID_URL" in caught.value.hint
