"""The API server's clock, from the Date headers of its answers. Pure but for its memory.

Deadlines, times to live and graces begin with timestamps that the API server wrote, so they are
counted by its clock. Durations of the operator's own calls are not: they have the monotonic clock.
"""

from collections import deque
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from statistics import median_low
from typing import NamedTuple

SAMPLES = 5
SLOWEST_SECONDS = 2.0  # of an answer: a slower one does not say when its Date was written
RECENT_SECONDS = 60.0  # an older sample may be from before somebody set a clock
TOLERANCE_SECONDS = 2.0  # a Date has whole seconds, and clocks that agree need no correction


class Sample(NamedTuple):
    """How far the server's clock was ahead of ours, and when that was seen; seconds."""

    ahead: float
    at: float  # by the monotonic clock


def ahead(date: str, sent: float, received: float) -> float | None:
    """Seconds by which the server that wrote ``date`` is ahead of us; None if it cannot be told.

    Args:
        date: a Date header.
        sent: when the request was sent, in seconds since the epoch by our clock.
        received: when its answer came.
    """
    if not 0 <= received - sent <= SLOWEST_SECONDS:
        return None
    try:
        written = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    return written + 0.5 - (sent + received) / 2  # anywhere within its second


def offset(samples: Iterable[Sample], now: float) -> float:
    """Seconds to add to our clock: the median of what was seen lately, or 0 if that is little.

    ``now`` is the monotonic clock's. Without recent samples the last one has to do.
    """
    known = list(samples)
    recent = [s for s in known if now - s.at <= RECENT_SECONDS] or known[-1:]
    middle = median_low(s.ahead for s in recent) if recent else 0.0
    return middle if abs(middle) >= TOLERANCE_SECONDS else 0.0


class ServerTime:
    """Remembers the last samples."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self.offset = 0.0  # seconds to add to our clock

    def heard(self, date: str, sent: float, received: float, at: float) -> None:
        """Take in the Date of an answer; see :func:`ahead`. ``at``: the monotonic clock."""
        seen = ahead(date, sent, received)
        if seen is not None:
            self._samples.append(Sample(seen, at))
            self.offset = offset(self._samples, at)
