"""Servers that a test can stop and start again on the same address."""

import contextlib
from collections.abc import AsyncIterator
from typing import Protocol, TypeVar


class Restartable(Protocol):
    """A server with an explicit start and stop; a second stop does nothing."""

    async def start(self) -> None:
        """Listen."""

    async def stop(self) -> None:
        """Stop listening and abort open connections."""


S = TypeVar("S", bound=Restartable)


@contextlib.asynccontextmanager
async def running(server: S) -> AsyncIterator[S]:
    """Serve until the block ends."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
