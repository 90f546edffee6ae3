"""Bounds for clients of an asyncio server, below HTTP: slow heads, silence, and how many there are.

aiohttp has no timeout for a request's head. Each connection has a protocol in front of aiohttp's
own: it sees when bytes arrive, and the application reports when a head is complete.

When there are too many connections, one that waits for a request makes room for a new one. So a
client that only opens connections does not keep others out, and the kubelet's probes get through.
"""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from nanogrid.addresses import client_key, is_in, plain
from nanogrid.connection_limits import GRACE_SECONDS, ConnectionLimits, Slots
from nanogrid.listening import create_server
from nanogrid.refusals import (
    Refusal,
    http_answer,
    too_many_connections,
    too_many_slow_clients,
    too_slow,
)

SWEEP_SECONDS: Final = 0.25
# Bytes that a refused client still sends are dropped for this long: a reset would arrive before the
# answer.
LINGER_SECONDS: Final = 10.0
BACKLOG: Final = 512


class Connections:
    """All connections of a server.

    Args:
        make: makes aiohttp's protocol of one connection.
        limits: the bounds.
        slow: one slot for each slow client.
        body: makes the JSON of a refusal.
        clock: seconds.
    """

    def __init__(
        self,
        make: Callable[[], asyncio.Protocol],
        limits: ConnectionLimits,
        slow: Slots,
        body: Callable[[Refusal], dict[str, Any]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._body = body
        self._open: dict[asyncio.BaseTransport, Connection] = {}
        self._addresses: Counter[str] = Counter()
        self.limits = limits
        self.slow = slow
        self.clock = clock

    def __len__(self) -> int:
        return len(self._open)

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Listen; the server does not accept connections before ``start_serving``.

        Args:
            host: an address or a name; empty or ``::`` means all addresses, IPv6 and IPv4.
            port: 0 chooses one.
        """
        server = await create_server(self.protocol, host, port, BACKLOG)
        for sock in server.sockets:
            # Connections inherit it: one ends when its client reads nothing for so long.
            timeout = int(1000 * self.limits.read_seconds)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout)
        return server

    @staticmethod
    async def stop_listening(server: asyncio.Server) -> None:
        """Accept no more; asyncio would lose what it accepted in the turn of ``server.close``."""
        for sock in server.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        await asyncio.sleep(0)  # an accepted connection gets its protocol
        server.close()

    def protocol(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return Connection(self._make(), self)

    def add(self, transport: asyncio.Transport, connection: "Connection") -> Refusal | None:
        """Note a connection; or return why there is no room for it."""
        refusal = self._make_room(connection)
        if refusal is None:
            self._open[transport] = connection
            self._addresses[connection.address] += 1
        return refusal

    def remove(self, transport: asyncio.BaseTransport) -> None:
        """Forget a connection."""
        connection = self._open.pop(transport, None)
        if connection is not None:
            self._addresses[connection.address] -= 1
            if not self._addresses[connection.address]:
                del self._addresses[connection.address]

    @contextmanager
    def request(self, transport: asyncio.BaseTransport | None) -> Iterator["Exchange"]:
        """The application has a request, until it has answered.

        The application sets ``closing`` to False if the connection takes further requests.
        """
        connection = self._open.get(transport) if transport is not None else None
        exchange = Exchange()
        if connection is not None:
            connection.begin()
        try:
            yield exchange
        finally:
            if connection is not None:
                connection.end(closing=exchange.closing)

    def answer(self, refusal: Refusal) -> bytes:
        """The HTTP answer of a refusal."""
        return http_answer(refusal, self._body(refusal))

    def sweep(self) -> None:
        """Refuse the requests that came too slowly until now."""
        now = self.clock()
        for connection in list(self._open.values()):
            connection.check(now)

    async def sweep_forever(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def close_idle(self) -> None:
        """Close the connections without a request."""
        for connection in list(self._open.values()):
            connection.close_if_idle()

    def _make_room(self, new: "Connection") -> Refusal | None:
        limits, address = self.limits, new.address
        own = self._addresses[address]
        if own >= limits.most_per_address and not is_in(new.peer, limits.proxies):
            victim = self._waiting(address)
            most = limits.most_per_address
        elif len(self._open) >= limits.most:
            victim, most = self._waiting(self._busiest_waiting()), limits.most
        else:
            return None
        if victim is None:
            return too_many_connections(most)
        victim.abort()
        return None

    def _busiest_waiting(self) -> str:
        """The address with the most connections that wait for a request."""
        waiting = Counter(c.address for c in self._open.values() if not c.in_request)
        return waiting.most_common(1)[0][0] if waiting else ""

    def _waiting(self, address: str) -> "Connection | None":
        """The connection of an address that waits longest for a request, new ones first."""
        waiting = [c for c in self._open.values() if c.address == address and not c.in_request]
        return min(waiting, key=lambda c: c.has_served, default=None)


@dataclass(slots=True)
class Exchange:
    """One request and its answer."""

    closing: bool = True


class Connection(asyncio.Protocol):
    """One connection: hands everything to aiohttp's protocol, and watches the heads of requests."""

    def __init__(self, inner: asyncio.Protocol, owner: Connections) -> None:
        self._inner = inner
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._last = False  # after the last request of this connection
        self._silent_since: float | None = None
        self._head_since: float | None = None
        self._is_slow = False
        self._lingers_until: float | None = None
        self._dropped = 0
        self.peer = ""
        self.address = ""
        self.in_request = False
        self.has_served = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"{transport!r} is not a stream")
        self.peer = plain(str((transport.get_extra_info("peername") or ("",))[0]))
        self.address = client_key(self.peer)
        refusal = self._owner.add(transport, self)
        if refusal is not None:
            transport.write(self._owner.answer(refusal))
            transport.close()
            return
        self._transport = transport
        self._silent_since = self._owner.clock()
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        if self._transport is None:
            return  # there were too many
        self._owner.remove(self._transport)
        self._free_slot()
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or of a client that was refused."""
        if self._transport is None:
            return
        self._silent_since = None
        if self._last or self._lingers_until is not None:
            self._dropped += len(data)
            if self._dropped > self._owner.limits.linger_bytes:
                self.abort()
                return
        elif self._head_since is None and not self.in_request:
            self._head_since = self._owner.clock()
        if self._lingers_until is None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        return self._inner.eof_received() if self._transport is not None else None

    def pause_writing(self) -> None:
        """The client reads more slowly than the application writes."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client has read enough."""
        self._inner.resume_writing()

    def begin(self) -> None:
        """A head is complete."""
        self.in_request = self.has_served = True
        self._head_since = None
        self._free_slot()

    def end(self, *, closing: bool) -> None:
        """The request is answered; ``closing``: this was the connection's last request."""
        self.in_request = False
        self._last = closing

    def check(self, now: float) -> None:
        """Refuse a head that takes too long, or end a connection that lingers too long."""
        seconds = self._owner.limits.read_seconds
        if self._lingers_until is not None:
            if now >= self._lingers_until:
                self.abort()
        elif self._head_since is not None:
            self._check_head(now - self._head_since, seconds, now)
        elif self._silent_since is not None and now - self._silent_since >= seconds:
            self.close_if_idle()

    def _check_head(self, waited: float, seconds: float, now: float) -> None:
        if waited >= seconds:
            self._refuse(too_slow(seconds), now)
        elif waited >= GRACE_SECONDS and not self._is_slow:
            self._is_slow = self._owner.slow.take()
            if not self._is_slow:
                self._refuse(too_many_slow_clients(), now)

    def close_if_idle(self) -> None:
        """Close the connection unless it has a request, or drops bytes after its last answer."""
        lingers = self._last or self._lingers_until is not None
        busy = self.in_request or self._head_since is not None or lingers
        if self._transport is not None and not busy:
            self._transport.close()

    def abort(self) -> None:
        """End the connection immediately."""
        if self._transport is not None:
            self._owner.remove(self._transport)  # it makes room now, not when the loop reports it
            self._transport.abort()

    def _refuse(self, refusal: Refusal, now: float) -> None:
        """Answer in place of the application, which does not know of this request."""
        self._head_since = None
        self._free_slot()
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(self._owner.answer(refusal))
        self._transport.write_eof()
        self._lingers_until = now + LINGER_SECONDS

    def _free_slot(self) -> None:
        if self._is_slow:
            self._is_slow = False
            self._owner.slow.give_back()
