"""Peak memory and OOM kills of the sandbox, read from its cgroup. Standard library only.

Three sources, best first, and the one that was used is named in the result: cgroup v2
(``memory.peak``, ``memory.events``), cgroup v1 (``memory.max_usage_in_bytes``,
``memory.oom_control``), and the kernel's ``ru_maxrss`` of the largest single process. A cgroup's
peak is that of the whole container, the launcher (about 10 MB) included.

CPU time is not read here: the launcher adds up what ``os.wait4`` returns for each process of the
execution, because the cgroup's figure would count the launcher's own work.
"""

import os
from typing import Final, NamedTuple

CGROUP_ROOT: Final = "/sys/fs/cgroup"
OWN_CGROUP: Final = "/proc/self/cgroup"

V2: Final = "cgroup-v2"
V1: Final = "cgroup-v1"
RUSAGE: Final = "rusage"


class Memory(NamedTuple):
    """Peak of memory in bytes and the number of OOM kills; None is unknown."""

    source: str
    peak: int | None
    oom_kills: int | None


def parse_counter(text: str, key: str) -> int | None:
    """The value of ``key`` in lines of ``key value`` (memory.events, memory.oom_control)."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdigit():
            return int(value)
    return None


def parse_bytes(text: str) -> int | None:
    """One number of a cgroup file; None for ``max``, nothing, or anything else."""
    text = text.strip()
    return int(text) if text.isdigit() else None


def parse_own_path(text: str, controller: str) -> str:
    """The path of one hierarchy in /proc/self/cgroup; ``""`` names cgroup v2."""
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller in controllers.split(","):
            return path.rstrip("/")
    return ""


def read_memory(root: str = CGROUP_ROOT, own: str = OWN_CGROUP) -> Memory:
    """What the cgroup says now; source ``rusage`` with unknowns when there is no cgroup."""
    own_text = _read(own)
    for base in _candidates(root, parse_own_path(own_text, "")):
        peak = parse_bytes(_read(f"{base}/memory.peak"))
        if peak is not None:
            events = _read(f"{base}/memory.events")
            return Memory(V2, peak, parse_counter(events, "oom_kill"))
    for base in _candidates(f"{root}/memory", parse_own_path(own_text, "memory")):
        peak = parse_bytes(_read(f"{base}/memory.max_usage_in_bytes"))
        if peak is not None:
            control = _read(f"{base}/memory.oom_control")
            return Memory(V1, peak, parse_counter(control, "oom_kill"))
    return Memory(RUSAGE, None, None)


def oom_killed(before: Memory, after: Memory) -> bool:
    """Whether the kernel killed something for memory between two readings."""
    if before.oom_kills is None or after.oom_kills is None:
        return False
    return after.oom_kills > before.oom_kills


def _candidates(mount: str, path: str) -> list[str]:
    # Inside a container the mount is the container's own cgroup, and the path (v1, without a
    # cgroup namespace) is one that exists on the node only.
    bases = [mount + path, mount] if path else [mount]
    # A v1 hierarchy's true root has this file: its figures are the machine's.
    return [base for base in bases if not os.path.exists(f"{base}/release_agent")]


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""  # this kernel, or this runtime, has no such file: the next source is tried
