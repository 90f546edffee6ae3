"""The peak of an execution that the kernel killed for memory."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from nanogrid_executor.launcher import proc
from nanogrid_executor.launcher.cgroup import V2, Memory
from nanogrid_executor.launcher.tree_usage import TreeUsageSampler

MIB = 1 << 20
LIMIT = 96 * MIB


@dataclass
class Resident:
    """Private memory of the sandbox's processes."""

    now: int

    def read(self) -> int:
        return self.now


@dataclass
class Sandbox:
    """A cgroup in which the kernel kills a process."""

    oom_kills: int = 0
    resident: Resident = field(default_factory=lambda: Resident(30 * MIB))

    def memory(self) -> Memory:
        return Memory(V2, LIMIT, self.oom_kills)


@dataclass
class Tree:
    """A process tree; the kernel freed its memory before it exited, so ``max_rss`` is too low."""

    program_pid: int = 0
    subreaper_pid: int = 0
    gone: bool = True
    max_rss: int = 12 * MIB
    cpu_seconds: float = 0.0

    def pids(self, _: Any) -> list[int]:
        return []


@pytest.mark.parametrize("new_tree", [True, False])
@pytest.mark.parametrize(
    ("kills", "killed", "peak"),
    [(1, True, LIMIT - 20 * MIB), (1, False, 12 * MIB), (0, True, 12 * MIB)],
    ids=["killed for memory", "another process was killed for memory", "killed by its user"],
)
def test_an_oom_killed_tree_held_what_others_do_not(
    monkeypatch: pytest.MonkeyPatch, new_tree: bool, kills: int, killed: bool, peak: int
) -> None:
    monkeypatch.setattr(proc, "read_table", dict)
    monkeypatch.setattr(proc, "reset_peak", lambda _: False)
    sandbox, tree = Sandbox(), Tree()
    sampler: Any = TreeUsageSampler(sandbox, tree, new_tree=new_tree)  # type: ignore[arg-type]
    sandbox.oom_kills, sandbox.resident.now = kills, 20 * MIB
    found = sampler.peak(killed=killed)
    if new_tree or kills:
        assert found == peak
    else:
        assert found == 0  # a context that a user killed has no maximum of its own
