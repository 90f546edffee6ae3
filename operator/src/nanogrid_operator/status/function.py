"""From runs that have ended to the status of their Function. Pure.

Each run counts once, however often it is offered: ``recent`` and ``counted`` name the runs that
are counted already. A run that neither names, and that ended before ``counted.until``, was counted
earlier.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from nanogrid import names, wire
from nanogrid.api.function import COUNTED_RUNS, RECENT_RUNS, RecentRun
from nanogrid.lifecycle import finished
from nanogrid.reasons import Reason
from nanogrid.rightsizing import MeasuredRun, measured, recommend
from nanogrid.types import Json
from nanogrid_operator.kube.objects import seconds, timestamp

# How long the ledger names a run that `recent` has no room for. A terminal status that the API
# server takes later than that, after a restart of the operator, is not counted.
LEDGER_SECONDS = 300.0
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_STATUSES = frozenset({wire.STATUS_SUCCESS, wire.STATUS_FAILED, wire.STATUS_TIMEOUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run of a function that has ended; ``entry`` is its entry in status.recent.

    ``sure``: a reference or label names the function, not a functionId, which can be any text.
    """

    namespace: str
    function: str
    sure: bool
    function_uid: str | None  # of the pinned function
    created: float  # when the job was created, in seconds since the epoch
    entry: Json

    @property
    def uid(self) -> str:
        """The uid of its job."""
        return str(self.entry["uid"])


@dataclass(frozen=True, slots=True)
class CountedRuns:
    """The runs that a function's status has counted."""

    uids: frozenset[str]
    marks: frozenset[str]
    until: float

    def has(self, run: Run) -> bool:
        """Whether the run is counted, or never will be."""
        at = seconds(run.entry["time"]) or 0.0
        return run.uid in self.uids or _mark(at, run.uid) in self.marks or at <= self.until


def run_of(job: Json) -> Run | None:
    """The run of an ExecutionJob that has ended and names a function; None for any other job.

    Raises:
        LookupError, TypeError, ValueError: The job is malformed.
    """
    if not finished(job) or job["spec"].get("mode") == names.MODE_SESSION:
        return None
    name, sure = _function(job)
    meta, status = job["metadata"], job["status"]
    result, memory = status.get("result"), measured(status)
    if not name or result is None or memory is None:
        return None
    pinned = status.get("function") or {}
    ran = result.get("exitCode") is not None
    entry = RecentRun(
        request_id=result["requestId"],
        job=meta["name"],
        uid=meta["uid"],
        version=pinned.get("version") or _version(job),
        status=result["status"] if result["status"] in _STATUSES else wire.STATUS_FAILED,
        reason=result["reason"],
        time=status["completionTime"],
        duration_millis=result.get("durationMillis") if ran else None,
        peak_memory_bytes=memory.peak_bytes,
        memory_limit_bytes=memory.limit_bytes,
        memory_source=result.get("memorySource"),
    )
    return Run(
        namespace=meta["namespace"],
        function=name,
        sure=sure,
        function_uid=pinned.get("uid"),
        created=seconds(meta["creationTimestamp"]) or 0.0,
        entry=entry.model_dump(mode="json", by_alias=True, exclude_none=True),
    )


def _function(job: Json) -> tuple[str, bool]:
    """The name of the function, empty if there is none, and whether it surely is a function."""
    spec = job["spec"]
    label = (job["metadata"].get("labels") or {}).get(names.LABEL_FUNCTION)
    sure = (spec.get("functionRef") or {}).get("name") or label
    name = sure or spec.get("functionId") or ""
    return (name, bool(sure)) if _NAME.fullmatch(name) else ("", False)


def _version(job: Json) -> int | None:
    """The version that a job's annotation names, or the requested one that does not exist."""
    notes = job["metadata"].get("annotations") or {}
    text = notes.get(names.ANNOTATION_FUNCTION_VERSION, "")
    if _NUMBER.fullmatch(text):
        return int(text)
    wanted: int | None = (job["spec"].get("functionRef") or {}).get("version")
    return wanted


