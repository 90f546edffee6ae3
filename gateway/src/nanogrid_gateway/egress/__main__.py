"""Starts the egress proxy: settings, listeners, probes and graceful shutdown.

On SIGTERM the proxy reports that it is not ready and still accepts tunnels until the Service must
have noticed. Then it accepts none, waits for the open ones, and ends those that are left.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from nanogrid.connections import Connections
from nanogrid.metrics.registry import Metrics
from nanogrid.public_addresses import is_public
from nanogrid.refusals import Refusal, error_body
from nanogrid.settings import help_text
from nanogrid_gateway import command_line
from nanogrid_gateway.draining import drain
from nanogrid_gateway.egress.answers import probe_answer
from nanogrid_gateway.egress.proxy import EgressProxy
from nanogrid_gateway.egress.resolve import Resolver
from nanogrid_gateway.egress.settings import EgressSettings
from nanogrid_gateway.egress.stream_server import StreamServer
from nanogrid_gateway.egress.tunnel import Stream
from nanogrid_gateway.metrics import EgressMetrics, EgressOutcome, EgressRefusal

log = logging.getLogger("nanogrid.egress")

PROBES: Final = 50  # connections of probes at a time


class Probes:
    """``/healthz``: 200 while the process works. ``/readyz``: 503 while it drains."""

    def __init__(self) -> None:
        self.draining = False

    async def handle(self, connections: Connections, client: Stream) -> None:
        """Answer one probe."""
        try:
            head = await client.reader.readuntil(b"\r\n\r\n")
            with connections.request(client.writer.transport):
                ready = not (self.draining and head.startswith(b"GET /readyz "))
                client.writer.write(probe_answer(ready))
                await client.writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as e:
            log.debug("probe: %s", e)
        finally:
            client.writer.close()


async def run(settings: EgressSettings, metrics: EgressMetrics) -> None:
    """Run the proxy until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    resolver = Resolver(settings.resolve_seconds)
    proxy = EgressProxy(settings, resolver, partial(is_public, denied=settings.denied), metrics)
    try:
        await serve(settings, proxy, metrics, stop)
    finally:
        resolver.close()


async def serve(
    settings: EgressSettings,
    proxy: EgressProxy,
    metrics: EgressMetrics,
    stop: asyncio.Event,
    listening: Callable[[int, int], None] = lambda port, probe_port: None,
) -> None:
    """Serve until ``stop`` is set, then drain; ``listening`` is called with the ports."""
    probes = Probes()

    def counted_body(refusal: Refusal) -> dict[str, Any]:
        _count(metrics, refusal)
        return error_body(refusal)

    tunnels = StreamServer(proxy.handle, settings, settings.max_connections, counted_body)
    probed = StreamServer(probes.handle, settings, PROBES, error_body)
    metrics.connections_open.set_function(lambda: len(tunnels.connections))
    listener = await tunnels.connections.listen(settings.host, settings.port)
    probe_listener = await probed.connections.listen(settings.host, settings.probe_port)
    sweeping = [asyncio.create_task(each.connections.sweep_forever()) for each in (tunnels, probed)]
    try:
        await listener.start_serving()
        await probe_listener.start_serving()
        port, probe_port = (s.sockets[0].getsockname()[1] for s in (listener, probe_listener))
        log.info("listening on port %d", port)
        listening(port, probe_port)
        await stop.wait()
        probes.draining = True
        log.info("draining: %d connections", len(tunnels.connections))
        await asyncio.sleep(settings.drain_start_seconds)
        await tunnels.connections.stop_listening(listener)
        await drain(tunnels.connections, settings.drain_seconds, log)
        await tunnels.stop()
        log.info("stopped")
    finally:
        listener.close()
        probe_listener.close()
        for task in sweeping:
            task.cancel()


def _count(metrics: EgressMetrics, refusal: Refusal) -> None:
    """Count a client that is refused before the proxy has its request."""
    if refusal.status == 429:
        metrics.refused(EgressRefusal.TOO_MANY_CONNECTIONS)
        metrics.ended(EgressOutcome.DENIED)  # no one else counts this connection
    else:
        metrics.refused(EgressRefusal.TOO_SLOW)


def main() -> int:
    """Entry point; exit code 2 means that a setting is wrong."""
    description = "Tunnels from sandboxes to the names in the allow-lists of their jobs."
    settings = command_line.start(
        "egress", description, help_text(EgressSettings), EgressSettings.from_env
    )
    metrics = Metrics("egress")
    server = run(settings, EgressMetrics(metrics))
    return command_line.run(metrics, settings.metrics_port, server)


if __name__ == "__main__":
    sys.exit(main())
