"""The end of a server: no connection is forgotten, in whatever turn of the loop it comes."""

import asyncio
import socket

import pytest

from nanogrid.connection_limits import ConnectionLimits, Slots
from nanogrid.connections import Connections


@pytest.mark.parametrize("turns", range(5))
async def test_a_connection_that_comes_during_the_stop_ends_or_is_served(turns: int) -> None:
    """asyncio alone forgets a connection that it has accepted when the server closes."""
    limits = ConnectionLimits(read_seconds=600, most=10, most_per_address=10)
    connections = Connections(asyncio.Protocol, limits, Slots(1), lambda refusal: {})
    server = await connections.listen("127.0.0.1", 0)
    await server.start_serving()
    # The kernel completes the connection; the loop accepts it in one of the next turns.
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        client.setblocking(False)
        for _ in range(turns):
            await asyncio.sleep(0)
        await connections.stop_listening(server)
        for _ in range(3):
            await asyncio.sleep(0)
        connections.close_idle()

        async with asyncio.timeout(60):
            try:
                received = await asyncio.get_running_loop().sock_recv(client, 1)
            except ConnectionResetError:
                received = b""  # it was not accepted any more

    assert received == b""
    assert len(connections) == 0
