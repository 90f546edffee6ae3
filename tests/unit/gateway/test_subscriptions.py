"""The listener of the gateway survives whatever ends its connection."""

import asyncio
from typing import Any

import pytest
import redis.exceptions

import nanogrid_gateway.api.runs.subscriptions as subscriptions_module
from nanogrid_gateway.api.runs.subscriptions import Owner, Subscriptions


class Connection:
    """A connection that fails in one way when it subscribes."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def subscribe(self, _: str) -> None:
        raise self._error

    async def aclose(self) -> None:
        pass


class Listener:
    """Gives connections that fail, one after another."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self.connections = 0
        self.second = asyncio.Event()

    async def pubsub(self) -> Any:
        self.connections += 1
        if self.connections > 1:
            self.second.set()
        return Connection(self._error)


class Silence:
    """A connection that works and has no messages."""

    async def subscribe(self, _: str) -> None:
        pass

    async def get_message(self, **_: float) -> None:
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        pass


class Moving(Listener):
    """Its first connection works, and then another server has the messages."""

    async def pubsub(self) -> Any:
        second = await super().pubsub()
        return Silence() if self.connections == 1 else second

    async def check(self) -> None:
        raise self._error


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
    client: Any = Listener(error)
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


async def test_a_connection_to_the_wrong_server_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server answers, so only the check can find it."""
    monkeypatch.setattr(subscriptions_module, "CHECK_SECONDS", 0.01)
    listener: Any = Moving(redis.exceptions.ConnectionError("the slot has moved"))
    subscriptions = Subscriptions(listener, 60.0, owner())
    listening = asyncio.create_task(subscriptions.run())
    async with asyncio.timeout(20):
        await listener.second.wait()
    subscriptions.stop()
    await asyncio.gather(listening, return_exceptions=True)
    assert "the slot has moved" in subscriptions.error
