"""The load: so many objects in flight, the next one as soon as one has ended."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from nanogrid.types import Json
from support.controlplane.client import Api, CallError
from support.controlplane.subjects import Subject

WRITERS = 8  # requests at a time


@dataclass(slots=True)
class Load:
    """One run; all times in seconds of one clock."""

    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From the first request to the last end."""
        return max(self.ended.values()) - min(self.began.values())

    def latencies(self) -> list[float]:
        """From the request to the end as a watch shows it, in the order of the requests."""
        return [self.ended[name] - self.began[name] for name in self.began]


def tenths(latencies: Sequence[float]) -> Json:
    """p50 and p99 in ms: of all, of the first tenth and of the last one."""
    size = max(1, len(latencies) // 10)
    parts = {"all": latencies, "first": latencies[:size], "last": latencies[-size:]}
    return {name: percentiles(part) for name, part in parts.items()}


def percentiles(values: Sequence[float]) -> Json:
    """p50 and p99 of seconds, in ms."""
    ranked = sorted(values)
    return {
        "p50": round(statistics.median(ranked) * 1000),
        "p99": round(ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))] * 1000),
    }


async def run(
    api: Api, subject: Subject, namespace: str, count: int, in_flight: int, seconds: float
) -> Load:
    """Create ``count`` objects and wait for their ends.

    Raises:
        RuntimeError: they have not all ended well after ``seconds``.
    """
    load, room = Load(), asyncio.Semaphore(in_flight)
    path = subject.path(namespace)
    names = iter([f"{subject.name}-{number}" for number in range(count)])

    async def create() -> None:
        for name in names:
            await room.acquire()
            load.began[name] = time.perf_counter()
            await api.call("POST", path, subject.manifest(name))

    version = await api.version(path)
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            group.create_task(_observe(api, subject, path, version, load, count, room))
            for _ in range(WRITERS):
                group.create_task(create())
    except TimeoutError:
        detail = await _unfinished(api, path, load)
        raise RuntimeError(
            f"{subject.title}: {len(load.ended)} of {count} ended in {seconds:g} s; {detail}"
        ) from None
    return load


async def _observe(
    api: Api,
    subject: Subject,
    path: str,
    version: str,
    load: Load,
    count: int,
    room: asyncio.Semaphore,
) -> None:
    """Note the end of each object, and make room for another one; returns after the last end."""
    events = api.events(path, version, subject.mark, fieldSelector=subject.fields)
    async with aclosing(events):
        async for event in events:
            now, name = time.perf_counter(), event["object"]["metadata"]["name"]
            if event["type"] == "DELETED" or name not in load.began or name in load.ended:
                continue
            load.ended[name] = now
            room.release()
            if len(load.ended) == count:
                return


async def _unfinished(api: Api, path: str, load: Load) -> str:
    """One object that has not ended, for the error."""
    for name in load.began:
        if name not in load.ended:
            with suppress(CallError):
                return (await api.call("GET", f"{path}/{name}")).decode()[-1500:]
    return "all that were created have ended"
