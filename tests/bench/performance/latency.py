"""The rounds of the latency table: every subject once per round, in random order."""

import random
import time
from collections.abc import Sequence
from typing import Any, Final

from kubernetes.client.exceptions import ApiException

from bench.performance.budget import Budget, say
from bench.performance.runs import RunError, Runs
from nanogrid.types import Json
from support.benchmark import subjects as s
from support.benchmark.load import load_average, marked, read_ticks, shares

LOOK_SECONDS: Final = 0.5  # at the idle cluster, before each round
MOST_FAILURES: Final = 3  # of one subject; then it is left out
FAILURES: Final = (ApiException, RunError, TimeoutError)


def measure(
    runs: Runs, subjects: Sequence[s.Subject], count: int, budget: Budget, skipped: dict[str, str]
) -> Json:
    """Up to ``count`` rounds within the budget; a first one is not counted.

    A subject that fails repeatedly is added to ``skipped``.
    """
    rounds: list[dict[str, Any]] = []
    failures: dict[str, int] = {}
    for number in range(count + 1):
        if number > 1 and not budget.allows(budget.longest("round")):
            say(f"round {number}: the time is over")
            break
        with budget.timed("round"):
            left = [one for one in subjects if one.key not in skipped]
            row = _round(runs, random.sample(left, len(left)), failures, skipped)
        say(f"round {number} of {count}: {row['seconds']:.0f} s, load {row['load']:.1f}")
        if number:
            rounds.append(row)
    for row in rounds:
        for key, why in row["failed"].items():
            if not any(key in one["rows"] for one in rounds):
                skipped.setdefault(key, f"it failed: {why}")
    flags = marked([one["busy"] for one in rounds], [one["steal"] for one in rounds])
    for one, flag in zip(rounds, flags, strict=True):
        one["foreign"] = flag
    return {"rounds": rounds}


def _round(
    runs: Runs, order: Sequence[s.Subject], failures: dict[str, int], skipped: dict[str, str]
) -> dict[str, Any]:
    began, first = time.monotonic(), read_ticks()
    time.sleep(LOOK_SECONDS)
    idle = read_ticks()
    rows: dict[str, Json] = {}
    failed: dict[str, str] = {}
    for subject in order:
        try:
            row = runs.run(subject)
        except FAILURES as error:
            say(f"{subject.key}: {error}")
            failed[subject.key] = str(error)
            failures[subject.key] = failures.get(subject.key, 0) + 1
            if failures[subject.key] >= MOST_FAILURES:
                skipped[subject.key] = f"it failed {MOST_FAILURES} times; the last time: {error}"
            continue
        rows[subject.key] = {
            name: None if value is None else round(value, 1) for name, value in row.items()
        }
    last = read_ticks()
    found: dict[str, Any] = {"rows": rows, "load": round(load_average(), 1), "busy": 0.0}
    found |= {"steal": 0.0, "failed": failed, "seconds": round(time.monotonic() - began, 1)}
    if first is not None and idle is not None and last is not None:
        found["busy"] = round(shares(first, idle)[0], 3)
        found["steal"] = round(shares(first, last)[1], 4)
    return found
