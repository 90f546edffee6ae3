"""The rules of leader election: who holds a Lease, and when another process may take it. Pure.

Times are monotonic, in seconds. Clocks of different machines are never compared.
"""

from enum import Enum, auto
from typing import NamedTuple

from nanogrid.lifecycle import pod_finished
from nanogrid.types import Json

DURATION_SECONDS = 2  # of a record that does not change; then its holder counts as gone
RENEW_SECONDS = 0.5
RENEW_AGAIN_SECONDS = 0.1  # after a renewal that failed
POLL_SECONDS = 0.25
CALL_SECONDS = 2.0  # for one request to the API server
# A holder that has missed its renewals may have ended: then the API server is asked for its pod.
SUSPECT_SECONDS = 1.0
# A holder whose pod was deleted by force can renew for seconds more. The standby must notice before
# the pod that replaces it has started: only the standby has listed already.
ASK_SECONDS = 0.5
# For the holder's pod. It leaves time for the write, and two reads of the Lease are no longer apart
# than LONGEST_GAP_SECONDS: so a slow answer does not delay the take-over of a Lease that ended.
POD_SECONDS = 0.4
# Between two reads. A longer pause, of this process or of the API server, is not the holder's.
LONGEST_GAP_SECONDS = 3 * POLL_SECONDS
POD_SEPARATOR = "_"  # no name of a pod has it


class HolderPod(NamedTuple):
    """The pod that a holder runs in."""

    name: str
    uid: str


class HolderState(Enum):
    """What the API server knows of a holder's pod."""

    UNKNOWN = auto()  # it runs, as far as known; or the holder is not in a pod
    ENDED = auto()  # its containers have ended; they may start again
    GONE = auto()  # there is no such pod any more; on a lost node its containers may still run


class Observed(NamedTuple):
    """The record of a Lease (holder, time of the renewal).

    ``since`` is from when on it has not changed, as far as this process has watched it.
    """

    record: tuple[str, str]
    since: float
    read_at: float

    @property
    def holder(self) -> str:
        """The identity of the holder; empty if there is none."""
        return self.record[0]

    @property
    def unchanged(self) -> float:
        """For how many seconds the record has not changed at least."""
        return max(0.0, self.read_at - self.since)


def identity_of(name: str, pod_uid: str) -> str:
    """The identity of a process; ``pod_uid`` is empty outside a pod."""
    return f"{name}{POD_SEPARATOR}{pod_uid}" if pod_uid else name


def pod_of(identity: str) -> HolderPod | None:
    """The pod of a holder; None for a process outside a pod, and for an older operator."""
    name, separator, uid = identity.partition(POD_SEPARATOR)
    return HolderPod(name, uid) if separator and name and uid else None


def holder_state(holder: HolderPod, pod: Json | None) -> HolderState:
    """The state of a holder, from the pod that has its name now (None: there is none)."""
    if pod is None or pod["metadata"]["uid"] != holder.uid:
        return HolderState.GONE
    statuses = pod.get("status", {}).get("containerStatuses") or []
    if pod_finished(pod) or (statuses and all(map(_ended, statuses))):
        return HolderState.ENDED
    return HolderState.UNKNOWN


def _ended(container: Json) -> bool:
    """Whether a container has run, and does not run now."""
    state = container.get("state") or {}
    before = (container.get("lastState") or {}).get("terminated")
    return "terminated" in state or ("waiting" in state and before is not None)


def observe(lease: Json, before: Observed | None, sent: float, received: float) -> Observed:
    """Take in a Lease that was asked for at ``sent`` and came at ``received``.

    A record is as new as its answer. Time in which this process did not read counts for nothing:
    if it had no CPU, or the API server did not answer, the holder may have had the same trouble.
    """
    spec = lease.get("spec") or {}
    record = (spec.get("holderIdentity") or "", spec.get("renewTime") or "")
    if before is None or before.record != record:
        return Observed(record, received, received)
    missed = max(0.0, sent - before.read_at - LONGEST_GAP_SECONDS)
    return Observed(record, before.since + missed, sent)


def must_ask(observed: Observed, asked_at: float | None) -> bool:
    """Whether to ask for the holder's pod: when renewals are missing, and every half second.

    ``asked_at`` is when it was asked for; None if it never was, or for another holder.
    """
    if asked_at is None or observed.unchanged >= SUSPECT_SECONDS:
        return True
    return observed.read_at - asked_at >= ASK_SECONDS


def may_take(lease: Json, observed: Observed, identity: str, state: HolderState) -> bool:
    """Whether a Lease is ours, free, or of a holder that has ended or does not renew it.

    A pod that is gone never comes back. A container that has ended may have started again, and its
    status comes late: so the Lease also has to stay unchanged for a while.
    """
    if observed.holder in ("", identity) or state is HolderState.GONE:
        return True
    if state is HolderState.ENDED and observed.unchanged >= SUSPECT_SECONDS:
        return True
    duration = (lease.get("spec") or {}).get("leaseDurationSeconds") or DURATION_SECONDS
    return observed.unchanged >= float(duration)
