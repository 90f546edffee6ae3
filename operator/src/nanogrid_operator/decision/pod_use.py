"""What the pods of one namespace use: slots, CPU and memory. Pure.

Counts are kept up to date with each event, so no event costs more for more pods.
"""

from dataclasses import dataclass

from nanogrid import names
from nanogrid.lifecycle import pod_finished
from nanogrid.quantity import quantity
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.decision.snapshot import blocked_pod, started, syncing
from nanogrid_operator.model.pod_facts import Pod, pod_facts

# The pod's own spec keeps it from starting, so it does not wait for a node.
OWN_FAULTS = frozenset({Reason.IMAGE_PULL_FAILED, Reason.CONFIG_ERROR, Reason.START_FAILED})


@dataclass(frozen=True, slots=True)
class Need:
    """The limits of a sandbox container."""

    cpu_millis: int = 0
    memory_bytes: int = 0


NO_NEED = Need()


@dataclass(frozen=True, slots=True)
class PodUse:
    """What one pod counts for. A pod that is about to exist counts as one that has no node yet."""

    live: bool = True  # it has not ended
    waits: bool = True  # for a node, or for its node to start it
    unscheduled: bool = True  # it has no node yet
    unschedulable: bool = False  # the scheduler found no node with room
    need: Need = NO_NEED


def need_of(limits: Json) -> Need:
    """The need of a container with these limits."""
    cpu, memory = quantity(limits.get("cpu", 0)), quantity(limits.get("memory", 0))
    return Need(int(cpu * 1000), int(memory))


def pod_need(pod: Json) -> Need:
    """The limits of a pod's sandbox container."""
    for container in pod.get("spec", {}).get("containers", []):
        if container["name"] == names.CONTAINER_SANDBOX:
            return need_of(container.get("resources", {}).get("limits", {}))
    return NO_NEED


def pod_use(body: Json) -> PodUse:
    """What a pod counts for."""
    pod = pod_facts(body)
    waits = _waits(pod)
    return PodUse(
        live=not pod_finished(body),
        waits=waits,
        unscheduled=waits and not pod.scheduled,
        unschedulable=waits and bool(pod.unschedulable),
        need=pod_need(body),
    )


def _waits(pod: Pod) -> bool:
    """Whether a pod waits for a node, or for its node to start it.

    A pod with scheduling gates does not: another system, such as Kueue, has it in its own queue.
    """
    if pod.phase != "Pending" or pod.deleting or pod.gated:
        return False
    stuck = blocked_pod(pod)
    return not (started(pod) or syncing(pod) or (stuck is not None and stuck.reason in OWN_FAULTS))


class NamespaceUse:
    """The sums of one namespace: its pods, and slots that are claimed for pods to come."""

    def __init__(self) -> None:
        self._pods: dict[str, PodUse] = {}  # live ones by name
        self._claims: dict[str, PodUse] = {}  # by the pod's name or the job's uid
        self.live = self.waiting = self.unscheduled = self.unschedulable = 0
        self.cpu_millis = self.memory_bytes = 0

    @property
    def claims(self) -> int:
        """How many pods are about to exist."""
        return len(self._claims)

    def observe(self, name: str, use: PodUse | None) -> bool:
        """A pod has changed, or is gone (None); returns whether it started or ceased to be live."""
        self.release(name)
        old = self._pods.pop(name, None)
        if old is not None:
            self._add(old, -1)
        if use is None or not use.live:
            return old is not None
        self._pods[name] = use
        self._add(use, 1)
        return old is None

    def claim(self, key: str, need: Need) -> None:
        """Claim a slot for a pod that is about to exist."""
        self.release(key)
        self._claims[key] = PodUse(need=need)
        self._add(self._claims[key], 1)

    def release(self, key: str) -> None:
        """The pod exists now, or will not exist."""
        claim = self._claims.pop(key, None)
        if claim is not None:
            self._add(claim, -1)

    def _add(self, use: PodUse, sign: int) -> None:
        self.live += sign * use.live
        self.waiting += sign * use.waits
        self.unscheduled += sign * use.unscheduled
        self.unschedulable += sign * use.unschedulable
        self.cpu_millis += sign * use.need.cpu_millis
        self.memory_bytes += sign * use.need.memory_bytes
