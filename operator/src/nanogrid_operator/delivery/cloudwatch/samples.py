"""From a job that has ended to what CloudWatch gets of it. Pure.

The value of the dimension `Function` is the name of a function, or a word that begins with ``_``,
which no name does.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from nanogrid import names
from nanogrid.job_function import function_of
from nanogrid.lifecycle import Phase, finished, phase_of
from nanogrid.reasons import Reason
from nanogrid.types import Json

NO_FUNCTION: Final = "_none"
SESSION: Final = "_session"
OTHER: Final = "_other"  # no name of a function, or one too many
MAX_NUMBER: Final = 2**53  # larger numbers are no measurement, and JSON readers round them
# A functionId can be any text, and a dimension is ASCII.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One ended job; ``at`` is when this operator ended it, in seconds since the epoch."""

    uid: str
    at: float
    namespace: str
    function: str
    succeeded: bool
    duration_millis: int | None  # None if the code never ran
    peak_memory_bytes: int | None


def sample_of(job: Json, at: float) -> Sample | None:
    """The sample of an ExecutionJob that has ended; None if it does not count.

    A cancelled job does not count: it is neither a success nor a failure of its function.

    Raises:
        LookupError, TypeError, AttributeError: The job is malformed.
    """
    status = job.get("status") or {}
    if not finished(job) or status.get("reason") == Reason.CANCELLED:
        return None
    result = status.get("result") or {}
    ran = result.get("exitCode") is not None
    return Sample(
        uid=job["metadata"]["uid"],
        at=at,
        namespace=job["metadata"]["namespace"],
        function=_function(job),
        succeeded=phase_of(job) == Phase.SUCCEEDED,
        duration_millis=_number(result.get("durationMillis")) if ran else None,
        peak_memory_bytes=_number(result.get("peakMemoryBytes")),
    )


def _function(job: Json) -> str:
    if (job.get("spec") or {}).get("mode") == names.MODE_SESSION:
        return SESSION
    name = function_of(job)
    if name is None:
        return NO_FUNCTION
    return name if _NAME.fullmatch(name) else OTHER


def _number(value: Any) -> int | None:
    """A measured number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= MAX_NUMBER else None
