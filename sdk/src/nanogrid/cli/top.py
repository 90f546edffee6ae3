"""Memory limits and memory use of jobs. Pure."""

from collections.abc import Sequence

from nanogrid.cli.app.formatting import amount, duration
from nanogrid.cli.app.output import columns
from nanogrid.job_function import function_of
from nanogrid.quantity import quantity
from nanogrid.types import Json


def usage(job: Json) -> Json:
    """Peak memory and memory limit in bytes, times in milliseconds; None if unknown."""
    status = job.get("status") or {}
    result = status.get("result") or {}
    peak = result.get("peakMemoryBytes")
    # status.peakMemory contains the effective limit: "41Mi/256Mi".
    shown = str(status.get("peakMemory") or "").partition("/")[2]
    limit = int(quantity(shown)) if shown else None
    return {
        "namespace": job["metadata"].get("namespace", ""),
        "name": job["metadata"]["name"],
        "functionId": function_of(job),
        "phase": status.get("phase") or "",
        "peakMemoryBytes": peak,
        "memoryLimitBytes": limit,
        "usedPercent": round(100 * peak / limit) if peak and limit else None,
        "cpuMillis": result.get("cpuMillis"),
        "durationMillis": result.get("durationMillis"),
    }


def ranked(jobs: Sequence[Json]) -> list[Json]:
    """The usage of jobs, largest peak first; jobs that did not run come last."""
    return sorted(map(usage, jobs), key=lambda one: -(one["peakMemoryBytes"] or 0))


def to_text(usages: Sequence[Json]) -> str:
    """A table of usages."""
    rows = [["NAMESPACE", "NAME", "PHASE", "PEAK", "LIMIT", "USED", "CPU", "DURATION"]]
    for one in usages:
        used = "" if one["usedPercent"] is None else f"{one['usedPercent']}%"
        rows.append(
            [
                one["namespace"],
                one["name"],
                one["phase"],
                amount(one["peakMemoryBytes"]),
                amount(one["memoryLimitBytes"]),
                used,
                duration(one["cpuMillis"]),
                duration(one["durationMillis"]),
            ]
        )
    return columns(rows)
