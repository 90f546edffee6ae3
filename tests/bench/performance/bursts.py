"""Many jobs at once, and what the operator uses for them."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from bench.performance import observer as o
from bench.performance.budget import Budget, say
from bench.performance.operator import OperatorUsage, undisturbed, window
from bench.performance.runs import POOL, Runs, new_name
from nanogrid.types import Json
from support.benchmark import subjects as s
from support.benchmark.manifests import (
    LITTLE,
    TOLERATIONS,
    batch_job,
    execution_job,
    for_burst,
    pod,
    pod_spec,
)

WRITERS: Final = 8
BURST_SECONDS: Final = 180.0
GONE_SECONDS: Final = 120.0


def in_parallel(work: Callable[[Any], object], items: list[Any]) -> list[Any]:
    """Do the work for all items in a few threads; returns its values in order."""
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(work, items))


class Burst:
    """Creates objects of one kind and waits for their ends."""

    def __init__(self, runs: Runs, kind: str, make: Callable[[str], Json]) -> None:
        self._observer, self._kind, self._make = runs.observer, kind, make
        self.names: list[str] = []
        self.began: dict[str, float] = {}

    def create(self, count: int, per_second: float = 0.0) -> None:
        """Create objects, at once or at a rate; the time of each request is noted."""
        first = time.monotonic()

        def one(number: int) -> None:
            if per_second:
                time.sleep(max(0.0, first + number / per_second - time.monotonic()))
            name = self.names[number]
            self.began[name] = self._observer.create(self._kind, self._make(name))

        self.names = [new_name() for _ in range(count)]
        in_parallel(one, list(range(count)))

    def times(self, kind: str, what: str, *, own: bool = False) -> list[float]:
        """Milliseconds until something was observed, from the first create or each one's own."""
        first = min(self.began.values())
        deadline = time.monotonic() + BURST_SECONDS
        found = []
        for name in self.names:
            left = max(0.1, deadline - time.monotonic())
            at = self._observer.at(kind, name, what, left)
            found.append(round(1000 * (at - (self.began[name] if own else first)), 1))
        return found

    def cold(self) -> int:
        """How many of the jobs did not start on a pool."""
        states = [
            self._observer.wait(o.JOB, name, lambda seen: bool(seen.body), "seen").body
            for name in self.names
        ]
        return sum(one["status"].get("start") != "Warm" for one in states)

    def remove(self) -> None:
        """Delete all; returns when they and their pods are gone."""
        pods = [
            one["metadata"]["name"]
            for name in self.names
            for one in self._observer.pods(self._kind, name)
        ]
        in_parallel(lambda name: self._observer.delete(self._kind, name), list(self.began))
        for kind, wanted in ((o.POD, pods), (self._kind, list(self.began))):
            for name in wanted:
                self._observer.at(kind, name, o.GONE, GONE_SECONDS)


@contextmanager
def removed(burst: Burst) -> Iterator[Burst]:
    """A burst whose objects are removed at the end."""
    try:
        yield burst
    finally:
        burst.remove()


def kind_of(runs: Runs, subject: s.Subject) -> tuple[str, Callable[[str], Json]]:
    """The kind of a burst's objects, and their manifests by name."""
    if subject == s.BURST_PODS:
        spec, metadata = runs.copy(with_init=False, with_agent=True)
        return o.POD, lambda name: pod(name, for_burst(spec), metadata)
    if subject == s.BURST_BATCH:
        return o.BATCH, lambda name: batch_job(name, for_burst(pod_spec(runs.image)))
    if subject == s.BURST_POOL:
        return o.JOB, lambda name: execution_job(name, poolRef={"name": POOL})
    return o.JOB, lambda name: execution_job(name, resources=LITTLE, tolerations=TOLERATIONS)


def measure_one(runs: Runs, subject: s.Subject, count: int, number: int) -> Json:
    """One burst of a subject."""
    kind, make = kind_of(runs, subject)
    with removed(Burst(runs, kind, make)) as burst:
        burst.create(count)
        terminal = burst.times(kind, o.TERMINAL)
        results = burst.times(o.RESULT, o.PUBLISHED) if kind == o.JOB else []
        cold = burst.cold() if subject == s.BURST_POOL else 0
    say(f"burst of {count} {subject.title}: {max(terminal) / 1000:.1f} s")
    return {
        "subject": subject.key, "jobs": count, "round": number, "terminal": terminal,
        "results": results, "cold": cold,
    }  # fmt: skip


def measure(
    runs: Runs,
    usage: OperatorUsage,
    count: int,
    rounds: int,
    budget: Budget,
    document: dict[str, Any],
) -> None:
    """Bursts of all subjects without a pool, in turn, and what the operator uses for the jobs."""
    found: list[Json] = document.setdefault("bursts", [])
    windows = document.setdefault("operator", {}).setdefault("cold", [])
    for number in range(rounds):
        if number and not budget.allows(budget.longest("bursts")):
            say(f"bursts {number + 1} of {rounds}: the time is over")
            break
        with budget.timed("bursts"):
            for subject in s.BURSTS if number % 2 == 0 else s.BURSTS[::-1]:
                if subject != s.BURST_JOBS:
                    found.append(measure_one(runs, subject, count, number))
                    continue
                with window(usage, count) as one:
                    found.append(measure_one(runs, subject, count, number))
                if undisturbed(one, document):
                    windows.append(one)
