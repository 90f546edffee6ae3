"""Reads the JSON of `make bench`. Pure. Times are milliseconds from just before the create request.

meta          date, commit, machine, Kubernetes, seconds of the run; later: {part: date, commit} of
              parts that were measured in a later run
skipped       part or subject → why it was not measured
latency       rounds: [{rows: {subject: {column: ms}}, busy, steal, load, foreign, failed}];
              columns are those of the table and the steps of the timeline
bursts        [{subject, jobs, round, terminal: [ms], results: [ms], cold, foreign}]
operator      cold, warm: [{jobs, cpuMillis, requests: {verb: count}, tokenReviews,
              residentMebibytes, peakMebibytes}], without what the idle operator uses
series        results of jobs on a pool, one after the other: [ms]
sustained     {offered, jobs, seconds, warm, results: [ms from each job's own create]}
sync          [{files, client, round, seconds, cpuSeconds, peakMebibytes, bytes}]
controlPlane  {runs: [{jobs, perSecond: {subject: [jobs/s of each round]}, firstTenthP99Millis,
              lastTenthP99Millis, operatorMebibytes, operatorCpuMillis}]}, of bench.controlplane
"""

from typing import Any, Final

from nanogrid.types import Json
from support.benchmark.subjects import POOL_PART, Subject

WRITES: Final = ("POST", "PUT", "PATCH", "DELETE")
READS: Final = ("GET",)

Cell = tuple[Subject, str]


def completed(earlier: Json, later: Json) -> Json:
    """An earlier run, with the parts that only a later one has; ``meta.later`` names them."""
    parts = {key: later[key] for key in later if key not in (*earlier, "meta", "skipped", "failed")}
    known = {one["subject"] for one in earlier.get("bursts", [])}
    bursts = [one for one in later.get("bursts", []) if one["subject"] not in known]
    windows = {**later.get("operator", {}), **earlier.get("operator", {})}
    meta, names = earlier["meta"], [*parts]
    if "bursts" in earlier and bursts:
        parts["bursts"] = [*earlier["bursts"], *bursts]
        names.append(POOL_PART)
    if "operator" in earlier:
        parts["operator"] = windows
    when = {key: {name: later["meta"][name] for name in ("date", "commit")} for key in names}
    return {
        **{key: value for key, value in earlier.items() if key != "failed"},
        **parts,
        "meta": {**meta, "later": {**meta.get("later", {}), **when}},
        "skipped": {key: why for key, why in earlier["skipped"].items() if key not in names},
    }


def rounds(document: Json) -> list[Json]:
    """The counted rounds of the latency table."""
    found: list[Json] = document.get("latency", {}).get("rounds", [])
    return found


def column(document: Json, cell: Cell) -> list[float]:
    """The values of a subject's column, of all rounds that have it."""
    subject, name = cell
    rows = (one["rows"].get(subject.key, {}) for one in rounds(document))
    return [float(row[name]) for row in rows if row.get(name) is not None]


def pairs(document: Json, ours: Cell, theirs: Cell) -> tuple[list[float], list[float]]:
    """Two columns, of the rounds that have both."""
    found = [
        (rows.get(ours[0].key, {}).get(ours[1]), rows.get(theirs[0].key, {}).get(theirs[1]))
        for rows in (one["rows"] for one in rounds(document))
    ]
    both = [(a, b) for a, b in found if a is not None and b is not None]
    return [a for a, _ in both], [b for _, b in both]


def bursts(document: Json, subject: Subject, jobs: int | None = None) -> list[Json]:
    """The bursts of a subject, also of one size only."""
    found: list[Json] = document.get("bursts", [])
    return [one for one in found if one["subject"] == subject.key and jobs in (None, one["jobs"])]


def burst_pairs(
    document: Json, ours: Subject, theirs: Subject, jobs: int | None = None
) -> tuple[list[float], list[float]]:
    """When the last one of a burst had ended, of the rounds that have both."""
    ends = [
        {one["round"]: max(one["terminal"]) for one in bursts(document, subject, jobs)}
        for subject in (ours, theirs)
    ]
    both = sorted(ends[0].keys() & ends[1].keys())
    return [ends[0][number] for number in both], [ends[1][number] for number in both]


def per_job(window: Json, *verbs: str) -> float:
    """Requests of the operator per job, to one decimal.

    Renewals of the Lease are counted as idle; that their number differs by one is no cost of a job.
    TokenReviews are POST requests, but write nothing.
    """
    requests: dict[str, float] = window["requests"]
    total = sum(requests.get(verb, 0.0) for verb in verbs)
    if "POST" in verbs:
        total -= window["tokenReviews"]
    return abs(round(float(total / window["jobs"]), 1))


def windows(document: Json, kind: str) -> list[Json]:
    """The measured windows of the operator; ``kind`` is cold or warm."""
    found: list[Json] = document.get("operator", {}).get(kind, [])
    return found


def syncs(document: Json, files: str, client: str, field: str) -> dict[int, float]:
    """A figure of a client's copies, by round."""
    found: list[dict[str, Any]] = document.get("sync", [])
    return {
        one["round"]: float(one[field])
        for one in found
        if (one["files"], one["client"]) == (files, client)
    }


def control_plane(document: Json, jobs: int) -> Json | None:
    """The run of so many jobs on simulated nodes."""
    found: list[Json] = document.get("controlPlane", {}).get("runs", [])
    return next((one for one in found if one["jobs"] == jobs), None)
