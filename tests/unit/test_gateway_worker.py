"""How long the gateway's reader of requests waits for a client, and for how many clients."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from werkzeug.exceptions import RequestTimeout

from nanogrid_gateway.api import worker
from nanogrid_gateway.api.worker import Reader, linger

SECONDS = 0.05


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "GRACE_SECONDS", SECONDS)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's and the client's end of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def reader(sock: socket.socket, waits: threading.BoundedSemaphore) -> Reader:
    made = Reader(sock, SECONDS, waits)
    made.begin()
    return made


def test_bytes_that_are_there_need_no_permit(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    waits = threading.BoundedSemaphore(1)
    theirs.sendall(b"here")
    with waits:
        assert reader(ours, waits).chunk() == b"here"
    theirs.close()
    assert reader(ours, waits).chunk() == b""


def test_a_client_that_lets_wait_needs_a_permit_and_gives_it_back(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    waits = threading.BoundedSemaphore(1)
    with waits, pytest.raises(RequestTimeout, match="Too many clients"):
        reader(ends[0], waits).chunk()
    for _ in range(2):
        with pytest.raises(RequestTimeout, match="bytes a second"):
            reader(ends[0], waits).chunk()


def test_haste_saves_no_time_up(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    hasty = reader(ours, threading.BoundedSemaphore(1))
    count = worker.BYTES_PER_SECOND  # worth a second
    theirs.sendall(bytes(count))
    assert len(hasty.chunk(count)) == count

    assert hasty._deadline <= time.monotonic() + SECONDS
    with pytest.raises(RequestTimeout):
        hasty.chunk()


def test_what_is_sent_after_the_answer_is_dropped_until_the_client_goes(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    leaving = threading.Thread(target=linger, args=(ours,))
    leaving.start()
    theirs.sendall(bytes(1 << 20))
    assert theirs.recv(1) == b""  # nothing more comes
    theirs.close()
    leaving.join(10)
    assert not leaving.is_alive()

    linger(ours)  # of a client that has gone already
