"""Views for the pages of functions, from a Function's status or from its runs. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nanogrid import wire
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_gateway.web import formatting
from nanogrid_gateway.web.paths import Scope
from nanogrid_gateway.web.plots import Point
from nanogrid_gateway.web.rows import Row, phase_of

RECENT_RUNS: Final = 50
STATUS_CLASSES: Final = {wire.STATUS_SUCCESS: "good", wire.STATUS_TIMEOUT: "warn"}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run: ``name`` of its job, end ``time``, duration in ms, memory in bytes."""

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
    def css_class(self) -> str:
        """The CSS class of its dot."""
        return STATUS_CLASSES.get(self.status, "bad")

    @property
    def phase(self) -> Phase:
        """The phase of its job."""
        return phase_of(self.status)


@dataclass(frozen=True, slots=True)
class FunctionView:
    """A function: its settings, its versions (newest first) and its runs."""

    id: str
    created: str
    memory: str
    timeout: int | None
    image: str
    pool: str
    versions: list[Json]
    runs: int | None
    last: Json | None
    recommendation: Json | None
    recent: list[FinishedRun]


def view_of(body: Json, rows: Sequence[Row] = ()) -> FunctionView:
    """The view of a Function; ``rows`` replace the list of runs if its status has none."""
    spec, status = body["spec"], body.get("status") or {}
    limits = (spec.get("resources") or {}).get("limits") or {}
    versions = sorted(spec.get("versions") or [], key=lambda v: -v["version"])
    recent = [_from_status(run) for run in status.get("recent") or []]
    recent = sorted(recent, key=lambda run: run.time, reverse=True)[:RECENT_RUNS]
    return FunctionView(
        id=body["metadata"]["name"],
        created=str(body["metadata"].get("creationTimestamp") or ""),
        memory=str(limits.get("memory") or ""),
        timeout=(spec.get("timeouts") or {}).get("executionSeconds"),
        image=str((spec.get("runtime") or {}).get("image") or ""),
        pool=str((spec.get("poolRef") or {}).get("name") or ""),
        versions=versions,
        runs=status.get("runs"),
        last=status.get("lastRun"),
        recommendation=status.get("recommendation"),
        recent=recent or [_from_row(row) for row in rows],
    )


def durations(runs: Iterable[FinishedRun], scope: Scope) -> list[Point]:
    """The runs' durations in milliseconds, oldest first."""
    return [
        _point(run, scope, run.duration, formatting.millis(run.duration))
        for run in _oldest_first(runs)
    ]


def peaks(runs: Iterable[FinishedRun], scope: Scope) -> list[Point]:
    """The runs' peak memory and limits in bytes, oldest first."""
    return [
        _point(
            run,
            scope,
            run.peak,
            f"{formatting.size(run.peak)} of {formatting.size(run.limit)}",
            run.limit,
        )
        for run in _oldest_first(runs)
    ]


def _oldest_first(runs: Iterable[FinishedRun]) -> list[FinishedRun]:
    return list(runs)[::-1]


def _point(
    run: FinishedRun, scope: Scope, value: Any, text: str, limit: int | None = None
) -> Point:
    label = f"{run.request_id}: {run.reason}, {text}"
    return Point(value, run.css_class, label, scope.run(run.name), limit)


def _from_status(run: Json) -> FinishedRun:
    request_id = str(run.get("requestId") or "")
    return FinishedRun(
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


def _from_row(row: Row) -> FinishedRun:
    timeout = row.reason in (Reason.EXECUTION_TIMEOUT, Reason.DEADLINE_EXCEEDED)
    failed = wire.STATUS_TIMEOUT if timeout else wire.STATUS_FAILED
    return FinishedRun(
        name=row.name,
        request_id=row.request_id,
        version=row.version,
        status=wire.STATUS_SUCCESS if row.phase == Phase.SUCCEEDED else failed,
        reason=row.reason,
        time=row.completed or row.created,
        duration=row.duration,
        peak=row.peak,
        limit=row.limit,
    )
