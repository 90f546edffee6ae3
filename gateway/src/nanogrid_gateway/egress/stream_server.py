"""A server with bounded connections, and one task for each of them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from nanogrid.connection_limits import ConnectionLimits, Slots
from nanogrid.connections import Connections
from nanogrid.refusals import Refusal
from nanogrid_gateway.egress.request import HEAD_BYTES
from nanogrid_gateway.egress.settings import EgressSettings
from nanogrid_gateway.egress.tunnel import Stream

log = logging.getLogger("nanogrid.egress")

Handler = Callable[[Connections, Stream], Coroutine[Any, Any, None]]


class StreamServer:
    """Calls ``handle`` for each connection.

    Args:
        handle: serves a connection.
        settings: more limits.
        most: connections at a time.
        body: makes the JSON of a refusal.
    """

    def __init__(
        self,
        handle: Handler,
        settings: EgressSettings,
        most: int,
        body: Callable[[Refusal], dict[str, Any]],
    ) -> None:
        self._handle = handle
        self._tasks: set[asyncio.Task[None]] = set()
        limits = ConnectionLimits(
            read_seconds=settings.read_seconds,
            most=most,
            most_per_address=min(most, settings.max_connections_per_address),
        )
        slow = Slots(settings.max_slow_clients)
        self.connections = Connections(self._protocol, limits, slow, body)

    async def stop(self) -> None:
        """End all tasks, and wait for them."""
        running = list(self._tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=HEAD_BYTES, loop=loop)
        return asyncio.StreamReaderProtocol(reader, self._connected, loop=loop)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of asyncio itself would report its cancellation as an error.
        task = asyncio.create_task(self._handle(self.connections, Stream(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a connection ended with an error", exc_info=error)
