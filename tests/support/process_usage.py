"""CPU time and memory of one process, from its files in `/proc`.

Not from its cgroup: `kubectl exec`, which reads the files in a pod, would count there itself.
"""

import re
from dataclasses import dataclass
from typing import Final

from support.process_memory import process_file

TICKS_PER_SECOND: Final = 100  # USER_HZ, the same on all architectures of Linux
FILES: Final = ("stat", "status")
USER, SYSTEM = 11, 12  # fields of `stat` behind the name of the program


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time since the start, of all threads, also ended ones; memory in bytes."""

    cpu_seconds: float
    resident: int
    peak: int


def parse_usage(text: str) -> Usage:
    """The usage in `/proc/PID/stat`, followed by `/proc/PID/status`.

    Raises:
        ValueError: a field is missing.
    """
    # The name of the program is in parentheses, and may have spaces and parentheses itself.
    fields = text.partition("\n")[0].rpartition(") ")[2].split()
    memory = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", text, flags=re.M))
    if len(fields) <= SYSTEM or len(memory) != 2:
        raise ValueError(f"not the stat and status of a process: {text[:200]!r}")
    ticks = int(fields[USER]) + int(fields[SYSTEM])
    resident, peak = (1024 * int(memory[name]) for name in ("VmRSS", "VmHWM"))
    return Usage(ticks / TICKS_PER_SECOND, resident, peak)


def usage_of_process(pid: int) -> Usage:
    """The usage of a process of this machine."""
    return parse_usage("".join(process_file(pid, name) for name in FILES))


def cpu_millis(before: Usage, after: Usage, count: int, idle_seconds: float = 0.0) -> float:
    """Milliseconds of CPU for each of ``count`` requests.

    ``idle_seconds`` is the CPU time that the process would have used without them.
    """
    used = after.cpu_seconds - before.cpu_seconds - idle_seconds
    return 1000 * max(0.0, used) / count
