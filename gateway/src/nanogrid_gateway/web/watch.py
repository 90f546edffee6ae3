"""Keeps the board as the API server has it, while somebody looks at it.

The API server cannot sort by age, so each look would have to list all jobs again. Instead the first
look starts one LIST and WATCH, which ends when nobody has looked for a while.
"""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import aiohttp

from nanogrid_gateway.api.loop import Loop
from nanogrid_gateway.router.cluster import ClusterApi, KubeError
from nanogrid_gateway.router.reflector import Reflector, Sink
from nanogrid_gateway.web.board import Board
from nanogrid_gateway.web.rows import Json, slim

log = logging.getLogger("nanogrid.gateway.web")

RESYNC_SECONDS: Final = 1800.0
WATCH_SECONDS: Final = 300.0
IDLE_SECONDS: Final = 300.0
FIRST_LOOK_SECONDS: Final = 3.0
CHECK_SECONDS: Final = 0.5


class SlimCluster(ClusterApi):
    """LIST and WATCH that keep of each job what rows need, page by page; knows its own trouble."""

    page = 200  # the largest job has some 100 KiB

    def __init__(self, cluster: ClusterApi) -> None:
        super().__init__(cluster._api, cluster._timeout)
        self.trouble = ""

    def kept(self, item: Json) -> Json:
        """What rows need: the rest is freed page by page."""
        return slim(item)

    async def watch(
        self, path: str, query: dict[str, str], version: str, seconds: float
    ) -> AsyncIterator[Json]:
        """The events after a version, their jobs slim but for bookmarks."""
        async for event in super().watch(path, query, version, seconds):
            if event["type"] != "BOOKMARK":
                event["object"] = slim(event["object"])
            yield event

    async def _get(
        self, path: str, query: dict[str, Any], limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        try:
            response = await super()._get(path, query, limits)
        except KubeError as e:
            self.trouble = str(e)
            raise
        self.trouble = ""
        return response


class Watcher:
    """Starts with the first look and ends after the last.

    Args:
        loop: where it runs.
        cluster: the API server.
        path: of the jobs' collection.
        board: where the rows go.
        stopping: whether the process has been told to stop.
        idle: seconds without a look after which it ends.
    """

    def __init__(
        self,
        loop: Loop,
        cluster: ClusterApi,
        path: str,
        board: Board,
        stopping: Callable[[], bool],
        idle: float = IDLE_SECONDS,
    ) -> None:
        self._loop = loop
        self._cluster = SlimCluster(cluster)
        self._path = path
        self._board = board
        self._stopping = stopping
        self._idle = idle
        self._lock = threading.Lock()
        self._looked = 0.0
        self._primed = threading.Event()
        self._running: concurrent.futures.Future[None] | None = None

    @property
    def trouble(self) -> str:
        """Why the board may be old; empty when the API server answers."""
        return self._cluster.trouble

    def look(self) -> Board | None:
        """The board as it is now; None while its first listing is still being read."""
        with self._lock:
            self._looked = time.monotonic()
            if self._running is None or self._running.done():
                self._primed.clear()
                self._running = self._loop.start(self._run())
        return self._board if self._primed.wait(FIRST_LOOK_SECONDS) else None

    async def _run(self) -> None:
        sink = Sink(replace=self._replace, put=self._board.put, drop=self._board.drop)
        reflector = Reflector(
            self._cluster, self._path, {}, sink, resync=RESYNC_SECONDS, watch=WATCH_SECONDS
        )
        work = asyncio.create_task(reflector.run())
        try:
            while not work.done() and not self._unseen():
                await asyncio.wait([work], timeout=CHECK_SECONDS)
            if work.done():
                work.result()  # it never ends but by an error, which the log must have
        except Exception:
            log.exception("watching the runs failed; the next look starts anew")
        finally:
            work.cancel()
            await asyncio.wait([work])

    def _replace(self, jobs: Any) -> None:
        self._board.replace(jobs)
        self._primed.set()

    def _unseen(self) -> bool:
        """Whether it is time to end; then the rows are freed, and the next look starts anew."""
        with self._lock:
            if time.monotonic() - self._looked < self._idle and not self._stopping():
                return False
            self._running = None
            self._primed.clear()
            self._board.replace([])
        return True
