"""What can be done next for a job: the results of :mod:`nanogrid_operator.decision.decide`."""

from dataclasses import dataclass

from nanogrid.api.function_spec import FunctionRef
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason
from nanogrid_operator.decision.outcome import Outcome
from nanogrid_operator.model.pod_facts import Pod


@dataclass(frozen=True, slots=True)
class Nothing:
    """The job has ended, or is being deleted."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Look again after this many seconds, or at the next event."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Pin:
    """Read the function that the job refers to, and write to the status what will run."""

    ref: FunctionRef


@dataclass(frozen=True, slots=True)
class Create:
    """Create the pod of this attempt."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Inspect:
    """Read the pod's Events to find out why it does not start."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class ObserveExposure:
    """Look at the Ingress or TargetGroupBinding of a session."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Write what the job is doing, then look again after this many seconds."""

    phase: Phase
    reason: Reason
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ShowMemory:
    """Write the memory of the running code, then look again after this many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Queue for a slot for the attempt's pod; ``shown`` is what to do in the meantime."""

    shown: Progress | Wait


@dataclass(frozen=True, slots=True)
class Stop:
    """Delete the pod with its grace period: the agent stores outputs and reports."""

    reason: Reason
    pod: Pod


@dataclass(frozen=True, slots=True)
class Retry:
    """Write the attempt's end and continue with the next attempt."""

    outcome: Outcome
    counted: bool
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """Publish the result and write the terminal status."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Recover:
    """Look for a stored result in S3. Without one, the attempt ends with the fallback."""

    fallback: Outcome


@dataclass(frozen=True, slots=True)
class Deliver:
    """Publish the result of a finished job that Redis does not have yet."""


@dataclass(frozen=True, slots=True)
class RemovePod:
    """Delete a pod that outlives its attempt."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete the finished job: its time to live is over."""


Action = (
    Nothing
    | Wait
    | Pin
    | Create
    | Inspect
    | ObserveExposure
    | Progress
    | ShowMemory
    | Enqueue
    | Stop
    | Retry
    | Finish
    | Recover
    | Deliver
    | RemovePod
    | DeleteJob
)
