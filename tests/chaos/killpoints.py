"""The kill points of a job: each call that the operator makes for it, taken from one clean run.

A call point is a call's method and path without the names of the run, and its number among the
calls of this shape. So the same call is found again in the next run. At each call point the
operator can be killed twice: before the server gets the call, and after the server has handled it
and before the answer arrives.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from chaos.lab.faultproxy import FaultProxy
from chaos.lab.faults import After, Before, Call, Effect
from chaos.pools import HandOvers
from nanogrid import names
from support.operator_process import OperatorProcess

HAND_OVER: Final = "hand-over"  # the shape of the line that gives a waiting pod its task
QUIET_SECONDS = 0.4
QUIET_WITHIN_SECONDS = 5.0


def shape(call: Call, job: str, namespace: str) -> str:
    """A call's method and path, with placeholders for the names of job, pod and namespace."""
    path = re.sub(rf"\b{re.escape(job)}-[0-9a-f]{{8}}-(\d+)", r"{pod \1}", call.path)
    path = path.replace(f"/{job}", "/{job}").replace(namespace, "{namespace}")
    parts = ["{pool pod}" if names.is_pool_pod(part) else part for part in path.split("/")]
    path = "/".join(parts)
    return f"{call.method} {path}{' (watch)' if call.watch else ''}"


@dataclass(frozen=True)
class CallPoint:
    """The ``occurrence``-th call (from 1) of a shape to one server."""

    server: str  # api, s3, or pods: the operator, which a pod has asked
    shape: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.server}: {self.shape} #{self.occurrence}"


@dataclass(frozen=True)
class KillPoint:
    """Where the operator is killed: before the server gets a call, or after it handled it."""

    point: CallPoint
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.point}"


def wait_until_quiet(proxy: FaultProxy) -> None:
    """Wait until no call has arrived for a moment."""
    deadline = time.monotonic() + QUIET_WITHIN_SECONDS
    while time.monotonic() < deadline:
        calls = proxy.calls
        if not calls or time.monotonic() - calls[-1].at > QUIET_SECONDS:
            return
        time.sleep(0.05)


def call_points(
    server: str, calls: list[Call], job: str, namespace: str, wanted: Callable[[Call], bool]
) -> list[CallPoint]:
    """The call points among the calls of a clean run."""
    seen: dict[str, int] = {}
    found = []
    for call in calls:
        if wanted(call):
            kind = shape(call, job, namespace)
            seen[kind] = seen.get(kind, 0) + 1
            found.append(CallPoint(server, kind, seen[kind]))
    return found


class Armed(Protocol):
    """A fault that kills the operator."""

    @property
    def hits(self) -> int:
        """How often it was applied."""

    def remove(self) -> None:
        """End it."""


@dataclass
class ScheduledKill:
    """Kills the operator at a kill point and restarts it at once; :meth:`join` ends the wait."""

    operator: OperatorProcess
    killed: threading.Event = field(default_factory=threading.Event)
    ready_seconds: float | None = None  # from the kill until the restarted operator is ready
    fault: Armed | None = None

    def arm(
        self,
        kill: KillPoint,
        proxy: FaultProxy,
        job: str,
        namespace: str,
        wanted: Callable[[Call], bool],
    ) -> "ScheduledKill":
        """Start to count the calls of the kill point's shape."""
        count = 0

        def picks(call: Call) -> bool:
            nonlocal count
            if not wanted(call) or shape(call, job, namespace) != kill.point.shape:
                return False
            count += 1
            return count == kill.point.occurrence

        effect: Effect = After(self._kill) if kill.after else Before(self._kill)
        return self._wait_for(proxy.fault(picks, effect, times=1))

    def arm_hand_over(self, hand_overs: HandOvers, *, after: bool) -> "ScheduledKill":
        """Kill the operator before or after a waiting pod gets the next task."""
        return self._wait_for(hand_overs.at_next(self._kill, after=after))

    def _wait_for(self, fault: Armed) -> "ScheduledKill":
        self.fault = fault
        self._thread = threading.Thread(target=self._restart, daemon=True)
        self._over = threading.Event()
        self._thread.start()
        return self

    def _kill(self) -> None:
        self.operator.kill()
        self.killed.set()

    def _restart(self) -> None:
        while not self.killed.wait(0.05):
            # The kill may come between the wait and this line, and the end right after it.
            if self._over.is_set() and not self.killed.is_set():
                return
        began = time.monotonic()
        self.operator.start().wait_ready()
        self.ready_seconds = time.monotonic() - began

    def join(self, seconds: float) -> bool:
        """Whether the kill point was reached within ``seconds`` from now; the operator runs."""
        reached = self.killed.wait(seconds)
        assert self.fault is not None, "call arm() first"
        self.fault.remove()
        if self.fault.hits:  # the call came at the last moment, and the kill follows
            reached = self.killed.wait(60)
        self._over.set()
        self._thread.join(150)
        assert self.operator.running, f"the operator did not restart:\n{self.operator.tail()}"
        return reached
