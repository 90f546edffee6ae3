"""Who waits for which result, and the one Redis connection that all of them share.

A waiter subscribes, and only then its job is created: a result cannot be published before somebody
listens. The connection is watched by PING, often while somebody waits; when it is lost or silent,
the jobs themselves are watched until it is back, and then the results that were stored meanwhile
are read. So each result comes by one way or the other, and nobody has to know by which.
"""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import redis.asyncio
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import RedisError

from nanogrid import names
from nanogrid.status import Phase
from nanogrid_gateway.api.loop import Loop
from nanogrid_gateway.api.settings import Settings
from nanogrid_gateway.router.cluster import ClusterApi
from nanogrid_gateway.router.reflector import Reflector, Sink

log = logging.getLogger("nanogrid.gateway.feed")

Json = dict[str, Any]

PING_SECONDS: Final = 1.0  # of silence, while somebody waits
IDLE_PING_SECONDS: Final = 5.0
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
WATCH_SECONDS: Final = 120.0
RESYNC_SECONDS: Final = 300.0
TERMINAL: Final = frozenset(phase.value for phase in Phase if phase.terminal)
_AWAY: Final = (RedisError, OSError, TimeoutError)


class RedisAway(Exception):
    """Redis did not answer."""


@dataclass(frozen=True, slots=True)
class News:
    """What a waiter hears: a result's JSON, an ended job, or that the gateway stops."""

    text: str | None = None
    job: Json | None = None


@dataclass(eq=False)
class Waiter:
    """One request that waits for the result of one requestId."""

    request_id: str
    _news: "SimpleQueue[News]" = field(default_factory=SimpleQueue)

    def offer(self, news: News) -> None:
        """Tell it, from any thread."""
        self._news.put(news)

    def next(self, seconds: float) -> News | None:
        """The next news, or None when there was none for so long."""
        try:
            return self._news.get(timeout=max(0.0, seconds))
        except Empty:
            return None


