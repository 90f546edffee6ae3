"""What the operator observed about an attempt: rejections, Events, session reports."""

from dataclasses import dataclass
from typing import NamedTuple

from nanogrid import wire
from nanogrid.reasons import Reason


class Rejection(NamedTuple):
    """A pod that the API server rejected: its message, the first and last time (epoch seconds)."""

    message: str
    since: float
    last: float


class Inspection(NamedTuple):
    """What a pod's Events say, and when they were read (epoch seconds)."""

    warning: tuple[Reason, str] | None
    at: float


@dataclass(frozen=True, slots=True)
class SessionObservation:
    """The newest report of a session and when it came, in seconds since the epoch."""

    report: wire.SessionReport
    at: float

    @property
    def last_activity(self) -> float:
        """When the session was last active, by the operator's clock."""
        return self.at - self.report.last_activity_millis / 1000
