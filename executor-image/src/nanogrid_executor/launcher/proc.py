"""The process table, as far as the launcher needs it for process trees. Standard library only.

``/proc`` is read completely each time: a sandbox has few processes, and the kernel's own list of
children is not reliable while processes start and end.
"""

import os
import time
from collections.abc import Iterable
from typing import Final, NamedTuple

from nanogrid_executor.launcher.usage import PAGE_BYTES

TICKS: Final = os.sysconf("SC_CLK_TCK")
RESET_PEAK: Final = b"5"  # proc(5): writing it to clear_refs resets VmHWM to the resident size
ZOMBIE: Final = ("Z", "X")


class ProcEntry(NamedTuple):
    """One process: its parent, whether it ended, its start, CPU seconds of ended children."""

    parent: int
    ended: bool
    start: int
    children_cpu: float


def read_table(pids: Iterable[int] | None = None) -> dict[int, ProcEntry]:
    """All visible processes, or those of ``pids`` that exist, by PID."""
    if pids is None:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    texts = {pid: _read(f"/proc/{pid}/stat") for pid in pids}
    return {pid: parse_stat(text) for pid, text in texts.items() if text}


def parse_stat(text: str) -> ProcEntry:
    """One line of /proc/PID/stat; the process name in it may contain anything, also brackets."""
    fields = text.rpartition(")")[2].split()
    cpu = (int(fields[13]) + int(fields[14])) / TICKS
    return ProcEntry(int(fields[1]), fields[0] in ZOMBIE, int(fields[19]), cpu)


def descendants(processes: dict[int, ProcEntry], root: int) -> list[int]:
    """All descendants of a process, without the process itself."""
    children: dict[int, list[int]] = {}
    for pid, entry in processes.items():
        children.setdefault(entry.parent, []).append(pid)
    found: list[int] = []
    todo = [root]
    while todo:
        more = children.get(todo.pop(), [])
        found += more
        todo += more
    return found


def private_bytes(pid: int) -> int:
    """Memory that a process shares with no file; 0 when it has ended."""
    fields = _read(f"/proc/{pid}/statm").split()
    return (int(fields[1]) - int(fields[2])) * PAGE_BYTES if len(fields) > 2 else 0


def reset_peak(pid: int) -> bool:
    """Start a new maximum of a process's memory; False when the kernel does not support it."""
    try:
        file = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(file, RESET_PEAK)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def peak_private_bytes(pid: int) -> int:
    """The maximum since :func:`reset_peak`, minus the mapped files; 0 when unknown."""
    values = {}
    for line in _read(f"/proc/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmHWM", "RssFile", "RssShmem"):
            values[name] = int(value.split()[0]) * 1024
    mapped = values.get("RssFile", 0) + values.get("RssShmem", 0)
    return max(0, values.get("VmHWM", 0) - mapped)


def cpu_seconds(processes: dict[int, ProcEntry], pids: list[int]) -> float:
    """CPU time of these processes and of their ended children."""
    total = 0.0
    for pid in pids:
        if pid in processes:
            total += processes[pid].children_cpu
        try:
            # CPUCLOCK_SCHED of a whole process, as clock_getcpuclockid(3) builds it.
            total += time.clock_gettime((~pid << 3) | 2)
        except OSError:
            continue  # the process has ended: its parent accounts for its time now
    return total


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # the process ended in the meantime
