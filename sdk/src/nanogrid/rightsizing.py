"""Memory limits that fit the measured peaks of runs. Pure, standard library only.

The hint of a single run, the recommendation of a function and the command line use the same rules
for the room above a peak and for rounding.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid.record import Record
from nanogrid.sandbox_limits import LEAST_MEMORY_MIB
from nanogrid.sizes import MIB, size_text

HEADROOM: Final = 1.3  # times the peak
OOM_FACTOR: Final = 2  # times the limit, because the peak of a killed process is its limit
LEAST_RUNS: Final = 5  # measured runs that a recommendation needs
PERCENTILE: Final = 95
NEAR: Final = 0.85  # of the limit
FAR: Final = 0.5


class MeasuredRun(Record):
    """The memory of an ended run in bytes; None for an unknown value."""

    peak_bytes: int | None
    limit_bytes: int | None = None
    succeeded: bool = True
    oom_killed: bool = False

    @property
    def known_bytes(self) -> int | None:
        """The memory that the run needed at least; None when the run does not show its need.

        Code that failed for another reason may have ended before it reached its peak.
        """
        if self.oom_killed:
            return max(self.peak_bytes or 0, self.limit_bytes or 0) or None
        return self.peak_bytes if self.succeeded else None


class Advice(Record):
    """The recommended limit and its basis; sizes in bytes."""

    memory: str  # as in a manifest: 64Mi, 2Gi
    memory_bytes: int
    based_on: int  # number of measured runs
    p95_peak_bytes: int
    current_limit_bytes: int | None  # of the newest run with a known limit
    oom_kills: int


def nice_limit(count: float) -> int:
    """Bytes, rounded up to a multiple of 16Mi (32Mi, 64Mi, ... for larger sizes)."""
    wanted = max(count / MIB, LEAST_MEMORY_MIB)
    step = 16
    while step * 16 < wanted:  # the step grows with the size: 16Mi up to 256Mi, 32Mi up to 512Mi
        step *= 2
    return int(-(-wanted // step) * step) * MIB


def recommended_limit(peak: int) -> int:
    """A limit: the peak plus 30 %, rounded up; in bytes."""
    return nice_limit(peak * HEADROOM)


def limit_after_oom(limit: int) -> int:
    """The limit to try next after a kill at a limit; in bytes."""
    return nice_limit(limit * OOM_FACTOR)


def percentile(values: Sequence[int], share: int) -> int:
    """The smallest value that at least ``share`` percent of the values do not exceed.

    This is the nearest-rank method.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values: a percentile needs at least one")
    return sorted(values)[max(0, math.ceil(len(values) * share / 100) - 1)]


def recommend(runs: Sequence[MeasuredRun], least_runs: int = LEAST_RUNS) -> Advice | None:
    """The limit above the 95th percentile, and above every limit that caused an OOM kill.

    Args:
        runs: of the same code, the newest first.
        least_runs: minimum number of measured runs.

    Returns:
        None if there are too few measured runs.
    """
    known = [need for run in runs if (need := run.known_bytes) is not None]
    if len(known) < max(1, least_runs):
        return None
    killed = [need for run in runs if run.oom_killed and (need := run.known_bytes) is not None]
    peak = percentile(known, PERCENTILE)
    advised = max([recommended_limit(peak), *map(limit_after_oom, killed)])
    limits = (run.limit_bytes for run in runs if run.limit_bytes is not None)
    return Advice(
        memory=size_text(advised),
        memory_bytes=advised,
        based_on=len(known),
        p95_peak_bytes=peak,
        current_limit_bytes=next(limits, None),
        oom_kills=len(killed),
    )


def measured(status: Mapping[str, Any]) -> MeasuredRun | None:
    """The memory of a job's last attempt.

    Args:
        status: of an ExecutionJob, as in the Kubernetes API.

    Returns:
        None if the job has not ended.
    """
    from nanogrid.quantity import quantity  # late, because each pod imports this module

    result = status.get("result")
    if not result:
        return None
    attempts = status.get("attempts") or [{}]
    limit = attempts[-1].get("memoryLimit")
    return MeasuredRun(
        peak_bytes=result.get("peakMemoryBytes"),
        limit_bytes=int(quantity(limit)) if limit else None,
        succeeded=result.get("status") == wire.STATUS_SUCCESS,
        oom_killed=result.get("reason") == Reason.OOM_KILLED,
    )


def optimization_tip(limit: int | None, peak: int | None, *, oom_killed: bool = False) -> str:
    """One sentence about the memory limit: how much was used, and a better limit.

    Args:
        limit: the memory limit in bytes.
        peak: peak memory in bytes.
        oom_killed: whether the kernel killed the code for its memory.
    """
    if oom_killed:
        return _after_oom(limit)
    if peak is None:
        return "Peak memory is unknown, so there is no advice on the memory limit."
    used = size_text(peak)
    advised = recommended_limit(peak)
    advice = size_text(advised)
    if limit is None:
        return f"no memory limit, used {used}: set a limit of {advice}."
    head = f"limit {size_text(limit)}, used {used}"
    if peak > limit * NEAR:
        return f"{head}: close to the limit; raise it to {advice} to be safe from OOM kills."
    if peak < limit * FAR and advised < limit:
        return f"{head}: a limit of {advice} is enough and leaves room for more jobs."
    return f"{head}: the limit fits."


def _after_oom(limit: int | None) -> str:
    if limit is None:
        return "The node ran out of memory: set a memory limit, or read the input in pieces."
    return (
        f"limit {size_text(limit)}, reached: the kernel killed the code; raise the limit to "
        f"{size_text(limit_after_oom(limit))}, or read the input in pieces."
    )
