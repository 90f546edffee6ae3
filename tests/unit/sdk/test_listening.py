"""Servers listen on IPv6 and IPv4, and on IPv4 alone where the kernel has no IPv6."""

import asyncio
import socket

import pytest

from nanogrid.connection_limits import ConnectionLimits, Slots
from nanogrid.connections import Connections
from nanogrid.listening import all_addresses, listen_on_all

BOTH = ("127.0.0.1", "::1")
LIMITS = ConnectionLimits(read_seconds=30.0, most=10, most_per_address=10)


def without_ipv6(patch: pytest.MonkeyPatch) -> None:
    """A kernel that was started with ipv6.disable=1 makes no socket of IPv6."""
    patch.setattr(socket, "has_dualstack_ipv6", lambda: False)


def test_one_socket_takes_both_families() -> None:
    with listen_on_all(0, 5) as listener:
        port = listener.getsockname()[1]
        for address in BOTH:
            socket.create_connection((address, port), 5).close()
            listener.accept()[0].close()


def test_without_ipv6_it_is_a_socket_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    without_ipv6(monkeypatch)
    assert all_addresses() == "0.0.0.0"
    with listen_on_all(0, 5) as listener:
        assert listener.family == socket.AF_INET
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), 5).close()


def test_a_port_in_use_is_an_error() -> None:
    with listen_on_all(0, 5) as listener, pytest.raises(OSError, match="in use"):
        listen_on_all(listener.getsockname()[1], 5)


class Greeter(asyncio.Protocol):
    """Closes the connection; the client has been accepted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def peers_of(host: str, clients: tuple[str, ...]) -> list[str]:
    """The peers that a server sees, in the order of its clients."""
    connections = Connections(Greeter, LIMITS, Slots(1), lambda refusal: {})
    seen = []
    add = connections.add

    def note(transport: asyncio.Transport, connection: object) -> object:
        seen.append(connection.peer)  # type: ignore[attr-defined]
        return add(transport, connection)  # type: ignore[arg-type]

    connections.add = note  # type: ignore[method-assign, assignment]
    server = await connections.listen(host, 0)
    await server.start_serving()
    for client in clients:
        reader, writer = await asyncio.open_connection(client, server.sockets[0].getsockname()[1])
        await reader.read()
        writer.close()
    server.close()
    return seen


@pytest.mark.parametrize("host", ["", "::"])
async def test_a_server_on_all_addresses_sees_plain_addresses(host: str) -> None:
    assert await peers_of(host, BOTH) == list(BOTH)


@pytest.mark.parametrize("host", BOTH)
async def test_a_server_on_one_address(host: str) -> None:
    assert await peers_of(host, (host,)) == [host]


async def test_a_server_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    without_ipv6(monkeypatch)
    assert await peers_of("", ("127.0.0.1",)) == ["127.0.0.1"]
