"""Mirrors one kind of object of the API server: LIST, then WATCH, for ever.

A broken watch resumes at its last version. A version that is too old (410 Gone) and the resync
interval cause a new LIST. The objects stay while the API server is unavailable.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field

from nanogrid.backoff import exponential, jitter
from nanogrid.kube.client import KubeApi, Trim
from nanogrid.kube.conventions import PAGE, KubeError
from nanogrid.types import Json

log = logging.getLogger("nanogrid.watch")

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
SHORT_SECONDS = 1.0  # a watch that ends sooner without an event counts as a failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Sink:
    """Where the objects go."""

    replace: Callable[[Iterable[Json]], None]
    put: Callable[[Json], None]
    drop: Callable[[Json], None]


@dataclass(slots=True)
class Reflector:
    """One LIST and WATCH.

    Args:
        api: the API server.
        path: the collection's.
        sink: receives the objects.
        labels: label selector.
        fields: field selector; left out when the server does not know it.
        trim: applied to each object as it comes.
        limit: objects per request of a LIST.
        resync: seconds between two LISTs; infinite: only when a watch is too old.
        watch: seconds of one watch request.
        longest_pause: seconds between two tries while the API server does not answer.

    Attributes:
        primed: whether the sink has the objects of a LIST.
        last_error: why the API server does not answer; empty when it does.
    """

    api: KubeApi
    path: str
    sink: Sink
    _: KW_ONLY
    labels: str = ""
    fields: str = ""
    trim: Trim | None = None
    limit: int = PAGE
    resync: float
    watch: float
    longest_pause: float = LONGEST_PAUSE_SECONDS
    primed: bool = field(default=False, init=False)
    last_error: str = field(default="", init=False)
    _version: str = field(default="", init=False)  # empty: LIST first
    _list_due: float = field(default=0.0, init=False)
    _failures: int = field(default=0, init=False)

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
                await asyncio.sleep(pause(self._failures, self.longest_pause))

    async def _list(self) -> None:
        items, self._version = await self.api.list(
            self.path,
            labels=self.labels,
            fields=self.fields,
            trim=self.trim,
            limit=self.limit,
        )
        self._answered()
        # Spread, so that replicas that started together do not LIST together for ever.
        self._list_due = time.monotonic() + jitter(self.resync, 0.8, 1.2)
        self.sink.replace(items)
        if not self.primed:
            log.info("%s: primed with %d objects", self.path, len(items))
        self.primed = True

    async def _follow(self) -> None:
        """One watch request, to its end."""
        began, received = time.monotonic(), False
        seconds = min(self.watch, max(1.0, self._list_due - began))
        async for event in self.api.watch(
            self.path,
            self._version,
            seconds,
            labels=self.labels,
            fields=self.fields,
            trim=self.trim,
            opened=self._answered,
        ):
            self._take(event)
            received, self._failures = True, 0
        short = not received and time.monotonic() - began < SHORT_SECONDS
        self._failures = self._failures + 1 if short else 0

    def _take(self, event: Json) -> None:
        body, kind = event["object"], event["type"]
        if kind == "DELETED":
            self.sink.drop(body)
        elif kind in ("ADDED", "MODIFIED"):
            self.sink.put(body)
        self._version = body["metadata"]["resourceVersion"]

    def _answered(self) -> None:
        self.last_error = ""

    def _note(self, e: KubeError) -> None:
        self._failures += 1
        if e.code == 410:
            log.info("%s: the watch is too old, listing again", self.path)
            self._version = ""
        elif e.code == 400 and self.fields:
            # A CRD without selectableFields. The sink filters the objects, too.
            log.warning("%s: no field selector there, watching all: %s", self.path, e)
            self.fields = ""
            self._version = ""
        else:
            self.last_error = str(e)
            log.warning("%s: failure %d: %s", self.path, self._failures, e)


def pause(failures: int, longest: float = LONGEST_PAUSE_SECONDS) -> float:
    """Seconds to wait after so many failures in a row: doubling, bounded, with jitter."""
    return jitter(exponential(failures - 1, FIRST_PAUSE_SECONDS, longest))