def _mark(at: float, uid: str) -> str:
    """A counted run in 27 characters: the time of its end, and a digest of its uid."""
    return f"{int(at)}-{hashlib.sha256(uid.encode()).hexdigest()[:16]}"


def counted_runs(function: Json) -> CountedRuns:
    """The runs that a Function's status has counted."""
    status = function.get("status") or {}
    counted = status.get("counted") or {}
    return CountedRuns(
        frozenset(run["uid"] for run in status.get("recent") or []),
        frozenset(counted.get("runs") or []),
        seconds(counted.get("until")) or 0.0,
    )


def merged(function: Json, runs: Iterable[Run]) -> Json | None:
    """The function's status with these runs counted, as a merge patch; None if none is new.

    A run of an earlier function of the same name does not count.
    """
    meta, status = function["metadata"], function.get("status") or {}
    counted = counted_runs(function)
    fresh = {run.uid: run.entry for run in runs if _belongs(run, meta) and not counted.has(run)}
    if not fresh:
        return None
    everything = [*(status.get("recent") or []), *fresh.values()]
    everything.sort(key=lambda entry: (seconds(entry["time"]) or 0.0, entry["uid"]), reverse=True)
    recent = everything[:RECENT_RUNS]
    return {
        "observedGeneration": meta.get("generation", 0),
        "versions": len(function["spec"]["versions"]),
        "runs": status.get("runs", 0) + len(fresh),
        "lastRun": _last_run(recent[0]),
        "recommendation": recommendation(recent),
        "recent": recent,
        "counted": _ledger(counted, recent[0], everything[RECENT_RUNS:]),
    }


def _belongs(run: Run, meta: Json) -> bool:
    if run.function_uid is not None:
        return bool(run.function_uid == meta["uid"])
    return run.created >= (seconds(meta.get("creationTimestamp")) or 0.0)


def _last_run(entry: Json) -> Json:
    """The newest run; null, which a merge patch removes, for fields that it does not have."""
    return {key: entry.get(key) for key in ("requestId", "version", "status", "reason", "time")}


def _ledger(before: CountedRuns, newest: Json, pushed: list[Json]) -> Json | None:
    """The runs that `recent` has no room for: by name for a while, then only by a time."""
    horizon = (seconds(newest["time"]) or 0.0) - LEDGER_SECONDS
    marks = {_mark(seconds(e["time"]) or 0.0, e["uid"]) for e in pushed} | before.marks
    ordered = sorted(marks, key=lambda mark: (_ended_at(mark), mark), reverse=True)
    kept = [mark for mark in ordered[:COUNTED_RUNS] if _ended_at(mark) >= horizon]
    until = max([before.until, *map(_ended_at, ordered[len(kept) :])])
    if not kept and not until:
        return None
    return {"runs": kept, "until": timestamp(until) if until else None}


def _ended_at(mark: str) -> float:
    return float(mark.partition("-")[0])


def recommendation(recent: list[Json]) -> Json | None:
    """The memory that the recent runs suggest, preferably those of the version that ran last."""
    same = [entry for entry in recent if entry.get("version") == recent[0].get("version")]
    advice = recommend([_measured(e) for e in same]) or recommend([_measured(e) for e in recent])
    if advice is None:
        return None
    return {
        "memory": advice.memory,
        "basedOn": advice.based_on,
        "p95PeakBytes": advice.p95_peak_bytes,
        "currentLimitBytes": advice.current_limit_bytes,
        "oomKills": advice.oom_kills,
    }


def _measured(entry: Json) -> MeasuredRun:
    return MeasuredRun(
        peak_bytes=entry.get("peakMemoryBytes"),
        limit_bytes=entry.get("memoryLimitBytes"),
        succeeded=entry["status"] == wire.STATUS_SUCCESS,
        oom_killed=entry["reason"] == Reason.OOM_KILLED,
    )
