"""The listener of the gateway survives whatever ends its connection."""

import asyncio
from typing import Any

import pytest

from nanogrid_gateway.api.runs.subscriptions import Owner, Subscriptions


class Connection:
    """A connection that fails in one way when it subscribes."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def subscribe(self, _: str) -> None:
        raise self._error

    async def aclose(self) -> None:
        pass


class Client:
    """Gives connections that fail, one after another."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self.connections = 0
        self.second = asyncio.Event()

    def pubsub(self) -> Any:
        self.connections += 1
        if self.connections > 1:
            self.second.set()
        return Connection(self._error)


async def nothing() -> None:
    """The owner does nothing on a new connection."""


def owner() -> Owner:
    return Owner(
        wanted=list,
        is_wanted=lambda _: False,
        on_message=lambda *_: None,
        on_connected=nothing,
        on_lost=lambda: None,
        unused="unused",
    )


@pytest.mark.parametrize(
    "error",
    [ConnectionRefusedError("no"), RuntimeError("odd"), asyncio.CancelledError()],
    ids=["refused", "another error", "a stray cancellation"],
)
async def test_the_listener_connects_again(error: BaseException) -> None:
    client: Any = Client(error)
    subscriptions = Subscriptions(client, 1.0, owner())
    listening = asyncio.create_task(subscriptions.run())
    async with asyncio.timeout(20):
        await client.second.wait()
    listening.cancel()
    await asyncio.sleep(0)
    assert not listening.done(), "only stop() ends it"
    subscriptions.stop()
    with pytest.raises(asyncio.CancelledError):
        await listening
