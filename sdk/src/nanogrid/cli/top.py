"""Memory limits and memory use of jobs. Pure."""

from collections.abc import Sequence

from nanogrid.cli.app.formatting import amount, duration
from nanogrid.cli.app.output import columns
from nanogrid.job_function import function_of
from nanogrid.shown_memory import shown_memory
from nanogrid.types import Json


def usage(job: Json) -> Json:
    """Memory, peak and limit in bytes, times in milliseconds; None if unknown.

    ``memoryBytes`` is the use now, of running code and of sessions only.
    """
    status = job.get("status") or {}
    result = status.get("result") or {}
    current, peak, limit = shown_memory(status)
    peak = result.get("peakMemoryBytes", peak)  # exact, but known only after the end
    return {
        "namespace": job["metadata"].get("namespace", ""),
        "name": job["metadata"]["name"],
        "functionId": function_of(job),
        "phase": status.get("phase") or "",
        "memoryBytes": current,
        "peakMemoryBytes": peak,
        "memoryLimitBytes": limit,
        "usedPercent": round(100 * peak / limit) if peak and limit else None,
        "cpuMillis": result.get("cpuMillis"),
        "durationMillis": result.get("durationMillis"),
    }


def ranked(jobs: Sequence[Json]) -> list[Json]:
    """The usage of jobs: running ones by their use now, then the others by their peak."""

    def key(one: Json) -> tuple[bool, int]:
        current, peak = one["memoryBytes"], one["peakMemoryBytes"]
        return current is None, -(current if current is not None else peak or 0)

    return sorted(map(usage, jobs), key=key)


def to_text(usages: Sequence[Json]) -> str:
    """A table of usages."""
    rows = [["NAMESPACE", "NAME", "PHASE", "NOW", "PEAK", "LIMIT", "USED", "CPU", "DURATION"]]
    for one in usages:
        used = "" if one["usedPercent"] is None else f"{one['usedPercent']}%"
        rows.append(
            [
                one["namespace"],
                one["name"],
                one["phase"],
                amount(one["memoryBytes"]),
                amount(one["peakMemoryBytes"]),
                amount(one["memoryLimitBytes"]),
                used,
                duration(one["cpuMillis"]),
                duration(one["durationMillis"]),
            ]
        )
    return columns(rows)
