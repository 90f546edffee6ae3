"""The launcher's answer to the agent's question whether it holds the network."""

import json
import socket
from collections.abc import Iterator

import pytest

from nanogrid_executor.agent import execution
from nanogrid_executor.agent.execution import Sandbox
from nanogrid_executor.agent.network_gate import Bounds
from nanogrid_executor.launcher import frames

LONGEST = Bounds().longest


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Sandbox]]:
    """The launcher's end, and the agent's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield theirs, Sandbox(ours)


def test_an_empty_error_means_that_code_may_start(pair: tuple[socket.socket, Sandbox]) -> None:
    launcher, sandbox = pair
    frames.send_json(launcher, frames.HELD, {"error": ""})
    assert sandbox.hold_network(LONGEST) == ""
    assert frames.receive(launcher) == (frames.HOLD, b"")


@pytest.mark.security
@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (frames.HELD, json.dumps({"error": "[Errno 22] no"}).encode()),
        (frames.HELD, b"{}"),
        (frames.HELD, b'{"error": null}'),
        (frames.HELD, b'{"error": 0}'),
        (frames.HELD, b"[]"),
        (frames.HELD, b""),
        (frames.HELD, b"\xff"),
        (frames.READY, b""),
        (frames.STARTED, b'{"pid": 1, "startMillis": 1}'),
    ],
)
def test_any_other_answer_means_that_code_waits(
    pair: tuple[socket.socket, Sandbox], kind: bytes, payload: bytes
) -> None:
    launcher, sandbox = pair
    frames.send(launcher, kind, payload)
    assert sandbox.hold_network(LONGEST) != ""


@pytest.mark.security
def test_no_answer_means_that_code_waits(
    pair: tuple[socket.socket, Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, sandbox = pair
    monkeypatch.setattr(execution, "HELD_SECONDS", 0.05)
    assert "timed out" in sandbox.hold_network(LONGEST)
    launcher.close()
    assert sandbox.hold_network(LONGEST) != ""
