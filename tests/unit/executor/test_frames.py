"""The protocol between agent and launcher."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid_executor.launcher import frames

Pair = tuple[socket.socket, socket.socket]


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=1), st.binary(max_size=500)), max_size=9))
def test_what_is_sent_is_received(sent: list[tuple[bytes, bytes]]) -> None:
    left, right = socket.socketpair()
    with left, right:
        for kind, payload in sent:
            frames.send(left, kind, payload)
        left.shutdown(socket.SHUT_WR)
        assert [frames.receive(right) for _ in sent] == sent
        assert frames.receive(right) is None


@pytest.mark.parametrize("cut", [b"O", b"O\0\0\0", b"O\0\0\0\5abc"])
def test_an_incomplete_frame(pair: Pair, cut: bytes) -> None:
    pair[0].sendall(cut)
    pair[0].close()
    with pytest.raises(frames.ProtocolError, match="inside a frame"):
        frames.receive(pair[1])


def test_a_header_without_its_payload(pair: Pair) -> None:
    pair[0].sendall(b"O\0\0\0\5")
    pair[0].close()
    with pytest.raises(frames.ProtocolError, match="inside a frame"):
        frames.receive(pair[1])


def test_a_frame_that_is_too_long(pair: Pair) -> None:
    pair[0].sendall(frames.HEADER.pack(frames.STDOUT, frames.MAX_PAYLOAD + 1))
    with pytest.raises(frames.ProtocolError, match="the maximum is"):
        frames.receive(pair[1])
