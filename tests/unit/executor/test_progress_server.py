"""The health endpoint of a session while its inputs are copied."""

import contextlib
import json
import socket
from http.client import HTTPConnection, HTTPException
from typing import Any

import pytest

from nanogrid_executor.inputs.fetch import Progress
from nanogrid_executor.inputs.progress_server import CLIENTS, Look, ProgressServer
from support.s3_server import free_port
from support.waiting import wait_until

CLIENT_SECONDS = 0.5


def progress_server(look: Look = lambda: None) -> ProgressServer:
    return ProgressServer("r-1", look, client_seconds=CLIENT_SECONDS, stop_seconds=0.02)


def ask(
    port: int, method: str = "GET", path: str = "/health", host: str = "127.0.0.1"
) -> tuple[int, Any, str | None]:
    connection = HTTPConnection(host, port, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    return response.status, body, response.getheader("Retry-After")


def test_health_reports_the_progress_of_the_sync() -> None:
    seen: list[Progress] = []
    server = progress_server(lambda: seen[0] if seen else None)
    server.start(free_port())
    try:
        status, body, after = ask(server.port)
        assert (status, body["status"], after) == (503, "initializing", "1")
        assert body["sync"]["totalFiles"] == 0

        progress = Progress()
        progress.expect(3, 300)
        progress.add(120)
        progress.file_done()
        seen.append(progress)

        sync = ask(server.port)[1]["sync"]
        assert sync.pop("durationMillis") >= 0
        assert sync == {"files": 1, "bytes": 120, "totalFiles": 3, "totalBytes": 300}
        assert ask(server.port, "POST")[0] == 503
    finally:
        server.stop()


@pytest.mark.parametrize("ipv6", [True, False])
def test_it_listens_on_ipv6_too_if_the_kernel_has_it(
    ipv6: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not ipv6:
        monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    server = progress_server()
    server.start(free_port())
    try:
        assert ask(server.port)[0] == 503
        if ipv6:
            assert ask(server.port, host="::1")[0] == 503
    finally:
        server.stop()


def test_the_id_of_the_session_is_not_told_but_can_be_checked() -> None:
    server = progress_server()
    server.start(free_port())
    try:
        assert "r-1" not in json.dumps(ask(server.port)[1])
        assert ask(server.port, path="/health?session_id=r-1")[0] == 503
        status, body, _ = ask(server.port, path="/health?session_id=another")
        assert (status, body["error"]["reason"]) == (409, "WrongSession")
        assert "r-1" not in json.dumps(body)
    finally:
        server.stop()


def test_silent_clients_leave_room_after_a_short_time() -> None:
    server = progress_server()
    server.start(free_port())
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(2 * CLIENTS):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))

            def served() -> bool:
                try:
                    return ask(server.port)[0] == 503
                except (OSError, HTTPException):
                    return False

            wait_until(served, CLIENT_SECONDS + 10)
    finally:
        server.stop()


def test_a_port_in_use_is_only_logged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = (progress_server() for _ in range(2))
    first.start(free_port())
    try:
        second.start(first.port)
        assert second.port == 0
        assert "progress-not-served" in capsys.readouterr().out
    finally:
        first.stop()
        second.stop()
