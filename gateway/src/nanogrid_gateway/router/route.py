"""The route to a session: one decision from its job and pod. Pure: no client, no clock."""

from dataclasses import dataclass

from nanogrid.lifecycle import TERMINAL_PHASES, TERMINAL_POD_PHASES, Phase
from nanogrid.reasons import Reason
from nanogrid_gateway.router.sessions import Address, Job, Pod

WAITING_PHASES = frozenset({Phase.PENDING.value, Phase.SYNCING.value, Phase.SUSPENDED.value})


@dataclass(frozen=True, slots=True)
class Ready:
    """The pod accepts requests."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class NotReady:
    """The session accepts no requests now; ``ip``, if set, may report the progress of inputs."""

    reason: str
    detail: str
    ip: str = ""
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The session has ended; its result is stored."""

    reason: str
    detail: str


Route = Ready | NotReady | Ended


def pod_address(job: Job) -> Address | None:
    """The pod that the job's status names, if any."""
    return Address(job.address.namespace, job.pod_name) if job.pod_name else None


def route(job: Job, pod: Pod | None) -> Route:
    """Decide from a session's job and the pod at :func:`pod_address`.

    Anyone who may create pods can write any label and any owner. Therefore a pod counts only if
    it has the name that the operator wrote to the status, is in the job's namespace, and is owned
    by the job's uid.
    """
    if job.phase in TERMINAL_PHASES:
        return Ended(job.reason or job.phase, job.message)
    if pod is not None and not _belongs_to(pod, job):
        pod = None
    ending = pod is not None and (pod.deleting or pod.phase in TERMINAL_POD_PHASES)
    if job.deleting or ending:
        return NotReady(Reason.STOPPING, "The session is ending", ending=True)
    if pod is not None and pod.ready and pod.ip:
        return Ready(pod)
    ip = pod.ip if pod is not None else ""
    # While the job waits, its status has the current reason. Later the status is out of date.
    if job.phase in WAITING_PHASES and job.reason:
        return NotReady(job.reason, job.message, ip)
    return NotReady(Reason.INITIALIZING, pod.message if pod is not None else "", ip)


def _belongs_to(pod: Pod, job: Job) -> bool:
    return pod.address == pod_address(job) and job.uid in pod.owners
