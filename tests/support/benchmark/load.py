"""Foreign load during a round: what other work the machine had. Pure, except the reads of /proc."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Fields of the first line of /proc/stat, in ticks; guest time is part of user time.
USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL = range(8)
STAT: Final = Path("/proc/stat")
MOST_STEAL: Final = 0.02
MOST_FOREIGN: Final = 0.10


@dataclass(frozen=True, slots=True)
class Ticks:
    """CPU time of the whole machine since its start, in ticks of all processors."""

    busy: int
    steal: int
    total: int


def parse_ticks(text: str) -> Ticks:
    """The first line of ``/proc/stat``.

    Raises:
        ValueError: it is not the line of all processors.
    """
    fields = text.partition("\n")[0].split()
    if fields[:1] != ["cpu"] or len(fields) <= STEAL + 1:
        raise ValueError(f"not the CPU time of a machine: {text[:100]!r}")
    numbers = [int(field) for field in fields[1 : STEAL + 2]]
    idle = numbers[IDLE] + numbers[IOWAIT]
    return Ticks(sum(numbers) - idle - numbers[STEAL], numbers[STEAL], sum(numbers))


def read_ticks() -> Ticks | None:
    """The ticks now; None on a machine without /proc."""
    return parse_ticks(STAT.read_text()) if STAT.exists() else None


def load_average() -> float:
    """The load of the last minute."""
    return os.getloadavg()[0]


def shares(before: Ticks, after: Ticks) -> tuple[float, float]:
    """The busy and the stolen share of all processors between two reads, 0 to 1."""
    total = max(1, after.total - before.total)
    return (after.busy - before.busy) / total, (after.steal - before.steal) / total


def marked(idle_busy: Sequence[float], steal: Sequence[float]) -> list[bool]:
    """Which rounds had much foreign load.

    Args:
        idle_busy: the busy share before each round, while nothing of the benchmark ran.
        steal: the stolen share of each round.

    The quietest round shows what the idle cluster itself uses; more than that is foreign.
    """
    quiet = min(idle_busy, default=0.0)
    return [
        busy - quiet > MOST_FOREIGN or stolen > MOST_STEAL
        for busy, stolen in zip(idle_busy, steal, strict=True)
    ]
