"""Brings results to the requests that wait for them, from Redis or from the jobs.

A waiter subscribes before its job is created, so it misses no result. When Redis is lost or silent,
the jobs themselves are watched until it is back; then the results that were stored in the meantime
are read. So each result arrives by one way or the other.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Iterable
from typing import Any, Final

from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError

from nanogrid import names, redis_clients
from nanogrid.kube.client import KubeApi
from nanogrid.kube.reflector import Reflector, Sink
from nanogrid.lifecycle import TERMINAL_PHASES
from nanogrid.logs import background
from nanogrid.redis_clients import REDIS_ERRORS
from nanogrid.redis_listener import Listener
from nanogrid.types import Json
from nanogrid_gateway.api.runs.subscriptions import (
    IDLE_PING_SECONDS,
    Owner,
    Subscriptions,
)
from nanogrid_gateway.api.runs.waiter import Notification, Waiter
from nanogrid_gateway.api.settings import Settings

log = logging.getLogger("nanogrid.gateway.feed")

COMMANDS: Final = 16  # at a time; more of them queue
WATCH_SECONDS: Final = 120.0
RESYNC_SECONDS: Final = 300.0


class RedisUnavailable(Exception):
    """Redis did not answer."""


class ResultFeed:
    """All waiters, and the ways by which results reach them."""

    def __init__(self, cluster: KubeApi, jobs: str, settings: Settings) -> None:
        self._cluster = cluster
        self._jobs = jobs
        self._seconds = settings.redis_timeout_seconds
        self._area = area = settings.area
        server, options = settings.redis_server, _options(self._seconds)
        self._commands = redis_clients.client(server, retry=_once(), **options)
        self._turns = asyncio.Semaphore(COMMANDS)
        # No requestId begins with '-'.
        unused = area.result_key(f"-{uuid.uuid4().hex}")
        listener = self._listener = Listener(server, self._commands, unused, **options)
        owner = Owner(
            wanted=lambda: map(area.result_key, self._waiters),
            is_wanted=lambda channel: self._request_id(channel) in self._waiters,
            on_message=self._on_message,
            on_connected=self._on_connected,
            on_lost=self._watch_if_needed,
            unused=unused,
        )
        self._subscriptions = Subscriptions(listener, self._seconds, owner)
        self._waiters: dict[str, set[Waiter]] = {}
        self._by_job: set[Waiter] = set()  # Redis will not have their results
        self._watch: asyncio.Task[None] | None = None
        self._silent_until = 0.0
        self.draining = False
        self._running = background(self._subscriptions.run())
        self._running.add_done_callback(_log_end)

    @property
    def error(self) -> str:
        """Why Redis is unavailable; empty when it is available."""
        return self._subscriptions.error

    @property
    def alive(self) -> bool:
        """Whether the listener runs; it never ends by itself."""
        return not self._running.done()

    async def subscribe(self, waiter: Waiter) -> None:
        """Add a waiter; once this returns, it misses no later result.

        Raises:
            TimeoutError: Redis did not confirm it in time.
        """
        self._waiters.setdefault(waiter.request_id, set()).add(waiter)
        channel = self._area.result_key(waiter.request_id)
        if self._silent:
            self._by_job.add(waiter)
        elif not self.error and self._subscriptions.is_new(channel):
            try:
                await self._subscriptions.subscribe(channel)
            except REDIS_ERRORS as e:
                log.warning("cannot subscribe to %s: %r", channel, e)
                self._note_silence()
                self._by_job.add(waiter)
        self._watch_if_needed()
        if self.draining:
            waiter.notify(Notification())

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter."""
        self._by_job.discard(waiter)
        others = self._waiters.get(waiter.request_id, set())
        others.discard(waiter)
        if not others:
            self._waiters.pop(waiter.request_id, None)
            self._subscriptions.unsubscribe(self._area.result_key(waiter.request_id))
        self._watch_if_needed()

    def watch_job(self, waiter: Waiter) -> None:
        """Watch the waiter's job: Redis will not have its result."""
        if waiter in self._waiters.get(waiter.request_id, ()):
            self._by_job.add(waiter)
            self._watch_if_needed()

    async def stored(self, request_id: str) -> str | None:
        """The result in Redis.

        Raises:
            RedisUnavailable: Redis did not answer.
        """
        self._check_available()
        try:
            async with asyncio.timeout(3 * self._seconds), self._turns:
                self._check_available()  # all that queue would wait for a server that hangs
                found = await self._commands.get(self._area.result_key(request_id))
        except REDIS_ERRORS as e:
            self._note_silence()  # before any that queue continue
            await redis_clients.forget(self._commands)
            raise RedisUnavailable(f"{type(e).__name__}: {e}") from e
        return None if found is None else str(found)

    def drain(self) -> None:
        """End all waits."""
        self.draining = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.notify(Notification())

    async def close(self) -> None:
        """Close the connections."""
        self._subscriptions.stop()
        tasks = [task for task in (self._running, self._watch) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await redis_clients.close(self._commands)
        await self._listener.aclose()

    @property
    def _silent(self) -> bool:
        return time.monotonic() < self._silent_until

    def _check_available(self) -> None:
        if self.error or self._silent:
            raise RedisUnavailable(self.error or "it was silent a moment ago")

    def _note_silence(self) -> None:
        """Ask Redis nothing until PING has found out how it is."""
        self._silent_until = time.monotonic() + IDLE_PING_SECONDS + self._seconds

    async def _on_connected(self) -> None:
        """Read the results that waiters may have missed."""
        self._silent_until = 0.0
        self._watch_if_needed()
        waiting = list(self._waiters)
        if waiting:
            log.info("Redis is available again; %d requests wait", len(waiting))
            texts = await self._commands.mget([self._area.result_key(r) for r in waiting])
            for request_id, text in zip(waiting, texts, strict=True):
                if text is not None:
                    self._notify(request_id, Notification(text=str(text)))

    def _on_message(self, channel: str, text: str) -> None:
        self._notify(self._request_id(channel), Notification(text=text))

    def _request_id(self, channel: str) -> str:
        return channel.removeprefix(self._area.result_key(""))

    def _watch_if_needed(self) -> None:
        """Watch the jobs while Redis cannot serve a waiter."""
        needed = bool(self._by_job) or bool(self.error and self._waiters)
        if needed and self._watch is None:
            reflector = Reflector(
                self._cluster,
                self._jobs,
                Sink(replace=self._on_jobs, put=self._on_job, drop=lambda body: None),
                labels=names.LABEL_FUNCTION,
                resync=RESYNC_SECONDS,
                watch=WATCH_SECONDS,
            )
            self._watch = background(reflector.run())
        elif not needed and self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _on_jobs(self, bodies: Iterable[Json]) -> None:
        for body in bodies:
            self._on_job(body)

    def _on_job(self, body: Json) -> None:
        if (body.get("status") or {}).get("phase") in TERMINAL_PHASES:
            request_id = body["spec"].get("requestId") or body["metadata"]["uid"]
            self._notify(request_id, Notification(job=body))

    def _notify(self, request_id: str, notification: Notification) -> None:
        for waiter in self._waiters.get(request_id, ()):
            waiter.notify(notification)


def _log_end(task: asyncio.Task[None]) -> None:
    """The listener ends only when it is cancelled; the liveness probe then restarts the gateway."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.critical("the listener ended: %r", error, exc_info=error)


def _options(seconds: float) -> dict[str, Any]:
    return {
        "decode_responses": True,
        "encoding_errors": "replace",
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
    }


def _once() -> Retry:
    """One retry, because a connection may be stale; a silent server stays silent."""
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=0.5)
    return Retry(backoff, 1, supported_errors=(ConnectionError,))
