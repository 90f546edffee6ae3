"""Phases of a job, and the rule for when a job or a pod has finished."""

from enum import StrEnum
from typing import Final

from nanogrid.types import Json


class Phase(StrEnum):
    """A summary of the conditions, for people."""

    PENDING = "Pending"
    SUSPENDED = "Suspended"
    SYNCING = "Syncing"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def terminal(self) -> bool:
        """Whether a job in this phase has ended and never starts again."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)

    @classmethod
    def _missing_(cls, value: object) -> "Phase | None":
        """``Phase("running")`` is ``Phase.RUNNING``: users do not remember upper case."""
        text = str(value).lower()
        return next((one for one in cls if one.value.lower() == text), None)


TERMINAL_PHASES: Final = frozenset(phase.value for phase in Phase if phase.terminal)
# https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-phase
TERMINAL_POD_PHASES: Final = frozenset({"Succeeded", "Failed"})

# Reasons of a container that the runtime could not start, so it ran nothing: of containerd, and of
# cri-dockerd.
NOT_STARTED: Final = frozenset({"StartError", "ContainerCannotRun"})


def phase_of(job: Json) -> str:
    """The phase of an ExecutionJob; Pending until the operator has written a status."""
    return str((job.get("status") or {}).get("phase") or Phase.PENDING.value)


def finished(job: Json) -> bool:
    """Whether an ExecutionJob has a terminal phase; a terminal phase never changes."""
    return (job.get("status") or {}).get("phase") in TERMINAL_PHASES


def pod_finished(pod: Json) -> bool:
    """Whether all containers of a pod have ended and never restart."""
    return (pod.get("status") or {}).get("phase") in TERMINAL_POD_PHASES
