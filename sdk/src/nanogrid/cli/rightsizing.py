"""From functions and jobs to what their memory limits could be. Pure.

The rule is :mod:`nanogrid.rightsizing`'s, for a function from its status, for jobs from theirs.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from nanogrid.cli.functionrun import function_of
from nanogrid.cli.output import columns
from nanogrid.cli.times import amount
from nanogrid.quantity import quantity
from nanogrid.reasons import Reason
from nanogrid.rightsizing import LEAST_RUNS, MeasuredRun, measured, recommend
from nanogrid.wire import STATUS_SUCCESS

Json = dict[str, Any]
# What makes a name fresh: of this program (hex), and of generateName.
_FRESH: Final = re.compile(r"-([0-9a-f]{6,10}|[bcdfghjklmnpqrstvwxz2456789]{5}|\d+)$")


@dataclass(frozen=True)
class Advice:
    """What one function, or one group of jobs, could have; sizes in bytes."""

    kind: str  # Function | Jobs
    namespace: str
    name: str
    runs: int  # measured
    missing: int  # measured runs that are wanted before there is advice
    current: int | None
    p95: int | None
    recommended: str | None  # as a manifest has it
    recommended_bytes: int | None
    oom_kills: int

    @property
    def saved(self) -> int | None:
        """Bytes of each run that would be free; below zero when it needs more."""
        if self.current is None or self.recommended_bytes is None:
            return None
        return self.current - self.recommended_bytes

    def to_json(self) -> Json:
        """For -o json."""
        data = asdict(self)
        keys = {"current": "currentBytes", "p95": "p95PeakBytes", "oom_kills": "oomKills"}
        keys["recommended_bytes"] = "recommendedBytes"
        return {keys.get(key, key): value for key, value in data.items()} | {
            "savedBytes": self.saved
        }


def of_function(function: Json) -> Advice:
    """Advice on a Function, from the recent runs in its status."""
    metadata, spec = function["metadata"], function["spec"]
    recent = (function.get("status") or {}).get("recent") or []
    runs = [
        MeasuredRun(
            peak_bytes=one.get("peakMemoryBytes"),
            limit_bytes=one.get("memoryLimitBytes"),
            succeeded=one.get("status") == STATUS_SUCCESS,
            oom_killed=one.get("reason") == Reason.OOM_KILLED,
        )
        for one in recent
    ]
    limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
    set_to = int(quantity(limit)) if limit else None
    return _advice("Function", str(metadata["namespace"]), str(metadata["name"]), runs, set_to)


def of_jobs(namespace: str, name: str, jobs: Sequence[Json]) -> Advice:
    """Advice on jobs of the same code."""
    newest = sorted(jobs, key=lambda one: str(one["metadata"]["creationTimestamp"]), reverse=True)
    runs = [run for one in newest if (run := measured(one.get("status") or {})) is not None]
    return _advice("Jobs", namespace, name, runs, None)


def grouped(jobs: Sequence[Json]) -> list[Advice]:
    """Advice on jobs that run no function, by the stem of their names; single ones are left out."""
    groups: dict[tuple[str, str], list[Json]] = {}
    for one in jobs:
        metadata = one["metadata"]
        stem = _FRESH.sub("", str(metadata["name"]))
        if function_of(one) is None and stem != metadata["name"]:
            groups.setdefault((str(metadata["namespace"]), stem), []).append(one)
    return [
        of_jobs(namespace, f"{stem}-*", found)
        for (namespace, stem), found in sorted(groups.items())
        if len(found) > 1
    ]


def _advice(
    kind: str, namespace: str, name: str, runs: Sequence[MeasuredRun], limit: int | None
) -> Advice:
    known = sum(run.known_bytes is not None for run in runs)
    found = recommend(runs)
    newest = next((run.limit_bytes for run in runs if run.limit_bytes is not None), None)
    return Advice(
        kind=kind,
        namespace=namespace,
        name=name,
        runs=known,
        missing=max(0, LEAST_RUNS - known),
        current=newest if limit is None else limit,
        p95=found.p95_peak_bytes if found else None,
        recommended=found.memory if found else None,
        recommended_bytes=found.memory_bytes if found else None,
        oom_kills=found.oom_kills if found else sum(run.oom_killed for run in runs),
    )


def to_text(found: Sequence[Advice], all_namespaces: bool = False) -> str:
    """What people read."""
    rows = [["NAME", "KIND", "RUNS", "LIMIT", "P95 PEAK", "RECOMMENDED", "SAVED"]]
    for one in found:
        rows.append(
            [
                one.name,
                one.kind,
                str(one.runs),
                amount(one.current),
                amount(one.p95),
                _recommended(one),
                _saved(one.saved),
            ]
        )
    if all_namespaces:
        spaces = ["NAMESPACE", *(one.namespace for one in found)]
        rows = [[space, *row] for space, row in zip(spaces, rows, strict=True)]
    return columns(rows)


def _recommended(one: Advice) -> str:
    if one.recommended is None:
        return f"{one.missing} more runs needed" if one.missing != 1 else "1 more run needed"
    kills = f" ({one.oom_kills} OOM-killed)" if one.oom_kills else ""
    return f"{one.recommended}{kills}"


def _saved(count: int | None) -> str:
    if count is None or count == 0:
        return ""
    return amount(count) if count > 0 else f"-{amount(-count)}"
