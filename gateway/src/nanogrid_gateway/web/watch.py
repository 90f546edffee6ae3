"""Keeps the run index up to date while the page is in use.

The API server cannot sort by age, so without an index each request would list all jobs again.
Instead the first request starts one LIST and WATCH, which ends some time after the last request.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from nanogrid.controller_class import NO_CLASS, job_fields, serves
from nanogrid.kube.client import KubeApi
from nanogrid.kube.reflector import Reflector, Sink
from nanogrid.logs import background
from nanogrid.types import Json
from nanogrid_gateway.web.rows import compact
from nanogrid_gateway.web.run_index import RunIndex

log = logging.getLogger("nanogrid.gateway.web")

RESYNC_SECONDS: Final = 1800.0
WATCH_SECONDS: Final = 300.0
IDLE_SECONDS: Final = 300.0
FIRST_LISTING_SECONDS: Final = 3.0
CHECK_SECONDS: Final = 0.5
PAGE: Final = 200  # jobs per request; the largest has some 100 KiB


@dataclass(slots=True)
class RunWatcher:
    """Watches the jobs from the first request until some time after the last one.

    Args:
        cluster: the API server.
        path: of the jobs' collection.
        controller_class: of the jobs to show; empty: those without one.
        rows: receives the rows.
        stopping: whether the process is stopping.
        idle: seconds after the last request until the watch ends.
        watch: seconds of one watch request.
        clock: seconds that only increase.
    """

    cluster: KubeApi
    path: str
    rows: RunIndex
    stopping: Callable[[], bool]
    _: KW_ONLY
    controller_class: str = NO_CLASS
    idle: float = IDLE_SECONDS
    watch: float = WATCH_SECONDS
    clock: Callable[[], float] = time.monotonic
    _last_request: float = field(default=0.0, init=False)
    _primed: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _running: asyncio.Task[None] | None = field(default=None, init=False)
    _reflector: Reflector | None = field(default=None, init=False)

    @property
    def last_error(self) -> str:
        """Why the index may be out of date; empty while the API server answers."""
        return self._reflector.last_error if self._reflector is not None else ""

    @property
    def loaded(self) -> RunIndex | None:
        """The current index if a page of lists is in use; it starts no watch."""
        return self.rows if self._primed.is_set() else None

    async def index(self) -> RunIndex | None:
        """The current index; None while its first listing is still loading."""
        self._last_request = self.clock()
        if self._running is None or self._running.done():
            self._primed.clear()
            self._running = background(self._run())
        try:
            async with asyncio.timeout(FIRST_LISTING_SECONDS):
                await self._primed.wait()
        except TimeoutError:
            return None
        return self.rows

    async def _run(self) -> None:
        sink = Sink(replace=self._replace, put=self._put, drop=self.rows.drop)
        # Each object is trimmed as it arrives: the rest is freed page by page.
        self._reflector = Reflector(
            self.cluster,
            self.path,
            sink,
            fields=job_fields(self.controller_class),
            trim=compact,
            limit=PAGE,
            resync=RESYNC_SECONDS,
            watch=self.watch,
        )
        work = asyncio.create_task(self._reflector.run())
        try:
            while not work.done() and not self._end_if_idle():
                await asyncio.wait([work], timeout=CHECK_SECONDS)
            if work.done():
                work.result()  # ends only by an error, which must be logged
        except Exception:
            log.exception("watching the runs failed; the next request restarts it")
        finally:
            work.cancel()
            await asyncio.wait([work])

    def _shown(self, job: Json) -> bool:
        """Whether a compact job is one to show; an old API server cannot select."""
        return serves(self.controller_class, job)

    def _put(self, job: Json) -> None:
        if self._shown(job):
            self.rows.put(job)

    def _replace(self, jobs: Iterable[Json]) -> None:
        self.rows.replace(filter(self._shown, jobs))
        self._primed.set()

    def _end_if_idle(self) -> bool:
        """Whether the watch must end; if so, frees the rows, and the next request restarts it."""
        if self.clock() - self._last_request < self.idle and not self.stopping():
            return False
        self._running = None
        self._primed.clear()
        self.rows.replace([])
        return True
