"""Keeps one kind of object as the API server has it: LIST, then WATCH, for ever.

A watch that breaks is taken up where it was; a version that is too old (410 Gone), or the resync
interval, leads to a LIST anew. While the API server is away, what is known stays known.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nanogrid_gateway.router.cluster import ClusterApi, KubeError
from nanogrid_gateway.router.objects import Json

log = logging.getLogger("nanogrid.router.watch")

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
SHORT_SECONDS = 1.0  # a watch that ends sooner without an event counts as a failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where the objects go."""

    replace: Callable[[Iterable[Json]], None]
    put: Callable[[Json], None]
    drop: Callable[[Json], None]


class Reflector:
    """One LIST and WATCH; times in seconds. ``primed`` once a LIST was taken in."""

    def __init__(
        self,
        api: ClusterApi,
        path: str,
        query: dict[str, str],
        sink: Sink,
        *,
        resync: float,
        watch: float,
    ) -> None:
        self._api = api
        self._path = path
        self._query = dict(query)
        self._sink = sink
        self._resync = resync
        self._watch = watch
        self._version = ""  # empty: LIST first
        self._list_due = 0.0
        self._failures = 0
        self.primed = False

    @property
    def path(self) -> str:
        """The collection's path."""
        return self._path

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                if not self._version or time.monotonic() >= self._list_due:
                    await self._list()
                await self._follow()
            except KubeError as e:
                self._note(e)
            if self._failures:
                await asyncio.sleep(pause(self._failures))

    async def _list(self) -> None:
        items, self._version = await self._api.list(self._path, self._query)
        # Spread, so that replicas that started together do not LIST together for ever.
        self._list_due = time.monotonic() + self._resync * random.uniform(0.8, 1.2)  # noqa: S311
        self._sink.replace(items)
        if not self.primed:
            log.info("%s: primed with %d objects", self._path, len(items))
        self.primed = True

    async def _follow(self) -> None:
        """One watch request, to its end."""
        began, heard = time.monotonic(), False
        seconds = min(self._watch, max(1.0, self._list_due - began))
        async for event in self._api.watch(self._path, self._query, self._version, seconds):
            self._take(event)
            heard, self._failures = True, 0
        short = not heard and time.monotonic() - began < SHORT_SECONDS
        self._failures = self._failures + 1 if short else 0

    def _take(self, event: Json) -> None:
        body, kind = event["object"], event["type"]
        if kind == "DELETED":
            self._sink.drop(body)
        elif kind in ("ADDED", "MODIFIED"):
            self._sink.put(body)
        self._version = body["metadata"]["resourceVersion"]

    def _note(self, e: KubeError) -> None:
        self._failures += 1
        if e.code == 410:
            log.info("%s: the watch is too old, listing anew", self._path)
            self._version = ""
        elif e.code == 400 and "fieldSelector" in self._query:
            # A CRD without selectableFields; whoever takes the objects in looks at them anyway.
            log.warning("%s: no field selector there, watching all: %s", self._path, e)
            del self._query["fieldSelector"]
            self._version = ""
        else:
            log.warning("%s: failure %d: %s", self._path, self._failures, e)


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, bounded, with jitter."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 jitter
