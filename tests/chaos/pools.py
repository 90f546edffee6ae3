"""Pools of the chaos tests: when a pod can be claimed, and what an operator says to one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from chaos.lab.faultproxy import FaultProxy
from chaos.lab.faults import Call, Tap
from chaos.ledger import Ledger
from nanogrid import names, pod_identity
from nanogrid.types import Json
from support.kubectl import Namespace

POOL: Final = "ready"
READY: Final = 2  # pods
SMALL = {"limits": {"memory": "128Mi", "cpu": "500m"}, "requests": {"cpu": "20m"}}
FILL_SECONDS: Final = 120.0


def apply_pool(namespace: Namespace, **spec: Any) -> None:
    """Apply the pool :data:`POOL`."""
    namespace.apply(
        {
            "apiVersion": names.API_VERSION,
            "kind": names.POOL_KIND,
            "metadata": {"name": POOL},
            "spec": {"resources": SMALL, "minReady": READY, **spec},
        }
    )


def asks_for_task(call: Call) -> bool:
    """Whether a waiting agent asks the operator for its task."""
    return call.method == "GET" and call.path == names.TASK_PATH


def is_hand_over(piece: bytes) -> bool:
    """Whether a piece of the operator's answer has a task: the other pieces are empty lines."""
    return bool(piece.strip())


@dataclass(slots=True)
class AtHandOver:
    """What happens at the next hand-over: ``do`` runs, and the connection is reset.

    With ``after`` the agent gets its task first. ``hits`` counts the hand-overs that it was
    applied to.
    """

    after: bool
    do: Callable[[], object]
    hits: int = 0
    removed: bool = False

    def remove(self) -> None:
        """End it."""
        self.removed = True


class HandOvers:
    """Watches what an operator says to waiting agents, through the proxy in front of it.

    ``count`` is the number of tasks that went to agents.
    """

    def __init__(self, results: FaultProxy) -> None:
        self.count = 0
        self._next: AtHandOver | None = None
        results.fault(asks_for_task, Tap(self._before, self._after))

    def at_next(self, do: Callable[[], object], *, after: bool) -> AtHandOver:
        """Do something once, before or after the next hand-over."""
        self._next = AtHandOver(after, do)
        return self._next

    def _before(self, piece: bytes) -> bool:
        return is_hand_over(piece) and self._applies(after=False)

    def _after(self, piece: bytes) -> bool:
        if not is_hand_over(piece):
            return False
        self.count += 1
        return self._applies(after=True)

    def _applies(self, *, after: bool) -> bool:
        planned = self._next
        if planned is None or planned.after != after or planned.removed or planned.hits:
            return False
        planned.hits += 1
        planned.do()
        return True


def waiting_pods(ledger: Ledger) -> list[Json]:
    """The pods that wait in a pool now."""
    return [
        pod
        for uids in list(ledger.pods.values())
        for uid, pod in list(uids.items())
        if uid not in ledger.gone
        and names.LABEL_POOL in pod["metadata"]["labels"]
        and not pod_identity.job_uid(pod)
        and "deletionTimestamp" not in pod["metadata"]
    ]


def wait_filled(ledger: Ledger, results: FaultProxy, count: int = READY) -> list[Json]:
    """Wait until so many pods wait, and the agent of each asks for its task; returns the pods."""

    def filled() -> list[Json] | None:
        asking = sum(map(asks_for_task, results.streams))
        pods = waiting_pods(ledger)
        return pods if len(pods) == count == asking else None

    found: list[Json] = ledger.wait(f"{count} pods wait for a task", filled, FILL_SECONDS)
    return found
