"""Which jobs of a listing a caller wants, and in which order. Pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from nanogrid.client.errors import InvalidRequest
from nanogrid.job_function import function_of
from nanogrid.lifecycle import Phase, finished, phase_of
from nanogrid.types import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which jobs to keep; None keeps all.

    Attributes:
        phase: of the job.
        function: name of the function that the job runs.
        since: the job was created at most this number of seconds ago.
        ended_before: the job ended at least this number of seconds ago.
        ended: whether the job must have ended.
    """

    phase: Phase | None = None
    function: str | None = None
    since: float | None = None
    ended_before: float | None = None
    ended: bool = False

    @property
    def by_metadata(self) -> bool:
        """Whether the metadata of a job is enough to decide."""
        return self == Selection(since=self.since)

    def accepts(self, job: Json, now: float) -> bool:
        """Whether a job is selected; ``now`` is in seconds since the epoch."""
        return (
            (self.phase is None or phase_of(job) == self.phase.value)
            and (self.function is None or function_of(job) == self.function)
            and (self.since is None or created(job) >= now - self.since)
            and (not self.ended or finished(job))
            and (self.ended_before is None or _ended(job) <= now - self.ended_before)
        )


def phase_named(text: str) -> Phase:
    """The phase with this name, in upper or lower case.

    Raises:
        InvalidRequest: no phase has this name; the hint lists all phases.
    """
    try:
        return Phase(text)
    except ValueError:
        hint = f"The phases are {', '.join(phase.value for phase in Phase)}."
        raise InvalidRequest(f"there is no phase {text!r}.", hint) from None


def newest_first(jobs: Iterable[Json]) -> list[Json]:
    """Jobs by creation time; jobs of one second by name."""
    by_name = sorted(jobs, key=lambda job: str(job["metadata"]["name"]))
    return sorted(by_name, key=created, reverse=True)


def created(job: Json) -> float:
    """When a job was created, in seconds since the epoch."""
    return datetime.fromisoformat(job["metadata"]["creationTimestamp"]).timestamp()


def _ended(job: Json) -> float:
    """When a job ended, in seconds since the epoch; infinite for one that has not."""
    at = (job.get("status") or {}).get("completionTime")
    if not finished(job):
        return math.inf
    return datetime.fromisoformat(at).timestamp() if at else created(job)
