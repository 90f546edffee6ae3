"""What one execution of a session used of memory and CPU. Standard library only.

A session's cgroup has a past and other inhabitants: its peak cannot be reset and its CPU time is
everybody's. So the execution's own tree of processes is followed: private memory of all of them,
sampled, and the kernel's own maximum of the program (reset before, or of a process that is new). A
page that forks share would count once for each; the cgroup, which counts it once, is the bound.

In a context the peak is what the tree held at most while the execution ran, so that it includes
variables of earlier ones; CPU time is what was added.
"""

import os
import resource
import time
from typing import Final

from nanogrid_executor import measure, session_processes
from nanogrid_executor.gauge import FEW_SAMPLES, FIRST_SECONDS, GROWTH, LONGEST_SECONDS, READ_BYTES
from nanogrid_executor.session_cell import Cell

SOURCE: Final = "process-tree"


class Sandbox:
    """The cgroup of the whole sandbox."""

    def __init__(self) -> None:
        self._cgroup = measure.locate()
        self._stat: int | None = None
        if self._cgroup.source != measure.RUSAGE:
            self._stat = os.open(f"{self._cgroup.memory}/memory.stat", os.O_RDONLY | os.O_CLOEXEC)

    def resident(self) -> int | None:
        """Private and shared memory of all processes now, in bytes; None is unknown."""
        if self._stat is None:
            return None
        text = os.pread(self._stat, READ_BYTES, 0).decode("ascii")
        return measure.parse_resident(text, self._cgroup.source)

    def memory(self) -> measure.Memory:
        """Its peak, and how often the kernel killed something."""
        return measure.read_memory(self._cgroup)


class TreeGauge:
    """Follows one execution in one cell."""

    def __init__(self, sandbox: Sandbox, cell: Cell, *, fresh: bool) -> None:
        self._sandbox, self._cell, self._fresh = sandbox, cell, fresh
        self._before = sandbox.memory()
        self._most = self._mapped = self._samples = 0
        self._own_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self._interval = FIRST_SECONDS
        self._next = time.monotonic() + FIRST_SECONDS
        self._cpu_before = 0.0
        self._reset = False
        if not fresh:
            self._reset = session_processes.reset_peak(cell.main)
            self._cpu_before = self._tree_cpu()
            self.look()

    def patience(self) -> float:
        """Seconds until the next sample is due."""
        return max(0.0, self._next - time.monotonic())

    def sample(self) -> None:
        """Look, if it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._interval = min(self._interval * GROWTH, LONGEST_SECONDS)
        self._next = now + self._interval
        self.look()

    def look(self) -> None:
        """Take a sample now."""
        self._samples += 1
        self._most = max(self._most, self.held())
        self._mapped = max(self._mapped, session_processes.mapped_bytes(self._cell.main))

    def held(self) -> int:
        """Private memory of the tree now, in bytes."""
        return tree_bytes(self._cell, self._sandbox)

    def oom_killed(self) -> bool:
        """Whether the kernel killed something for memory since the beginning."""
        return measure.oom_killed(self._before, self._sandbox.memory())

    def peak(self) -> int:
        """The peak of memory in bytes; ask when it is over."""
        if not self._fresh:
            own = session_processes.peak_private_bytes(self._cell.main) if self._reset else 0
            if self._cell.gone and self.oom_killed():
                own = self._cell.usage_rss - self._mapped  # of its whole life, which ended by it
            return max(self._most, own)
        # As in gauge.Gauge: before its exec the program was a copy of us.
        max_rss = self._cell.usage_rss
        telling = max_rss > self._own_rss
        own = max_rss - self._mapped if telling else 0
        if not telling and self._samples <= FEW_SAMPLES:
            own = max_rss
        return max(self._most, own) or max_rss

    def cpu_seconds(self) -> float:
        """CPU time of this execution."""
        total = self._cell.usage_cpu if self._cell.gone else self._tree_cpu()
        return max(0.0, total - self._cpu_before)

    def _tree_cpu(self) -> float:
        processes = session_processes.table()
        pids = [self._cell.keeper, *session_processes.below(processes, self._cell.keeper)]
        return session_processes.cpu_seconds(processes, pids)


def tree_bytes(cell: Cell, sandbox: Sandbox) -> int:
    """Private memory of a cell's processes now, in bytes."""
    pids = cell.pids(session_processes.table())
    total = sum(session_processes.private_bytes(pid) for pid in pids)
    bound = sandbox.resident()
    return total if bound is None else min(total, bound)
