"""What the pages of functions say: from the Function's status, or from its runs. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_gateway.web import words
from nanogrid_gateway.web.paths import run_path
from nanogrid_gateway.web.plots import Point
from nanogrid_gateway.web.rows import Json, Row

RECENT: Final = 50
KINDS: Final = {wire.STATUS_SUCCESS: "good", wire.STATUS_TIMEOUT: "warn"}


@dataclass(frozen=True, slots=True)
class Ended:
    """One run that has ended; memory in bytes, ``time`` when it ended, ``name`` its job's."""

    name: str
    request_id: str
    version: str
    status: str
    reason: str
    time: str
    duration: int | None
    peak: int | None
    limit: int | None

    @property
    def kind(self) -> str:
        """The CSS class of its status."""
        return KINDS.get(self.status, "bad")


@dataclass(frozen=True, slots=True)
class FunctionView:
    """A function: its versions, the newest first, and what is known of its runs."""

    id: str
    created: str
    memory: str
    timeout: int | None
    image: str
    versions: list[Json]
    runs: int | None
    last: Json | None
    recommendation: Json | None
    recent: list[Ended]


def view_of(body: Json, rows: Sequence[Row] = ()) -> FunctionView:
    """The view of a Function; ``rows`` are its runs, for an operator that keeps no list of them."""
    spec, status = body["spec"], body.get("status") or {}
    limits = (spec.get("resources") or {}).get("limits") or {}
    versions = sorted(spec.get("versions") or [], key=lambda v: -v["version"])
    recent = [_from_status(run) for run in status.get("recent") or []]
    recent = sorted(recent, key=lambda run: run.time, reverse=True)[:RECENT]
    return FunctionView(
        id=body["metadata"]["name"],
        created=str(body["metadata"].get("creationTimestamp") or ""),
        memory=str(limits.get("memory") or ""),
        timeout=(spec.get("timeouts") or {}).get("executionSeconds"),
        image=str((spec.get("runtime") or {}).get("image") or ""),
        versions=versions,
        runs=status.get("runs"),
        last=status.get("lastRun"),
        recommendation=status.get("recommendation"),
        recent=recent or [_from_row(row) for row in rows],
    )


def durations(runs: Iterable[Ended]) -> list[Point]:
    """The runs' durations in milliseconds, the oldest first."""
    return [_point(run, run.duration, words.millis(run.duration)) for run in _oldest_first(runs)]


def peaks(runs: Iterable[Ended]) -> list[Point]:
    """The runs' peaks of memory in bytes with their limits, the oldest first."""
    return [
        _point(run, run.peak, f"{words.size(run.peak)} of {words.size(run.limit)}", run.limit)
        for run in _oldest_first(runs)
    ]


def _oldest_first(runs: Iterable[Ended]) -> list[Ended]:
    return list(runs)[::-1]


def _point(run: Ended, value: Any, figure: str, limit: int | None = None) -> Point:
    label = f"{run.request_id}: {run.reason}, {figure}"
    return Point(value, run.kind, label, run_path(run.name), limit)


def _from_status(run: Json) -> Ended:
    request_id = str(run.get("requestId") or "")
    return Ended(
        name=str(run.get("job") or request_id),
        request_id=request_id,
        version=str(run.get("version") or ""),
        status=str(run.get("status") or ""),
        reason=str(run.get("reason") or ""),
        time=str(run.get("time") or ""),
        duration=run.get("durationMillis"),
        peak=run.get("peakMemoryBytes"),
        limit=run.get("memoryLimitBytes"),
    )


def _from_row(row: Row) -> Ended:
    failed = wire.STATUS_FAILED
    if row.reason in (Reason.EXECUTION_TIMEOUT, Reason.DEADLINE_EXCEEDED):
        failed = wire.STATUS_TIMEOUT
    return Ended(
        name=row.name,
        request_id=row.request_id,
        version=row.version,
        status=wire.STATUS_SUCCESS if row.phase == "Succeeded" else failed,
        reason=row.reason,
        time=row.completed or row.created,
        duration=row.duration,
        peak=row.peak,
        limit=row.limit,
    )
