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
from typing import Final

from nanogrid.connections import Connections
from nanogrid.public_addresses import is_public
from nanogrid.settings import help_text
from nanogrid_gateway.command_line import start
from nanogrid_gateway.draining import drain
from nanogrid_gateway.egress.answers import probe_answer
from nanogrid_gateway.egress.proxy import EgressProxy
from nanogrid_gateway.egress.resolve import Resolver
from nanogrid_gateway.egress.settings import EgressSettings
from nanogrid_gateway.egress.stream_server import StreamServer
from nanogrid_gateway.egress.tunnel import Stream

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


async def run(settings: EgressSettings) -> None:
    """Run the proxy until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    resolver = Resolver(settings.resolve_seconds)
    proxy = EgressProxy(settings, resolver, partial(is_public, denied=settings.denied))
    try:
        await serve(settings, proxy, stop)
    finally:
        resolver.close()


async def serve(
    settings: EgressSettings,
    proxy: EgressProxy,
    stop: asyncio.Event,
    listening: Callable[[int, int], None] = lambda port, probe_port: None,
) -> None:
    """Serve until ``stop`` is set, then drain; ``listening`` is called with the ports."""
    probes = Probes()
    tunnels = StreamServer(proxy.handle, settings, settings.max_connections)
    probed = StreamServer(probes.handle, settings, PROBES)
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


def main() -> int:
    """Entry point; exit code 2 means that a setting is wrong."""
    description = "Tunnels from sandboxes to the names in the allow-lists of their jobs."
    settings = start(
        "nanogrid-egress", description, help_text(EgressSettings), EgressSettings.from_env
    )
    asyncio.run(run(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
