"""The end of a server: its connections end before the process does."""

import asyncio
import logging
import time
from typing import Final

from nanogrid.connections import Connections

POLL_SECONDS: Final = 0.05


async def drain(connections: Connections, seconds: float, log: logging.Logger) -> None:
    """Wait until all connections have ended, idle ones by being closed."""
    deadline = time.monotonic() + seconds
    connections.close_idle()
    while len(connections) and time.monotonic() < deadline:
        await asyncio.sleep(POLL_SECONDS)
        connections.close_idle()
    if len(connections):
        log.warning("%d connections did not end within %g s", len(connections), seconds)
