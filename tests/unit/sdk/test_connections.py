"""Heads of requests that arrive slowly, clients that are refused, and the number of connections."""

import asyncio
import json
from typing import Any

import pytest

from nanogrid.addresses import networks
from nanogrid.connection_limits import GRACE_SECONDS, ConnectionLimits, Slots
from nanogrid.connections import LINGER_SECONDS, Connections
from support.fake_clock import FakeClock

READ_SECONDS = 30.0
LINGER_BYTES = 4000


class Inner(asyncio.Protocol):
    """Notes what reaches aiohttp's protocol."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("made")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append("lost")

    def data_received(self, data: bytes) -> None:
        self.data += data

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


class FakeTransport(asyncio.Transport):
    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 40_000)})
        self.written = b""
        self.state = "open"

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def write_eof(self) -> None:
        self.state = "half closed"

    def is_closing(self) -> bool:
        return self.state in ("closed", "aborted")

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"


class Client:
    """One connection, and aiohttp's protocol behind it."""

    def __init__(self, connections: Connections, inners: list[Inner], address: str) -> None:
        self.protocol = connections.protocol()
        self.inner = inners[-1]
        self.connections = connections
        self.transport = FakeTransport(address)
        self.protocol.connection_made(self.transport)

    def send(self, data: bytes = b"GET ") -> None:
        self.protocol.data_received(data)

    def refusal(self, status: int = 408) -> str:
        head, _, body = self.transport.written.partition(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status} ".encode())
        assert f"Content-Length: {len(body)}".encode() in head
        return str(json.loads(body)["message"])

    def begin(self) -> None:
        """A head is complete; the request has no answer yet."""
        self.exchange = self.connections.request(self.transport)
        self.state = self.exchange.__enter__()

    def end(self, *, closing: bool) -> None:
        """The request is answered."""
        self.state.closing = closing
        self.exchange.__exit__(None, None, None)


class Served:
    """A server's connections on a clock that a test moves."""

    def __init__(
        self, most: int = 10, slow: int = 1, most_per_address: int = 10, proxies: str = ""
    ) -> None:
        self.clock, self.slow = FakeClock(), Slots(slow)
        self.inners: list[Inner] = []
        self.connections = Connections(
            self._inner,
            ConnectionLimits(
                read_seconds=READ_SECONDS,
                most=most,
                most_per_address=most_per_address,
                proxies=networks(proxies, "PROXIES"),
                linger_bytes=LINGER_BYTES,
            ),
            self.slow,
            lambda refusal: {"message": refusal.message},
            clock=self.clock,
        )

    def _inner(self) -> Inner:
        self.inners.append(Inner())
        return self.inners[-1]

    def client(self, address: str = "10.0.0.1") -> Client:
        return Client(self.connections, self.inners, address)

    def after(self, seconds: float) -> None:
        self.clock.now += seconds
        self.connections.sweep()


def test_bytes_and_pauses_reach_aiohttp() -> None:
    client = Served().client()
    client.send(b"GET / ")
    client.send(b"HTTP/1.1")
    client.protocol.pause_writing()
    client.protocol.resume_writing()
    client.protocol.connection_lost(None)

    assert client.inner.data == b"GET / HTTP/1.1"
    assert client.inner.calls == ["made", "pause", "resume", "lost"]


def test_a_slow_head_needs_a_slot_and_is_refused_at_the_deadline() -> None:
    served = Served(slow=1)
    client = served.client()
    client.send()

    served.after(GRACE_SECONDS)
    assert not served.slow.take()
    served.after(READ_SECONDS)

    assert "not complete after 30 s" in client.refusal()
    assert client.transport.state == "half closed"
    assert served.slow.take()


def test_without_a_free_slot_a_slow_head_is_refused_immediately() -> None:
    served = Served(slow=0)
    client = served.client()
    client.send()
    served.after(GRACE_SECONDS)

    assert "Too many clients" in client.refusal()


def test_the_time_of_a_head_begins_with_its_first_byte() -> None:
    served = Served()
    client = served.client()
    served.after(0.9 * READ_SECONDS)
    client.send()
    served.after(0.9 * READ_SECONDS)

    assert (client.transport.state, client.transport.written) == ("open", b"")


def test_a_silent_connection_is_closed_after_the_same_time() -> None:
    served = Served()
    silent, kept = served.client(), served.client()
    kept.send()
    kept.begin()
    kept.end(closing=False)
    served.after(READ_SECONDS)

    assert (silent.transport.state, silent.transport.written) == ("closed", b"")
    assert kept.transport.state == "open"


