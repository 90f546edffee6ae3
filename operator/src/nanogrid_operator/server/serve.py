"""Serves the operator's HTTP API, with bounds on its clients."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from nanogrid.connection_limits import ConnectionLimits, Slots
from nanogrid.connections import Connections
from nanogrid.refusals import Refusal
from nanogrid_operator.server.results import ResultsApi

LIMITS: Final = ConnectionLimits(read_seconds=10.0, most=1000, most_per_address=300)
SLOW_CLIENTS: Final = 100

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(
    api: ResultsApi, host: str, port: int, limits: ConnectionLimits = LIMITS
) -> AsyncIterator[int]:
    """Serve until the block ends; yields the port."""

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        with connections.request(request.transport) as exchange:
            response = await handler(request)
            exchange.closing = not request.content.is_eof()
            if exchange.closing:  # unread bytes must not become the next request
                response.force_close()
            return response

    app = api.app()
    app.middlewares.append(watch)
    # Agents do not compress. A small body of a client without a token could grow a thousandfold.
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    if runner.server is None:
        raise RuntimeError("the runner has no server after its setup")
    connections = Connections(runner.server, limits, Slots(SLOW_CLIENTS), _body)
    server = await connections.listen(host, port)
    sweeping = asyncio.create_task(connections.sweep_forever(), name="sweep")
    try:
        await server.start_serving()
        yield server.sockets[0].getsockname()[1]
    finally:
        await connections.stop_listening(server)
        await runner.cleanup()
        sweeping.cancel()


def _body(refusal: Refusal) -> dict[str, Any]:
    return {"error": refusal.message}
