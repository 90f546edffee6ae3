"""Memory and CPU time of one execution. Standard library only.

The cgroup's own peak is too high: it includes the launcher and page cache, which any program fills
that writes files, and none needs. So private and shared memory is sampled while the code runs,
minus what was there before. The kernel covers processes that are too short for a sample:
``ru_maxrss`` of each process, minus the file pages (libraries) that it maps. The larger value is
the peak, but never more than the cgroup's own. docs/decisions/007 has the numbers.

CPU time is the sum that ``os.wait4`` reports for every process of the execution. It lacks children
that the kernel reaped because their parent ignores SIGCHLD. The cgroup's value, minus the
launcher's own work, includes them. The larger one is right.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

from nanogrid_executor.launcher import cgroup
from nanogrid_executor.launcher.cgroup import Cgroup, Memory

TYPE_CHECKING = False  # see nanogrid_executor.launcher.values
if TYPE_CHECKING:
    from typing import Final

FIRST_SECONDS: Final = 0.002
FEW_SAMPLES: Final = 3  # as many as fit into the start of an interpreter
LONGEST_SECONDS: Final = 0.1
GROWTH: Final = 1.5
PAGE_BYTES: Final = resource.getpagesize()

Clock = Callable[[], float]


class SampleSchedule:
    """When to sample: often at first, then less and less often."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._interval = FIRST_SECONDS
        self._next = clock() + FIRST_SECONDS

    def seconds_left(self) -> float:
        """Seconds until the next sample is due."""
        return max(0.0, self._next - self._clock())

    def due(self) -> bool:
        """Whether a sample is due now; if so, the next one is scheduled."""
        now = self._clock()
        if now < self._next:
            return False
        self._interval = min(self._interval * GROWTH, LONGEST_SECONDS)
        self._next = now + self._interval
        return True


class Samples:
    """The newest sample and the maximum of all samples, in bytes."""

    def __init__(self) -> None:
        self.count = 0
        self.current = 0
        self.resident = 0
        self.mapped = 0

    def add(self, resident: int, mapped: int) -> None:
        """Take one sample.

        Args:
            resident: private and shared memory of the execution.
            mapped: files and shared memory that the main process maps.
        """
        self.count += 1
        self.current = max(0, resident)
        self.resident = max(self.resident, resident)
        self.mapped = max(self.mapped, mapped)

    def peak(self, max_rss: int, launcher_rss: int) -> int:
        """The peak memory of an execution whose processes are all new, in bytes.

        Args:
            max_rss: ``ru_maxrss`` of its largest process.
            launcher_rss: the launcher's own. Before exec each process was a copy of the launcher,
                and the kernel counts that: a maximum that is not larger says nothing, unless there
                are hardly any samples.
        """
        meaningful = max_rss > launcher_rss
        largest = max_rss - self.mapped if meaningful else 0
        if not meaningful and self.count <= FEW_SAMPLES:
            largest = max_rss
        return max(self.resident, largest) or max_rss


class UsageSampler:
    """Samples one execution; create it before the process starts."""

    def __init__(
        self,
        own_cgroup: Cgroup | None = None,
        clock: Clock = time.monotonic,
        already_private: int = 0,
    ) -> None:
        """Note the values before the execution.

        Args:
            own_cgroup: the sandbox's cgroup; None finds it.
            clock: schedules the samples.
            already_private: private memory that the execution's process has already, in bytes. It
                counts as the execution's.
        """
        self._cgroup = own_cgroup or cgroup.locate()
        self._schedule = SampleSchedule(clock)
        self._samples = Samples()
        self.before = cgroup.read_memory(self._cgroup)
        self._cpu_before = cgroup.read_cpu_seconds(self._cgroup)
        self._own_cpu_before = time.process_time()
        self._launcher_rss = own_max_rss()
        self._resident = cgroup.ResidentMemory(self._cgroup)
        self._resident_before = max(0, (self._resident.read() or 0) - already_private)

    def seconds_left(self) -> float:
        """Seconds until the next sample is due."""
        return self._schedule.seconds_left()

    def sample(self, pid: int) -> None:
        """Take a sample if one is due; ``pid`` is the main process."""
        if self._schedule.due():
            resident = (self._resident.read() or 0) - self._resident_before
            self._samples.add(resident, mapped_bytes(pid))

    def live(self) -> tuple[int, int] | None:
        """Private and shared memory of the newest and of the largest sample; None: no cgroup."""
        if self._cgroup.source == cgroup.RUSAGE:
            return None
        return self._samples.current, self._samples.resident

    def close(self) -> None:
        """Stop sampling."""
        self._resident.close()

    def peak(self, max_rss: int, after: Memory) -> int:
        """The peak memory in bytes.

        Args:
            max_rss: ``ru_maxrss`` of the largest process, in bytes.
            after: the cgroup's own values at the end.
        """
        if after.peak is not None and cgroup.oom_killed(self.before, after):
            return after.peak  # the kernel had reclaimed all page cache by then: this is the limit
        peak = self._samples.peak(max_rss, self._launcher_rss)
        return peak if after.peak is None else min(peak, after.peak)

    def cpu_seconds(self, waited: float) -> float:
        """CPU time; ``waited`` is the sum that wait4 reported for all processes."""
        after = cgroup.read_cpu_seconds(self._cgroup)
        if after is None or self._cpu_before is None:
            return waited
        own = time.process_time() - self._own_cpu_before
        return max(waited, after - self._cpu_before - own)

    def after(self) -> Memory:
        """The cgroup's own values now."""
        return cgroup.read_memory(self._cgroup)


def own_max_rss() -> int:
    """The largest memory that the launcher itself ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def mapped_bytes(pid: int) -> int:
    """Bytes of files and shared memory that a process maps; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[2]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0
