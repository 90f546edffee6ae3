"""Memory and CPU time of one execution of a session. Standard library only.

A session's cgroup also holds earlier executions and other processes. Its peak cannot be reset, and
its CPU time is that of all. So the execution's own process tree is measured: the private memory of
all its processes, sampled, and the kernel's maximum of the program (reset before, or that of a new
process). A page that forks share would count once for each of them. The cgroup counts it once and
is therefore the upper bound.

In a context the peak is the maximum that the tree held while the execution ran, so it includes
variables of earlier executions. CPU time is only what this execution added.
"""

import time
from typing import Final

from nanogrid_executor.launcher import cgroup, proc
from nanogrid_executor.launcher.process_tree import ProcessTree
from nanogrid_executor.launcher.usage import (
    Clock,
    Samples,
    SampleSchedule,
    mapped_bytes,
    own_max_rss,
)

SOURCE: Final = "process-tree"


class SandboxCgroup:
    """The cgroup of the whole sandbox."""

    def __init__(self) -> None:
        self._cgroup = cgroup.locate()
        self.resident = cgroup.ResidentMemory(self._cgroup)

    def memory(self) -> cgroup.Memory:
        """Its peak, and how many processes the kernel killed for memory."""
        return cgroup.read_memory(self._cgroup)


class TreeUsageSampler:
    """Samples one execution in one process tree."""

    def __init__(
        self,
        sandbox: SandboxCgroup,
        tree: ProcessTree,
        *,
        new_tree: bool,
        clock: Clock = time.monotonic,
    ) -> None:
        """Note the values before the execution.

        Args:
            sandbox: the cgroup around all trees.
            tree: the processes to measure.
            new_tree: whether the tree runs this execution only, and no others before.
            clock: schedules the samples.
        """
        self._sandbox, self._tree, self._new_tree = sandbox, tree, new_tree
        self._before = sandbox.memory()
        self._samples = Samples()
        self._launcher_rss = own_max_rss()
        self._schedule = SampleSchedule(clock)
        self._cpu_before = 0.0
        self._peak_was_reset = False
        if not new_tree:
            self._peak_was_reset = proc.reset_peak(tree.program_pid)
            self._cpu_before = self._tree_cpu_seconds()
            self.sample_now()

    def seconds_left(self) -> float:
        """Seconds until the next sample is due."""
        return self._schedule.seconds_left()

    def sample(self) -> None:
        """Take a sample if one is due."""
        if self._schedule.due():
            self.sample_now()

    def sample_now(self) -> None:
        """Take a sample."""
        resident = tree_bytes(self._tree, self._sandbox)
        self._samples.add(resident, mapped_bytes(self._tree.program_pid))

    def oom_killed(self) -> bool:
        """Whether the kernel killed a process for memory since the start."""
        return cgroup.oom_killed(self._before, self._sandbox.memory())

    def peak(self, *, killed: bool) -> int:
        """The peak memory in bytes; call it after the end.

        Args:
            killed: whether SIGKILL ended the program.
        """
        at_limit = self._bytes_at_limit() if killed and self.oom_killed() else 0
        if self._new_tree:
            return max(at_limit, self._samples.peak(self._tree.max_rss, self._launcher_rss))
        largest = at_limit
        if self._tree.gone and self.oom_killed():
            # Of the context's whole life, which ended at this peak.
            largest = max(largest, self._tree.max_rss - self._samples.mapped)
        elif self._peak_was_reset:
            largest = proc.peak_private_bytes(self._tree.program_pid)
        return max(self._samples.resident, largest)

    def _bytes_at_limit(self) -> int:
        """What the tree held when the sandbox reached its limit, in bytes; 0 means unknown.

        The kernel's OOM reaper can free a process's memory before the process exits. ``ru_maxrss``
        then lacks all growth since the last sample. At the limit no page cache is left, so what
        the other processes do not hold was the tree's.
        """
        peak, others = self._sandbox.memory().peak, self._sandbox.resident.read()
        return 0 if peak is None or others is None else max(0, peak - others)

    def cpu_seconds(self) -> float:
        """CPU time of this execution."""
        total = self._tree.cpu_seconds if self._tree.gone else self._tree_cpu_seconds()
        return max(0.0, total - self._cpu_before)

    def _tree_cpu_seconds(self) -> float:
        processes = proc.read_table()
        subreaper = self._tree.subreaper_pid
        return proc.cpu_seconds(processes, [subreaper, *proc.descendants(processes, subreaper)])


def tree_bytes(tree: ProcessTree, sandbox: SandboxCgroup) -> int:
    """Private memory of a tree's processes now, in bytes."""
    total = sum(proc.private_bytes(pid) for pid in tree.pids(proc.read_table()))
    bound = sandbox.resident.read()
    return total if bound is None else min(total, bound)
