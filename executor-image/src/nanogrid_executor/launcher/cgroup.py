"""Memory, CPU time and OOM kills of the sandbox, read from its cgroup. Standard library only.

Two kinds of cgroup are supported: v2 (``memory.peak``, ``memory.events``, ``memory.stat``,
``cpu.stat``) and v1 (``memory.max_usage_in_bytes``, ``memory.oom_control``, ``memory.stat``,
``cpuacct.usage``). Without a cgroup the only source is the kernel's ``ru_maxrss`` of the largest
single process. The result names the source.
"""

from __future__ import annotations

import os

from nanogrid_executor.launcher.values import NamedTuple

TYPE_CHECKING = False  # see nanogrid_executor.launcher.values
if TYPE_CHECKING:
    from typing import Final

CGROUP_ROOT: Final = "/sys/fs/cgroup"
OWN_CGROUP: Final = "/proc/self/cgroup"

V2: Final = "cgroup-v2"
V1: Final = "cgroup-v1"
RUSAGE: Final = "rusage"

STAT_BYTES: Final = 16 * 1024  # more than any memory.stat has
# Memory that the kernel cannot reclaim, as memory.stat names it: private and shared memory.
STAT_KEYS: Final = {V2: ("anon", "shmem"), V1: ("total_rss", "total_shmem")}


class Memory(NamedTuple):
    """Peak memory in bytes and the number of OOM kills; None means unknown."""

    source: str
    peak: int | None
    oom_kills: int | None


class Cgroup(NamedTuple):
    """The directories of our own cgroup's files; both are empty when there is none."""

    source: str
    memory: str
    cpu: str


def parse_counter(text: str, key: str) -> int | None:
    """The value of ``key`` in lines of ``key value`` (memory.events, memory.oom_control)."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdigit():
            return int(value)
    return None


def parse_bytes(text: str) -> int | None:
    """The number in a cgroup file; None for ``max``, an empty file, or anything else."""
    text = text.strip()
    return int(text) if text.isdigit() else None


def parse_own_path(text: str, controller: str) -> str:
    """The path of one hierarchy in /proc/self/cgroup; controller ``""`` selects cgroup v2."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            return path.rstrip("/")
    return ""


def locate(root: str = CGROUP_ROOT, own: str = OWN_CGROUP) -> Cgroup:
    """Find our own cgroup; the source is ``rusage`` when there is none."""
    own_text = _read(own)
    for base in _candidates(root, parse_own_path(own_text, "")):
        if os.path.exists(f"{base}/memory.peak"):
            return Cgroup(V2, base, base)
    for base in _candidates(f"{root}/memory", parse_own_path(own_text, "memory")):
        if os.path.exists(f"{base}/memory.max_usage_in_bytes"):
            cpus = _candidates(f"{root}/cpuacct", parse_own_path(own_text, "cpuacct"))
            existing = [cpu for cpu in cpus if os.path.exists(f"{cpu}/cpuacct.usage")]
            return Cgroup(V1, base, existing[0] if existing else "")
    return Cgroup(RUSAGE, "", "")


def read_memory(cgroup: Cgroup) -> Memory:
    """The current values of the cgroup; unknown ones when there is no cgroup."""
    base = cgroup.memory
    if cgroup.source == V2:
        kills = parse_counter(_read(f"{base}/memory.events"), "oom_kill")
        return Memory(V2, parse_bytes(_read(f"{base}/memory.peak")), kills)
    if cgroup.source == V1:
        kills = parse_counter(_read(f"{base}/memory.oom_control"), "oom_kill")
        return Memory(V1, parse_bytes(_read(f"{base}/memory.max_usage_in_bytes")), kills)
    return Memory(RUSAGE, None, None)


def read_cpu_seconds(cgroup: Cgroup) -> float | None:
    """CPU time of all processes, also ended ones, of the cgroup; None means unknown."""
    if cgroup.source == V2:
        micros = parse_counter(_read(f"{cgroup.cpu}/cpu.stat"), "usage_usec")
        return None if micros is None else micros / 1e6
    if cgroup.source == V1 and cgroup.cpu:
        nanos = parse_bytes(_read(f"{cgroup.cpu}/cpuacct.usage"))
        return None if nanos is None else nanos / 1e9
    return None


def parse_resident(text: str, source: str) -> int | None:
    """Bytes that the kernel cannot reclaim, from a memory.stat; None when it lacks them."""
    values = [parse_counter(text, key) for key in STAT_KEYS.get(source, ())]
    known = [value for value in values if value is not None]
    return sum(known) if known else None


class ResidentMemory:
    """The memory.stat of a cgroup, kept open because it is read often."""

    def __init__(self, cgroup: Cgroup) -> None:
        self._source = cgroup.source
        self._fd: int | None = None
        if cgroup.source != RUSAGE:
            self._fd = os.open(f"{cgroup.memory}/memory.stat", os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> int | None:
        """Private and shared memory of all processes now, in bytes; None means unknown."""
        if self._fd is None:
            return None
        text = os.pread(self._fd, STAT_BYTES, 0).decode("ascii")
        return parse_resident(text, self._source)

    def close(self) -> None:
        """Close the file; later reads return None."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def oom_killed(before: Memory, after: Memory) -> bool:
    """Whether the kernel killed a process for memory between two readings."""
    if before.oom_kills is None or after.oom_kills is None:
        return False
    return after.oom_kills > before.oom_kills


def _candidates(mount: str, path: str) -> list[str]:
    # Inside a container the mount is the container's own cgroup. The path (v1, without a cgroup
    # namespace) then exists on the node only.
    bases = [mount + path, mount] if path else [mount]
    # The real root of a v1 hierarchy has this file: its values are those of the whole machine.
    return [base for base in bases if not os.path.exists(f"{base}/release_agent")]


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""  # this kernel or runtime has no such file; the caller tries the next source
