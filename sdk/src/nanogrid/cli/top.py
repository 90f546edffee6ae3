"""How much memory jobs reserve and use. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from nanogrid.cli.output import columns
from nanogrid.cli.times import amount, duration

Json = dict[str, Any]
_SUFFIX: Final = {
    "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
    "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
}  # fmt: skip


def quantity_bytes(text: str | int | None) -> int | None:
    """Bytes of a Kubernetes quantity; None for none."""
    if text is None:
        return None
    words = str(text)
    for suffix, factor in _SUFFIX.items():
        if words.endswith(suffix):
            return int(float(words.removesuffix(suffix)) * factor)
    return int(float(words))


def usage(job: Json) -> Json:
    """What a job that ran used: peak and limit in bytes, times in milliseconds."""
    status = job.get("status") or {}
    result = status.get("result") or {}
    peak = result.get("peakMemoryBytes")
    # The status shows the limit that was in force: "41Mi/256Mi".
    shown = str(status.get("peakMemory") or "").partition("/")[2]
    limit = quantity_bytes(shown) if shown else None
    return {
        "namespace": job["metadata"].get("namespace", ""),
        "name": job["metadata"]["name"],
        "functionId": (job.get("spec") or {}).get("functionId"),
        "phase": status.get("phase") or "",
        "peakMemoryBytes": peak,
        "memoryLimitBytes": limit,
        "usedPercent": round(100 * peak / limit) if peak and limit else None,
        "cpuMillis": result.get("cpuMillis"),
        "durationMillis": result.get("durationMillis"),
    }


def ranked(jobs: Sequence[Json]) -> list[Json]:
    """The jobs' usage, the largest peak first; those that have not run come last."""
    return sorted(map(usage, jobs), key=lambda one: -(one["peakMemoryBytes"] or 0))


def to_text(found: Sequence[Json]) -> str:
    """What people read."""
    rows = [["NAMESPACE", "NAME", "PHASE", "PEAK", "LIMIT", "USED", "CPU", "DURATION"]]
    for one in found:
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
