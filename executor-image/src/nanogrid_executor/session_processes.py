"""The process table, as far as the launcher needs it for trees of processes. Standard library only.

``/proc`` is read whole each time: a sandbox has few processes, and the kernel's own list of
children is not reliable while they come and go.
"""

import os
import resource
import time
from typing import Final, NamedTuple

PAGE_BYTES: Final = resource.getpagesize()
TICKS: Final = os.sysconf("SC_CLK_TCK")
RESET_PEAK: Final = b"5"  # proc(5): written to clear_refs it sets VmHWM to what is resident now
ZOMBIE: Final = ("Z", "X")


class Entry(NamedTuple):
    """One process: its parent, whether it has ended, its start, CPU seconds of ended children."""

    parent: int
    ended: bool
    start: int
    children_cpu: float


def table() -> dict[int, Entry]:
    """All processes that can be seen."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            text = _read(f"/proc/{name}/stat")
            if text:
                found[int(name)] = parse_stat(text)
    return found


def parse_stat(text: str) -> Entry:
    """One line of /proc/PID/stat; the name in it may hold anything, brackets too."""
    words = text.rpartition(")")[2].split()
    cpu = (int(words[13]) + int(words[14])) / TICKS
    return Entry(int(words[1]), words[0] in ZOMBIE, int(words[19]), cpu)


def below(processes: dict[int, Entry], root: int) -> list[int]:
    """All descendants of a process, without itself."""
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
    words = _read(f"/proc/{pid}/statm").split()
    return (int(words[1]) - int(words[2])) * PAGE_BYTES if len(words) > 2 else 0


def mapped_bytes(pid: int) -> int:
    """Files and shared memory that a process has in memory; 0 when it has ended."""
    words = _read(f"/proc/{pid}/statm").split()
    return int(words[2]) * PAGE_BYTES if len(words) > 2 else 0


def reset_peak(pid: int) -> bool:
    """Begin a new maximum of a process's memory; False when the kernel does not offer that."""
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
    """The maximum since :func:`reset_peak`, less the files that are mapped; 0 when unknown."""
    values = {}
    for line in _read(f"/proc/{pid}/status").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmHWM", "RssFile", "RssShmem"):
            values[name] = int(value.split()[0]) * 1024
    mapped = values.get("RssFile", 0) + values.get("RssShmem", 0)
    return max(0, values.get("VmHWM", 0) - mapped)


def cpu_seconds(processes: dict[int, Entry], pids: list[int]) -> float:
    """CPU time of these processes, and of their children that have ended."""
    total = 0.0
    for pid in pids:
        if pid in processes:
            total += processes[pid].children_cpu
        try:
            # CPUCLOCK_SCHED of a whole process, as clock_getcpuclockid(3) makes it.
            total += time.clock_gettime((~pid << 3) | 2)
        except OSError:
            continue  # it has ended: its time is its parent's now
    return total


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # it ended while we looked
