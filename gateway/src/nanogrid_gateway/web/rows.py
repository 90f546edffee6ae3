"""One row of a list: some hundred bytes of a job that has up to 100,000. Pure."""

import sys
from dataclasses import dataclass
from typing import Final

from nanogrid import names, wire
from nanogrid.controller_class import FIELD, class_of
from nanogrid.hints import Surface, reworded
from nanogrid.job_function import function_of
from nanogrid.lifecycle import TERMINAL_PHASES, Phase
from nanogrid.shown_memory import shown_memory
from nanogrid.types import Json
from nanogrid_gateway.api import job_fields
from nanogrid_gateway.web import formatting

MESSAGE: Final = 300  # characters
ROW: Final = "row"  # where a compact job has its row


@dataclass(frozen=True, slots=True)
class Row:
    """The shown fields of one job; Kubernetes timestamps, memory in bytes."""

    uid: str
    namespace: str
    name: str
    request_id: str
    function: str
    version: str
    session: bool
    phase: str
    reason: str
    message: str
    created: str
    completed: str
    duration: int | None
    peak: int | None
    limit: int | None
    exit_code: int | None

    @property
    def ended(self) -> bool:
        """Whether the job has finished."""
        return self.phase in TERMINAL_PHASES

    @property
    def sort_key(self) -> tuple[str, str]:
        """The sort key: newest first in reverse order."""
        return self.created, self.name


def row_of(job: Json) -> Row:
    """The row of a job, complete or compact."""
    if isinstance(row := job.get(ROW), Row):
        return row
    meta, status = job["metadata"], job_fields.status_of(job)
    result = status.get("result") or {}
    phase = status.get("phase") or Phase.PENDING.value
    unfinished = phase not in TERMINAL_PHASES
    return Row(
        uid=meta["uid"],
        namespace=sys.intern(str(meta.get("namespace") or "")),
        name=meta["name"],
        request_id=str(job["spec"].get("requestId") or status.get("requestId") or meta["uid"]),
        function=sys.intern(function_of(job) or ""),
        version=sys.intern(version_of(job)),
        session=job["spec"].get("mode") == names.MODE_SESSION,
        phase=sys.intern(phase),
        reason=sys.intern(status.get("reason") or ""),
        message=_message(status) if unfinished else "",
        created=str(meta.get("creationTimestamp") or ""),
        completed=str(status.get("completionTime") or ""),
        duration=result.get("durationMillis"),
        peak=result.get("peakMemoryBytes"),
        limit=memory_limit(job),
        exit_code=result.get("exitCode"),
    )


def _message(status: Json) -> str:
    """Why a run waits. Shortened only now: a part of a hint would keep the words of kubectl."""
    return reworded(str(status.get("message") or ""), Surface.WEB)[:MESSAGE]


def version_of(job: Json) -> str:
    """The function version that a job runs, if known."""
    return str(job_fields.version_of(job) or "")


def phase_of(status: str) -> Phase:
    """The phase of a job whose result has this status; the page names phases only."""
    return Phase.SUCCEEDED if status == wire.STATUS_SUCCESS else Phase.FAILED


def memory_limit(job: Json) -> int | None:
    """The limit in bytes: from the operator's measurement, else the job's, else its function's."""
    shown = shown_memory(job_fields.status_of(job)).limit
    pinned = job_fields.status_of(job).get("function") or {}
    asked = (_memory(of) for of in (job["spec"], pinned))
    return shown or next((limit for limit in asked if limit), None)


def _memory(of: Json) -> int | None:
    """The memory limit that a spec or a pinned function sets."""
    limits = (of.get("resources") or {}).get("limits") or {}
    return formatting.quantity(limits.get("memory"))


def compact(job: Json) -> Json:
    """A job as the index needs it: its row, and what a watch needs; the rest is freed at once."""
    meta = job["metadata"]
    kept = {k: meta[k] for k in ("uid", "resourceVersion") if k in meta}
    return {"metadata": kept, "spec": {FIELD: class_of(job)}, ROW: row_of(job)}