class Feed:
    """Brings results to waiters. Its state belongs to the event loop's thread."""

    def __init__(self, loop: Loop, cluster: ClusterApi, jobs: str, settings: Settings) -> None:
        self._loop = loop
        self._cluster = cluster
        self._jobs = jobs
        self._seconds = settings.redis_timeout_seconds
        self._url = _with_password(settings)
        self._waiters: dict[str, set[Waiter]] = {}
        self._watched: set[Waiter] = set()  # Redis has another job's result for them
        self._acknowledged: set[str] = set()
        self._asked: dict[str, asyncio.Future[None]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._pubsub: PubSub | None = None
        self._trouble = "not connected yet"
        self._silent_until = 0.0
        self.draining = False
        self._commands, self._listener, self._order = loop.call(self._open(), self._seconds)
        self._running = loop.start(self._run())

    @property
    def trouble(self) -> str:
        """Why Redis is away; empty when it is there."""
        return self._trouble

    @property
    def alive(self) -> bool:
        """Whether the listener runs; it never ends by itself."""
        return not self._running.done()

    def subscribe(self, waiter: Waiter) -> None:
        """Let a waiter hear of its result; when this returns, no later one can be missed."""
        self._loop.call(self._add(waiter), 2 * self._seconds + 1)
        if self.draining:
            waiter.offer(News())

    def leave(self, waiter: Waiter) -> None:
        """The waiter waits no more."""
        self._loop.start(self._remove(waiter))

    def watch_job(self, waiter: Waiter) -> None:
        """Redis will not have this waiter's result: watch its job."""
        self._loop.soon(self._flag, waiter)

    def stored(self, request_id: str) -> str | None:
        """The result that Redis keeps.

        Raises:
            RedisAway: it did not answer.
        """
        if self._trouble or self._silent:
            raise RedisAway(self._trouble or "it was silent a moment ago")
        try:
            return self._loop.call(self._read_key(request_id), 3 * self._seconds)
        except _AWAY as e:
            self._note_silence()
            raise RedisAway(f"{type(e).__name__}: {e}") from e

    def drain(self) -> None:
        """Send all waiters home; callable from a signal handler."""
        self.draining = True
        self._loop.soon(self._send_home)

    def close(self) -> None:
        """Close the connections."""
        self._running.cancel()
        self._loop.call(self._close(), 2 * self._seconds)

    @property
    def _silent(self) -> bool:
        return time.monotonic() < self._silent_until

    def _note_silence(self) -> None:
        """Let nobody else try in vain until PING has found out how Redis is."""
        self._silent_until = time.monotonic() + IDLE_PING_SECONDS + self._seconds

    async def _read_key(self, request_id: str) -> str | None:
        found = await self._commands.get(names.result_key(request_id))
        return None if found is None else str(found)

    async def _open(self) -> tuple[redis.asyncio.Redis, redis.asyncio.Redis, asyncio.Lock]:
        options: dict[str, Any] = {
            "decode_responses": True,
            "encoding_errors": "replace",
            "socket_timeout": self._seconds,
            "socket_connect_timeout": self._seconds,
        }
        # A connection may be stale; a server that keeps silent will do so a second time.
        backoff = ExponentialWithJitterBackoff(base=0.05, cap=0.5)
        once = Retry(backoff, 1, supported_errors=(redis.exceptions.ConnectionError,))
        commands = redis.asyncio.Redis.from_url(
            self._url, max_connections=16, retry=once, **options
        )
        # Its reconnections must be seen here: what was published meanwhile has to be read.
        listener = redis.asyncio.Redis.from_url(self._url, retry=Retry(NoBackoff(), 0), **options)
        return commands, listener, asyncio.Lock()

    async def _close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await self._commands.aclose()
        await self._listener.aclose()

    async def _run(self) -> None:
        """Listen for ever, with growing pauses after failures."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._listen()
            except* _AWAY as group:
                error = group.exceptions[0]
                if not self._trouble:
                    pause = FIRST_PAUSE_SECONDS
                    log.warning("Redis is away, watching the jobs instead: %r", error)
                self._trouble = f"{type(error).__name__}: {error}"
            except* Exception as group:
                # The client has more ways to fail at a lost connection than it has errors for
                # (a RuntimeError, say): the listener must not end by any of them.
                log.exception("the listener failed, trying again")
                self._trouble = f"{type(group.exceptions[0]).__name__}"
            self._lost()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 not a secret
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)

    def _lost(self) -> None:
        self._pubsub = None
        self._acknowledged.clear()
        for future in self._asked.values():
            future.cancel()
        self._asked.clear()
        self._tune()

    async def _listen(self) -> None:
        """One connection, until it is lost."""
        pubsub = self._listener.pubsub()
        try:
            # A channel of nobody keeps the connection; '-' begins no requestId.
            await pubsub.subscribe(names.result_key(f"-{uuid.uuid4().hex}"))
            self._pubsub = pubsub
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(pubsub))
                group.create_task(self._restore())
        finally:
            self._pubsub = None
            await pubsub.aclose()

    async def _read(self, pubsub: PubSub) -> None:
        pinged = False
        while True:
            silence = PING_SECONDS if self._waiters else IDLE_PING_SECONDS
            message = await pubsub.get_message(timeout=self._seconds if pinged else silence)
            if message is None:
                if pinged:
                    raise TimeoutError(f"no answer to PING for {self._seconds:g} s")
                await pubsub.ping()
            pinged = message is None
            if message is None:
                continue
            channel = str(message["channel"])
            if message["type"] == "subscribe":
                self._acknowledged.add(channel)
                if future := self._asked.pop(channel, None):
                    future.set_result(None)
            elif message["type"] == "message":
                self._offer(channel.partition(":")[2], News(text=message["data"]))

    async def _restore(self) -> None:
        """Subscribe for all who wait, then read what they may have missed."""
        while missing := [c for c in map(names.result_key, self._waiters) if self._is_new(c)]:
            for channel in missing:
                await self._ask(channel)
        waiting = list(self._waiters)
        self._trouble = ""
        self._silent_until = 0.0
        self._tune()
        if waiting:
            log.info("Redis is back; %d wait", len(waiting))
            texts = await self._commands.mget([names.result_key(r) for r in waiting])
            for request_id, text in zip(waiting, texts, strict=True):
                if text is not None:
                    self._offer(request_id, News(text=str(text)))

    def _is_new(self, channel: str) -> bool:
        return channel not in self._acknowledged

    async def _ask(self, channel: str) -> None:
        """Subscribe to a channel and wait until Redis has said so."""
        future = self._asked.get(channel)
        if future is None:
            future = self._asked[channel] = asyncio.get_running_loop().create_future()
            async with self._order:
                if self._pubsub is None:
                    self._asked.pop(channel, None)
                    raise TimeoutError("the connection was lost")
                await self._pubsub.subscribe(channel)
        async with asyncio.timeout(self._seconds):
            await asyncio.shield(future)

    async def _add(self, waiter: Waiter) -> None:
        self._waiters.setdefault(waiter.request_id, set()).add(waiter)
        channel = names.result_key(waiter.request_id)
        if self._silent:
            self._watched.add(waiter)
        elif not self._trouble and self._is_new(channel):
            try:
                await self._ask(channel)
            except (*_AWAY, asyncio.CancelledError) as e:
                log.warning("cannot subscribe to %s: %r", channel, e)
                self._note_silence()
                self._watched.add(waiter)
        self._tune()

    async def _remove(self, waiter: Waiter) -> None:
        self._watched.discard(waiter)
        there = self._waiters.get(waiter.request_id, set())
        there.discard(waiter)
        if not there:
            self._waiters.pop(waiter.request_id, None)
            channel = names.result_key(waiter.request_id)
            if channel in self._acknowledged:
                self._acknowledged.discard(channel)
                async with self._order:
                    # Somebody may have come back while the connection was busy.
                    if self._pubsub is not None and waiter.request_id not in self._waiters:
                        try:
                            await self._pubsub.unsubscribe(channel)
                        except _AWAY as e:
                            log.info("cannot unsubscribe, the reader will notice: %r", e)
        self._tune()

    def _flag(self, waiter: Waiter) -> None:
        if waiter in self._waiters.get(waiter.request_id, ()):
            self._watched.add(waiter)
            self._tune()

    def _tune(self) -> None:
        """Watch the jobs while somebody waits whom Redis cannot tell."""
        wanted = bool(self._watched) or bool(self._trouble and self._waiters)
        if wanted and self._watch is None:
            reflector = Reflector(
                self._cluster,
                self._jobs,
                {"labelSelector": names.LABEL_FUNCTION},
                Sink(replace=self._see_all, put=self._see, drop=lambda body: None),
                resync=RESYNC_SECONDS,
                watch=WATCH_SECONDS,
            )
            self._watch = asyncio.get_running_loop().create_task(reflector.run())
        elif not wanted and self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _see_all(self, bodies: Iterable[Json]) -> None:
        for body in bodies:
            self._see(body)

    def _see(self, body: Json) -> None:
        if (body.get("status") or {}).get("phase") in TERMINAL:
            self._offer(body["spec"].get("requestId") or body["metadata"]["uid"], News(job=body))

    def _offer(self, request_id: str, news: News) -> None:
        for waiter in self._waiters.get(request_id, ()):
            waiter.offer(news)

    def _send_home(self) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.offer(News())


def _with_password(settings: Settings) -> str:
    """The URL with the password from its own variable, which comes from a Secret."""
    if not settings.redis_password:
        return settings.redis_url
    parts = urlsplit(settings.redis_url)
    host = parts.netloc.rpartition("@")[2]
    secret = quote(settings.redis_password, safe="")
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{secret}@{host}"))
