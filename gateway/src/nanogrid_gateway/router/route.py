"""Where a session is: the one decision from job and pod. Pure: no client, no clock."""

from dataclasses import dataclass

from nanogrid.reasons import Reason
from nanogrid.status import Phase
from nanogrid_gateway.router.objects import Address, Job, Pod

ENDED = frozenset({Phase.SUCCEEDED.value, Phase.FAILED.value})
ENDED_PODS = frozenset({"Succeeded", "Failed"})
WAITING = frozenset({Phase.PENDING.value, Phase.SYNCING.value, Phase.SUSPENDED.value})


@dataclass(frozen=True, slots=True)
class Ready:
    """Its pod takes requests."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class NotReady:
    """It takes no requests now. ``ip``, if any, may tell how far its inputs are."""

    reason: str
    detail: str
    ip: str = ""
    ending: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """It is over; its result is stored."""

    reason: str
    detail: str


Route = Ready | NotReady | Ended


def pod_address(job: Job) -> Address | None:
    """The pod that the operator says is the job's, if it has said so."""
    return Address(job.address.namespace, job.pod_name) if job.pod_name else None


def route(job: Job, pod: Pod | None) -> Route:
    """Decide from a session's job and the pod at :func:`pod_address`.

    Anybody who may create pods can write any label and any owner. So a pod counts only under the
    name that the operator wrote on the status, in the job's namespace, owned by the job's uid.
    """
    if job.phase in ENDED:
        return Ended(job.reason or job.phase, job.message)
    if pod is not None and not _is_of(pod, job):
        pod = None
    ending = pod is not None and (pod.deleting or pod.phase in ENDED_PODS)
    if job.deleting or ending:
        return NotReady(Reason.STOPPING, "The session ends", ending=True)
    if pod is not None and pod.ready and pod.ip:
        return Ready(pod)
    ip = pod.ip if pod is not None else ""
    # What the operator says while it waits; later the status describes what was, not what is.
    if job.phase in WAITING and job.reason:
        return NotReady(job.reason, job.message, ip)
    return NotReady(Reason.INITIALIZING, pod.message if pod is not None else "", ip)


def _is_of(pod: Pod, job: Job) -> bool:
    return pod.address == pod_address(job) and job.uid in pod.owners
