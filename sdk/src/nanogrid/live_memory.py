"""Memory of running code: the use at one moment, and when a change is worth a report. Pure.

The numbers come from a sandbox, so they are for people only: nothing decides by them.
"""

from typing import Final, NamedTuple

from nanogrid.sizes import MIB

STEPS: Final = 16  # of the limit: a smaller change is not worth a request
LEAST_BYTES: Final = MIB
UNLIMITED_BYTES: Final = 16 * MIB  # the step without a known limit
REPORT_SECONDS: Final = 10.0  # the shortest time between two reports of one job
# Then a use is reported again although it is equal: another operator may lead by then.
REFRESH_SECONDS: Final = 300.0


class MemoryUse(NamedTuple):
    """Memory of running code in bytes; the peak is the largest use so far, None if unknown."""

    current: int
    peak: int | None


def worth_reporting(last: MemoryUse | None, new: MemoryUse, limit: int | None) -> bool:
    """Whether a use differs noticeably from the last reported one.

    Args:
        last: the use of the last report; None if there was none.
        new: the use now.
        limit: the memory limit in bytes; None if it is unknown.
    """
    if last is None:
        return True
    step = max(LEAST_BYTES, limit // STEPS) if limit else UNLIMITED_BYTES
    return abs(new.current - last.current) > step or abs((new.peak or 0) - (last.peak or 0)) > step