def test_a_complete_head_has_no_deadline_and_frees_its_slot() -> None:
    served = Served(slow=1)
    client = served.client()
    client.send()
    served.after(GRACE_SECONDS)
    client.begin()
    assert served.slow.take()
    served.after(10 * READ_SECONDS)
    assert client.transport.written == b""

    client.end(closing=False)
    client.send(b"GET /next")
    served.after(READ_SECONDS)
    assert "not complete after 30 s" in client.refusal()


def test_a_lost_connection_frees_its_slot() -> None:
    served = Served(slow=1)
    client = served.client()
    client.send()
    served.after(GRACE_SECONDS)
    client.protocol.connection_lost(ConnectionResetError())

    assert served.slow.take()
    assert len(served.connections) == 0


def test_bytes_after_a_refusal_are_dropped_for_a_while() -> None:
    served = Served(slow=0)
    client = served.client()
    client.send()
    served.after(GRACE_SECONDS)
    client.send(b"more")

    assert client.inner.data == b"GET "
    served.after(LINGER_SECONDS / 2)
    assert client.transport.state == "half closed"
    served.after(LINGER_SECONDS)
    assert client.transport.state == "aborted"


@pytest.mark.parametrize("refused", [True, False])
def test_a_client_that_sends_too_much_after_the_last_answer_is_cut_off(refused: bool) -> None:
    served = Served(slow=0)
    client = served.client()
    client.send()
    if refused:
        served.after(GRACE_SECONDS)
    else:
        client.begin()
        client.end(closing=True)
    chunk = bytes(LINGER_BYTES // 4)
    for _ in range(4):
        client.protocol.data_received(chunk)
    assert client.transport.state != "aborted"
    client.send(b"x")

    assert client.transport.state == "aborted"


def test_bytes_after_the_last_answer_are_no_new_head() -> None:
    served = Served(slow=0)
    client = served.client()
    client.send()
    client.begin()
    client.end(closing=True)
    client.send(b"the rest of a body")
    served.after(READ_SECONDS)

    assert client.transport.written == b""


def test_connections_with_requests_refuse_further_ones() -> None:
    served = Served(most=1)
    first = served.client()
    first.send()
    first.begin()
    second = served.client("10.0.0.2")

    assert (first.transport.state, second.transport.state) == ("open", "closed")
    assert "1 connections" in second.refusal(429)
    assert b"Retry-After: 1\r\n" in second.transport.written
    second.send()
    second.protocol.connection_lost(None)
    assert (second.inner.calls, second.inner.data) == ([], b"")
    first.protocol.connection_lost(None)
    assert served.client().transport.state == "open"


def test_a_waiting_connection_of_the_busiest_address_makes_room() -> None:
    served = Served(most=4)
    other = served.client("10.0.0.2")
    kept, silent, newer = (served.client("10.0.0.3") for _ in range(3))
    kept.send()
    kept.begin()
    kept.end(closing=False)
    probe = served.client("10.0.0.4")

    assert silent.transport.state == "aborted"
    states = [c.transport.state for c in (other, kept, newer, probe)]
    assert states == ["open"] * 4
    silent.protocol.connection_lost(None)
    assert len(served.connections) == 4


def test_an_address_with_too_many_connections_displaces_only_its_own() -> None:
    served = Served(most=10, most_per_address=2)
    other = served.client("10.0.0.2")
    first, second, third = (served.client("10.0.0.3") for _ in range(3))

    assert first.transport.state == "aborted"
    assert [c.transport.state for c in (other, second, third)] == ["open"] * 3
    for client in (second, third):
        client.send()
        client.begin()
    assert "2 connections" in served.client("10.0.0.3").refusal(429)
    assert served.client("10.0.0.5").transport.state == "open"


def test_a_trusted_proxy_may_use_all_connections() -> None:
    served = Served(most=10, most_per_address=2, proxies="10.0.0.0/30")
    clients = [served.client("10.0.0.1") for _ in range(5)]

    assert {c.transport.state for c in clients} == {"open"}
    assert served.client("10.0.0.9").transport.state == "open"


def test_only_idle_connections_are_closed_at_the_end() -> None:
    served = Served()
    idle, sending, busy, answered, last = clients = [served.client() for _ in range(5)]
    for client in (sending, busy, answered, last):
        client.send()
    for client in (busy, answered, last):
        client.begin()
    answered.end(closing=False)
    last.end(closing=True)
    served.connections.close_idle()

    assert {client for client in clients if client.transport.state == "closed"} == {idle, answered}
