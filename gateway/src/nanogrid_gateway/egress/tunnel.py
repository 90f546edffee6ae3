"""Copies bytes in both directions, with bounds for time and memory."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

CHUNK_BYTES: Final = 64 * 1024
MOST_ADDRESSES: Final = 4  # of one name

CLOSED: Final = "closed"
BROKEN: Final = "connection lost"
IDLE: Final = "idle for too long"
TOO_LONG: Final = "open for too long"


@dataclass(slots=True)
class Stream:
    """One side of a tunnel."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def bound(self, idle_seconds: float) -> None:
        """Limit what waits in memory, and how long unread bytes wait in the kernel."""
        transport = self.writer.transport
        transport.set_write_buffer_limits(high=CHUNK_BYTES)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * idle_seconds))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@dataclass(slots=True)
class Transfer:
    """Bytes that have gone through a tunnel: from the sandbox, and to it.

    Args:
        add_up: receives each number of bytes from the sandbox, in addition.
        add_down: receives each number of bytes to the sandbox, in addition.
    """

    add_up: Callable[[int], None]
    add_down: Callable[[int], None]
    up: int = 0
    down: int = 0


async def connect(addresses: list[str], port: int, seconds: float) -> tuple[str, Stream]:
    """Connect to the first address that answers; returns it with the stream.

    It tries the first ``MOST_ADDRESSES``, one after another.

    Raises:
        TimeoutError: no address answered in time.
        OSError: no address takes the connection.
    """
    end = asyncio.get_running_loop().time() + seconds
    last: OSError = OSError("no address")
    tried = addresses[:MOST_ADDRESSES]
    for number, address in enumerate(tried):
        left = end - asyncio.get_running_loop().time()
        try:
            # An address needs no resolution; each address gets its share of the time.
            async with asyncio.timeout(max(left, 0) / (len(tried) - number)):
                opened = await asyncio.open_connection(address, port, limit=CHUNK_BYTES)
            return address, Stream(*opened)
        except OSError as e:  # also TimeoutError
            last = e
    raise last


async def relay(
    client: Stream, upstream: Stream, transfer: Transfer, *, idle: float, duration: float
) -> str:
    """Copy until both sides have sent everything; returns why the tunnel ended.

    When one side sends no more, the other can go on. A side that reads slowly makes the other
    wait.

    Args:
        client: the sandbox.
        upstream: the name that it asked for.
        transfer: is kept up to date.
        idle: seconds without a byte, after which the tunnel ends.
        duration: the longest life of the tunnel, in seconds.
    """
    now = asyncio.get_running_loop().time
    end = now() + duration
    broken = False

    def up(size: int) -> None:
        transfer.up += size
        transfer.add_up(size)
        progress()

    def down(size: int) -> None:
        transfer.down += size
        transfer.add_down(size)
        progress()

    def progress() -> None:
        if not limit.expired():
            limit.reschedule(min(end, now() + idle))

    try:
        async with asyncio.timeout_at(min(end, now() + idle)) as limit:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(_copy(client.reader, upstream.writer, up))
                    group.create_task(_copy(upstream.reader, client.writer, down))
            except* OSError:
                broken = True
    except TimeoutError:
        return TOO_LONG if now() >= end else IDLE
    return BROKEN if broken else CLOSED


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]
) -> None:
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
        count(len(data))
    writer.write_eof()
