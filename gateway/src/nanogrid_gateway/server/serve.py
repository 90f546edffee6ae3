"""Runs the server until SIGTERM, then drains it.

On SIGTERM requests that wait for a result are answered with 202. No new connection is accepted,
connections without a request are closed, and the others have ``grace_seconds`` to end.
"""

import asyncio
import logging
import signal
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from nanogrid.connection_limits import ConnectionLimits
from nanogrid.connections import Connections
from nanogrid.traces.export import Tracing
from nanogrid_gateway.api.errors import refused
from nanogrid_gateway.api.gateway import Gateway, open_gateway
from nanogrid_gateway.api.settings import Settings
from nanogrid_gateway.counted import count_others
from nanogrid_gateway.draining import drain
from nanogrid_gateway.metrics import GatewayMetrics
from nanogrid_gateway.server.app import create_app

log = logging.getLogger("nanogrid.gateway")

READ_BUFFER_BYTES: Final = 64 * 1024  # of a body that is not read yet, per connection
MAX_LINE_BYTES: Final = 8190
CANCEL_SECONDS: Final = 1.0  # for requests that did not end in time


class _NoClientErrors(logging.Filter):
    """Drops malformed requests, which aiohttp logs with a traceback each."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is not about a malformed request."""
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


async def run(settings: Settings, metrics: GatewayMetrics, tracing: Tracing) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    logging.getLogger("aiohttp.server").addFilter(_NoClientErrors())
    gateway = await open_gateway(settings, metrics)
    try:
        await serve(gateway, stop, tracing)
    finally:
        await gateway.close()


async def serve(gateway: Gateway, stop: asyncio.Event, tracing: Tracing | None = None) -> None:
    """Serve a gateway until ``stop`` is set, then drain."""
    settings, answers = gateway.settings, gateway.metrics.answers
    app = create_app(gateway, lambda: connections, tracing)
    runner = web.AppRunner(
        app,
        handler_cancellation=True,  # a client that leaves frees what its request holds
        access_log_class=count_others(answers),
        auto_decompress=False,
        keepalive_timeout=settings.keepalive_seconds,
        max_line_size=MAX_LINE_BYTES,
        read_bufsize=READ_BUFFER_BYTES,
        shutdown_timeout=CANCEL_SECONDS,
    )
    await runner.setup()
    if runner.server is None:
        raise RuntimeError("the runner has no server after its setup")
    connections = Connections(
        runner.server,
        ConnectionLimits(
            read_seconds=settings.read_seconds,
            most=settings.max_connections,
            most_per_address=settings.max_connections_per_address,
            proxies=settings.proxies,
        ),
        gateway.slow_clients,
        lambda refusal: answers.refusal(refused(refusal).body()),
    )
    server = await connections.listen(settings.host, settings.port)
    try:
        async with asyncio.TaskGroup() as group:
            sweeping = group.create_task(connections.sweep_forever())
            await server.start_serving()
            log.info("listening on port %d", settings.port)
            await stop.wait()
            log.info("stopping: %d connections", len(connections))
            gateway.feed.drain()
            await connections.stop_listening(server)
            await drain(connections, settings.grace_seconds, log)
            sweeping.cancel()
    finally:
        server.close()
        await runner.cleanup()
