"""What can be done next for a job: the answers of :mod:`nanogrid_operator.decide`."""

from dataclasses import dataclass

from nanogrid.reasons import Reason
from nanogrid.status import Phase
from nanogrid_operator.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Nothing:
    """The job has ended, or is going."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after so many seconds, or at the next event."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Pin:
    """Read the function that the job refers to, and write down what runs of it."""


@dataclass(frozen=True, slots=True)
class Create:
    """Create the pod of this attempt."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Inspect:
    """Ask the pod's own events why it does not start."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Write what the job is doing, then look again after so many seconds."""

    phase: Phase
    reason: Reason
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Wait for a place for the attempt's pod; ``shown`` is what to do meanwhile."""

    shown: Progress | Wait


@dataclass(frozen=True, slots=True)
class Stop:
    """Delete the pod with its grace: the agent stores outputs and reports."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Retry:
    """Write the attempt's end and go on with the next one."""

    outcome: Outcome
    counted: bool
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """Publish the result and write the terminal status."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Recover:
    """Look for a stored result in S3; without one, the attempt ends with the fallback."""

    fallback: Outcome


@dataclass(frozen=True, slots=True)
class Deliver:
    """Publish the result of a finished job that Redis does not have yet."""


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete the finished job: its time to live is over."""


Action = (
    Nothing
    | Wait
    | Pin
    | Create
    | Inspect
    | Progress
    | Enqueue
    | Stop
    | Retry
    | Finish
    | Recover
    | Deliver
    | DeleteJob
)
