"""One Redis pub/sub connection for all channels; it is watched by PING and replaced when it fails.

While a channel has a waiter, PING follows after 1 s of silence. The owner is called after each
reconnection: messages of the time in between must be read elsewhere.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio.client import PubSub

from nanogrid.backoff import jitter
from nanogrid.redis_clients import REDIS_ERRORS
from nanogrid.redis_listener import Listener

log = logging.getLogger("nanogrid.gateway.feed")

PING_SECONDS: Final = 1.0  # of silence, while a channel has a waiter
IDLE_PING_SECONDS: Final = 5.0
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
CHECK_SECONDS: Final = 5.0  # between checks that the connection leads to the right server


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Where the messages go.

    Args:
        wanted: the channels that are subscribed again on a new connection.
        is_wanted: whether a channel is one of them.
        on_message: takes a channel and a message.
        on_connected: awaited when all wanted channels are subscribed on a new connection.
        on_lost: called when the connection is lost.
        unused: a channel without messages, which keeps the connection subscribed.
    """

    wanted: Callable[[], Iterable[str]]
    is_wanted: Callable[[str], bool]
    on_message: Callable[[str, str], None]
    on_connected: Callable[[], Awaitable[None]]
    on_lost: Callable[[], None]
    unused: str


class Subscriptions:
    """The connection.

    Args:
        listener: makes connections; it must not retry by itself.
        seconds: timeout for each answer of Redis.
        owner: where the messages go.
    """

    def __init__(self, listener: Listener, seconds: float, owner: Owner) -> None:
        self._listener = listener
        self._seconds = seconds
        self._owner = owner
        self._pubsub: PubSub | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._order = asyncio.Lock()  # of commands on the connection
        self._acknowledged: set[str] = set()
        self._pending: dict[str, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.error = "not connected yet"  # why it is not connected; empty when it is

    def is_new(self, channel: str) -> bool:
        """Whether Redis has not confirmed this channel."""
        return channel not in self._acknowledged

    async def subscribe(self, channel: str) -> None:
        """Subscribe, and wait until Redis confirms it.

        Raises:
            RedisError, OSError, TimeoutError: it did not.
        """
        future = self._pending.get(channel)
        if future is None:
            future = self._pending[channel] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_retrieved)
            # A task of its own: a caller that is cancelled must not interrupt the command.
            self._start(self._send(channel, future))
        async with asyncio.timeout(self._seconds):
            await asyncio.shield(future)

    def unsubscribe(self, channel: str) -> None:
        """Unsubscribe later, unless the channel is wanted again by then."""
        if channel in self._acknowledged:
            self._acknowledged.discard(channel)
            self._start(self._end(channel))

    async def run(self) -> None:
        """Stay connected until :meth:`stop`, with growing pauses after failures."""
        self._task = asyncio.current_task()
        pause, wait = FIRST_PAUSE_SECONDS, 0.0
        while True:
            try:
                await asyncio.sleep(wait)
                wait = 0.0
                pause = await self._connect(pause)
            except asyncio.CancelledError:
                # A timeout of the client or a task group can leave a cancellation behind when its
                # connection ends at the same time. It must not end the listener for good.
                if self._stopped:
                    raise
                log.warning("ignored a cancellation that is not a stop")
                wait = jitter(FIRST_PAUSE_SECONDS)

    def stop(self) -> None:
        """End :meth:`run`."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def _connect(self, pause: float) -> float:
        """Listen until the connection is lost, then wait; returns the next pause in seconds."""
        try:
            await self._listen()
        except* REDIS_ERRORS as group:
            error = group.exceptions[0]
            if not self.error:
                pause = FIRST_PAUSE_SECONDS
                log.warning("Redis is unavailable, watching the jobs instead: %r", error)
            self.error = f"{type(error).__name__}: {error}"
        except* Exception as group:
            # A lost connection can raise more than the client's own errors (a RuntimeError,
            # for example): none of them may end the loop.
            log.exception("the listener failed, trying again")
            self.error = type(group.exceptions[0]).__name__
        finally:
            self._lost()
        await asyncio.sleep(jitter(pause))
        return min(LONGEST_PAUSE_SECONDS, 2 * pause)

    async def _listen(self) -> None:
        """One connection, until it is lost."""
        pubsub = await self._listener.pubsub()
        try:
            await pubsub.subscribe(self._owner.unused)
            self._pubsub = pubsub
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(pubsub))
                group.create_task(self._restore())
                group.create_task(self._follow())
        finally:
            self._pubsub = None
            await pubsub.aclose()

    async def _restore(self) -> None:
        while missing := [c for c in self._owner.wanted() if self.is_new(c)]:
            for channel in missing:
                await self.subscribe(channel)
        self.error = ""
        await self._owner.on_connected()

    async def _follow(self) -> None:
        """End the connection when its server no longer has the results, but still answers."""
        while True:
            await asyncio.sleep(jitter(CHECK_SECONDS))
            await self._listener.check()

    async def _read(self, pubsub: PubSub) -> None:
        pinged = False
        while True:
            silence = PING_SECONDS if any(True for _ in self._owner.wanted()) else IDLE_PING_SECONDS
            message = await pubsub.get_message(timeout=self._seconds if pinged else silence)
            if message is None:
                if pinged:
                    raise TimeoutError(f"no answer to PING for {self._seconds:g} s")
                await pubsub.ping()
            pinged = message is None
            if message is not None:
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        channel = str(message["channel"])
        if message["type"] == "subscribe":
            self._acknowledged.add(channel)
            future = self._pending.pop(channel, None)
            if future is not None and not future.done():
                future.set_result(None)
            if channel != self._owner.unused and not self._owner.is_wanted(channel):
                self.unsubscribe(channel)  # its waiter has left in the meantime
        elif message["type"] == "message":
            self._owner.on_message(channel, message["data"])

    async def _send(self, channel: str, future: "asyncio.Future[None]") -> None:
        try:
            async with self._order:
                if self._pubsub is None:
                    raise TimeoutError("the connection was lost")
                await self._pubsub.subscribe(channel)
        except REDIS_ERRORS as e:
            if self._pending.get(channel) is future:
                del self._pending[channel]
            if not future.done():
                future.set_exception(e)

    async def _end(self, channel: str) -> None:
        async with self._order:
            # A new waiter may want the channel by now.
            if self._pubsub is None or self._owner.is_wanted(channel):
                return
            try:
                await self._pubsub.unsubscribe(channel)
            except REDIS_ERRORS as e:
                log.info("cannot unsubscribe, the reader will notice: %r", e)

    def _lost(self) -> None:
        self._acknowledged.clear()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(TimeoutError("the connection was lost"))
        self._pending.clear()
        self._owner.on_lost()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _retrieved(future: "asyncio.Future[None]") -> None:
    """Marks the future's error as seen: there may be no caller left to see it."""
    if not future.cancelled():
        future.exception()
