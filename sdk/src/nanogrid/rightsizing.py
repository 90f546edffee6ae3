"""Which memory limit fits code, by the measured peaks of its runs. Pure, standard library only.

The one place for room above a peak and for the sizes that advice is rounded to: the tip of a single
run, a function's recommendation and the command line all use it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nanogrid import wire
from nanogrid.reasons import Reason

MEGABYTE: Final = 1 << 20
HEADROOM: Final = 1.3  # times the peak
OOM_FACTOR: Final = 2  # times the limit: the peak of a killed process is its limit, not its need
SMALLEST_MB: Final = 16
LEAST_RUNS: Final = 5  # measured, before several runs say anything
PERCENTILE: Final = 95


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """The memory of one run that has ended, in bytes; None for what is not known."""

    peak_bytes: int | None
    limit_bytes: int | None = None
    succeeded: bool = True
    oom_killed: bool = False

    @property
    def known_bytes(self) -> int | None:
        """What the run needed at least; None when it says nothing about the need.

        Code that failed for another reason than memory may not have come as far as it does.
        """
        if self.oom_killed:
            return max(self.peak_bytes or 0, self.limit_bytes or 0) or None
        return self.peak_bytes if self.succeeded else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The limit that the runs suggest, and what it rests on; sizes in bytes."""

    memory: str  # as a manifest has it: 64Mi, 2Gi
    memory_bytes: int
    based_on: int  # measured runs
    p95_peak_bytes: int
    current_limit_bytes: int | None  # of the newest run whose limit is known
    oom_kills: int


def nice_mb(count: float) -> int:
    """Bytes as megabytes, rounded up to a multiple of 16 (32, 64, ... for larger sizes)."""
    wanted = max(count / MEGABYTE, SMALLEST_MB)
    step = 16
    while step * 16 < wanted:  # steps grow with the size: 16 MB up to 256, 32 up to 512, ...
        step *= 2
    return int(-(-wanted // step) * step)


def recommended_mb(peak: int) -> int:
    """A limit in MB with 30 % of room above a peak in bytes, as a size that people write."""
    return nice_mb(peak * HEADROOM)


def after_oom_mb(limit: int) -> int:
    """The limit in MB to try next after a kill at a limit in bytes."""
    return nice_mb(limit * OOM_FACTOR)


def memory_text(megabytes: int) -> str:
    """Megabytes as a manifest has them: 64Mi, 1536Mi, 2Gi."""
    return f"{megabytes // 1024}Gi" if megabytes % 1024 == 0 else f"{megabytes}Mi"


def percentile(values: Sequence[int], share: int) -> int:
    """The smallest of the values that so many of 100 do not exceed (nearest rank).

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values: a percentile needs one at least")
    return sorted(values)[max(0, math.ceil(len(values) * share / 100) - 1)]


def recommend(runs: Sequence[MeasuredRun], least_runs: int = LEAST_RUNS) -> Advice | None:
    """The limit with room above the 95th percentile, and above every limit that was too small.

    Args:
        runs: of the same code, the newest first.
        least_runs: how many of them must be measured.

    Returns:
        None while too few runs are measured.
    """
    known = [need for run in runs if (need := run.known_bytes) is not None]
    if len(known) < max(1, least_runs):
        return None
    killed = [need for run in runs if run.oom_killed and (need := run.known_bytes) is not None]
    peak = percentile(known, PERCENTILE)
    megabytes = max([recommended_mb(peak), *map(after_oom_mb, killed)])
    limits = (run.limit_bytes for run in runs if run.limit_bytes is not None)
    return Advice(
        memory=memory_text(megabytes),
        memory_bytes=megabytes * MEGABYTE,
        based_on=len(known),
        p95_peak_bytes=peak,
        current_limit_bytes=next(limits, None),
        oom_kills=len(killed),
    )


def measured(status: Mapping[str, Any]) -> MeasuredRun | None:
    """What the status of an ExecutionJob says of its last attempt's memory.

    Args:
        status: as the API server gives it.

    Returns:
        None for a job that has not ended.
    """
    from nanogrid.quantity import quantity  # late: pods import this module, for their tip

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
