"""The API server's clock, from the Date headers of its answers. No I/O.

Deadlines, times to live and grace periods start at timestamps of the API server, so the operator
measures them by the API server's clock. It measures its own calls by the monotonic clock.
"""

import time
from collections import deque
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from statistics import median_low
from typing import NamedTuple

SAMPLES = 5
SLOWEST_SECONDS = 2.0  # the Date of a slower answer is too imprecise
RECENT_SECONDS = 60.0  # older samples may be from before a clock was set
TOLERANCE_SECONDS = 2.0  # a Date has whole seconds, so a smaller difference means nothing


class Sample(NamedTuple):
    """How far the server's clock is ahead of ours, and when that was measured; seconds."""

    ahead: float
    at: float  # by the monotonic clock


def ahead(date: str, sent: float, received: float) -> float | None:
    """Seconds by which the clock of the server is ahead of ours; None if it is unknown.

    Args:
        date: The Date header of an answer.
        sent: When the request was sent, in seconds since the epoch by our clock.
        received: When its answer came, by the same clock.
    """
    if not 0 <= received - sent <= SLOWEST_SECONDS:
        return None
    try:
        written = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None
    return written + 0.5 - (sent + received) / 2  # on average, half of the second has passed


def offset(samples: Iterable[Sample], now: float) -> float:
    """Seconds to add to our clock: the median of the recent samples, or 0 if that is small.

    ``now`` is by the monotonic clock. If no sample is recent, the last one counts.
    """
    known = list(samples)
    recent = [s for s in known if now - s.at <= RECENT_SECONDS] or known[-1:]
    middle = median_low(s.ahead for s in recent) if recent else 0.0
    return middle if abs(middle) >= TOLERANCE_SECONDS else 0.0


class ServerClock:
    """Estimates the API server's clock from the last samples."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES)
        self.offset = 0.0  # seconds to add to our clock

    def now(self) -> float:
        """Seconds since the epoch by the API server's clock, as far as its answers show it."""
        return time.time() + self.offset

    def observe(self, date: str, sent: float, received: float, at: float) -> None:
        """Take in the Date of an answer; see :func:`ahead`. ``at``: the monotonic clock."""
        measured = ahead(date, sent, received)
        if measured is not None:
            self._samples.append(Sample(measured, at))
            self.offset = offset(self._samples, at)
