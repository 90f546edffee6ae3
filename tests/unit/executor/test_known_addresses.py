"""The agent looks the operator's name up once, and again when its address does not answer."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid_executor.agent import known_addresses
from nanogrid_executor.agent.network_gate import NetworkGate
from nanogrid_executor.agent.report_client import post_once
from support.executor_pod import Operator, operator
from support.s3_server import free_port

HOST = b"operator.test"


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """The names that were looked up; the operator's is this machine."""
    found: list[object] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == HOST:
            found.append(host)
            host = "127.0.0.1"
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield found
    known_addresses.forget(HOST.decode())


@pytest.fixture
def token(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text("the-token")
    return str(file)


def url_of(server: Operator) -> str:
    return server.url.replace("127.0.0.1", HOST.decode())


def test_the_report_needs_no_look_up_after_the_gate(looked_up: list[object], token: str) -> None:
    with operator() as server:
        # The positive control: without the gate each request looks the name up.
        assert [post_once(url_of(server), token, b"{}") for _ in range(2)] == [204, 204]
        assert len(looked_up) == 2
        looked_up.clear()

        gate = NetworkGate(url_of(server), free_port())  # nothing listens there, so it is closed
        gate.start()
        assert gate.wait() == ""
        assert post_once(url_of(server), token, b"{}") == 204

    assert len(looked_up) == 1
    assert server.headers[-1]["Host"].startswith("operator.test:"), "the request names the host"


def test_an_address_that_does_not_answer_is_looked_up_again(
    looked_up: list[object], token: str
) -> None:
    known_addresses.remember(HOST.decode(), "127.0.0.9")  # nothing listens there
    with operator() as server:
        assert isinstance(post_once(url_of(server), token, b"{}"), str)
        assert looked_up == []
        assert post_once(url_of(server), token, b"{}") == 204
    assert len(looked_up) == 1
