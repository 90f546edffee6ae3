"""What one execution used of memory and CPU. Standard library only.

The cgroup's own peak counts page cache, which any program that writes files has and none needs,
and it counts the launcher. So private and shared memory is sampled while the code runs, less what
was there before. What is too short for a sample is seen by the kernel: ``ru_maxrss`` of each
process, less the file pages (libraries) that it maps. The larger of the two is the peak, but never
more than the cgroup's own. docs/decisions has the numbers.

CPU time is the sum of what ``os.wait4`` says of every process of the execution. It lacks children
that their parent had the kernel reap unseen; the cgroup's figure, less the launcher's own work,
has them. The larger one is right.
"""

import os
import resource
import time
from typing import Final

from nanogrid_executor import measure

FIRST_SECONDS: Final = 0.002
FEW_SAMPLES: Final = 3  # as many as fit into the start of an interpreter
LONGEST_SECONDS: Final = 0.1
GROWTH: Final = 1.5
PAGE_BYTES: Final = resource.getpagesize()
READ_BYTES: Final = 16 * 1024


class Gauge:
    """Follows one execution; make it before the process is started."""

    def __init__(self) -> None:
        self._cgroup = measure.locate()
        self.before = measure.read_memory(self._cgroup)
        self._cpu_before = measure.read_cpu_seconds(self._cgroup)
        self._own_cpu_before = time.process_time()
        self._own_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self._stat: int | None = None
        if self._cgroup.source != measure.RUSAGE:
            self._stat = os.open(f"{self._cgroup.memory}/memory.stat", os.O_RDONLY | os.O_CLOEXEC)
        self._idle = self._resident()
        self._most = 0
        self._samples = 0
        self._mapped = 0
        self._interval = FIRST_SECONDS
        self._next = time.monotonic() + FIRST_SECONDS

    def patience(self) -> float:
        """Seconds until the next sample is due."""
        return max(0.0, self._next - time.monotonic())

    def sample(self, pid: int) -> None:
        """Look, if it is time to; ``pid`` is the main process."""
        now = time.monotonic()
        if now < self._next:
            return
        self._interval = min(self._interval * GROWTH, LONGEST_SECONDS)
        self._next = now + self._interval
        self._samples += 1
        self._most = max(self._most, self._resident() - self._idle)
        self._mapped = max(self._mapped, _mapped(pid))

    def close(self) -> None:
        """No more samples."""
        if self._stat is not None:
            os.close(self._stat)
            self._stat = None

    def peak(self, max_rss: int, after: measure.Memory) -> int:
        """The peak of memory in bytes.

        Args:
            max_rss: of the largest process, in bytes.
            after: the cgroup's own word at the end.
        """
        if after.peak is not None and measure.oom_killed(self.before, after):
            return after.peak  # by then all page cache is gone: it is the limit
        # Before its exec the process was a copy of us, and the kernel counts that: a maximum that
        # is no larger than our own says nothing, unless there is hardly anything else to go by.
        telling = max_rss > self._own_rss
        own = max_rss - self._mapped if telling else 0
        if not telling and self._samples <= FEW_SAMPLES:
            own = max_rss
        peak = max(self._most, own) or max_rss
        return peak if after.peak is None else min(peak, after.peak)

    def cpu_seconds(self, waited: float) -> float:
        """CPU time; ``waited`` is what wait4 said of all processes."""
        after = measure.read_cpu_seconds(self._cgroup)
        if after is None or self._cpu_before is None:
            return waited
        own = time.process_time() - self._own_cpu_before
        return max(waited, after - self._cpu_before - own)

    def after(self) -> measure.Memory:
        """The cgroup's own word now."""
        return measure.read_memory(self._cgroup)

    def _resident(self) -> int:
        if self._stat is None:
            return 0
        text = os.pread(self._stat, READ_BYTES, 0).decode("ascii")
        return measure.parse_resident(text, self._cgroup.source) or 0


def _mapped(pid: int) -> int:
    """Bytes of files and shared memory that a process maps; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[2]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0
