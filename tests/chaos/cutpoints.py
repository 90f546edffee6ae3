"""The cut points of a job: every call that the operator makes for it, from one clean run.

A point is a call's method and path, with names of the run left out, and which of its kind it is;
so the same call can be found again in the next run. At each of them the operator can die twice:
before the server hears of the call, and when the server has done it and the answer is on its way.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from chaos.lab.faultproxy import After, Before, Call, Effect, Fault, FaultProxy
from chaos.lab.operatorprocess import OperatorProcess

QUIET_SECONDS = 0.4
QUIET_WITHIN_SECONDS = 5.0


def shape(call: Call, job: str, namespace: str) -> str:
    """What remains of a call when job and namespace may have other names."""
    path = re.sub(rf"\b{re.escape(job)}-[0-9a-f]{{8}}-(\d+)", r"{pod \1}", call.path)
    path = path.replace(f"/{job}", "/{job}").replace(namespace, "{namespace}")
    return f"{call.method} {path}{' (watch)' if call.watch else ''}"


@dataclass(frozen=True)
class CutPoint:
    """The ``occurrence``-th call (from 1) of a shape, on the way to one server."""

    server: str  # api or s3
    shape: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.server}: {self.shape} #{self.occurrence}"


@dataclass(frozen=True)
class Cut:
    """One death of the operator: where, and on which side of the server's act."""

    point: CutPoint
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} {self.point}"


def quiet(proxy: FaultProxy) -> None:
    """Wait until no call came for a moment."""
    deadline = time.monotonic() + QUIET_WITHIN_SECONDS
    while time.monotonic() < deadline:
        calls = proxy.calls
        if not calls or time.monotonic() - calls[-1].at > QUIET_SECONDS:
            return
        time.sleep(0.05)


def points(
    server: str, calls: list[Call], job: str, namespace: str, wanted: Callable[[Call], bool]
) -> list[CutPoint]:
    """The cut points among the calls of a clean run."""
    seen: dict[str, int] = {}
    found = []
    for call in calls:
        if wanted(call):
            kind = shape(call, job, namespace)
            seen[kind] = seen.get(kind, 0) + 1
            found.append(CutPoint(server, kind, seen[kind]))
    return found


@dataclass
class Death:
    """An operator that dies at a cut and is started again at once; :meth:`join` ends the wait."""

    operator: OperatorProcess
    killed: threading.Event = field(default_factory=threading.Event)
    resumed_seconds: float | None = None
    fault: Fault | None = None

    def at(
        self, cut: Cut, proxy: FaultProxy, job: str, namespace: str, wanted: Callable[[Call], bool]
    ) -> "Death":
        """Arm it: from now on calls of the cut's shape are counted."""
        count = 0

        def picks(call: Call) -> bool:
            nonlocal count
            if not wanted(call) or shape(call, job, namespace) != cut.point.shape:
                return False
            count += 1
            return count == cut.point.occurrence

        effect: Effect = After(self._die) if cut.after else Before(self._die)
        self.fault = proxy.fault(picks, effect, times=1)
        self._thread = threading.Thread(target=self._revive, daemon=True)
        self._over = threading.Event()
        self._thread.start()
        return self

    def _die(self) -> None:
        self.operator.kill()
        self.killed.set()

    def _revive(self) -> None:
        while not self.killed.wait(0.05):
            if self._over.is_set():
                return
        began = time.monotonic()
        self.operator.start().wait_ready()
        self.resumed_seconds = time.monotonic() - began

    def join(self, seconds: float) -> bool:
        """Whether the cut was met, within so many seconds from now; the operator runs again."""
        met = self.killed.wait(seconds)
        assert self.fault is not None, "arm it with at()"
        self.fault.remove()
        if self.fault.hits:  # the call came at the last moment, and the blow is about to fall
            met = self.killed.wait(10)
        self._over.set()
        self._thread.join(40)
        assert self.operator.running, f"the operator did not come back:\n{self.operator.tail()}"
        return met
