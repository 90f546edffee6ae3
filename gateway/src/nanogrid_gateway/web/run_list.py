"""The runs that one caller may see: filtered, in pages, counted. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from nanogrid.lifecycle import Phase
from nanogrid_gateway.web.plots import Part
from nanogrid_gateway.web.rows import Row

PAGE_ROWS: Final = 50
WAITING_PHASES: Final = frozenset({Phase.PENDING, Phase.SUSPENDED, Phase.SYNCING})


@dataclass(frozen=True, slots=True)
class Filter:
    """Selects runs; an empty field matches all."""

    function: str = ""
    phase: str = ""
    text: str = ""

    def matches(self, row: Row) -> bool:
        """Whether a row is selected; ``text`` is a part of requestId or name, in any case."""
        if (self.phase and row.phase != self.phase) or (
            self.function and row.function != self.function
        ):
            return False
        text = self.text.lower()
        return not text or text in row.request_id.lower() or text in row.name


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows, newest first; ``number`` starts at 1, ``found`` counts all pages' rows."""

    rows: list[Row]
    number: int
    pages: int
    found: int


@dataclass(slots=True)
class Queue:
    """Counts by phase, reason and function, and the runs that have waited longest.

    ``functions`` counts by namespace, function and phase.
    """

    phases: Counter[str] = field(default_factory=Counter)
    sessions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    functions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    waiting: list[Row] = field(default_factory=list)

    def parts(self) -> list[Part]:
        """The counts by phase as a bar."""
        return [
            Part(phase.value.lower(), self.phases[phase.value], f"{phase}: {self.phases[phase]}")
            for phase in Phase
        ]


@dataclass(frozen=True, slots=True)
class UsedFunction:
    """A function that has runs: their number, and the newest."""

    namespace: str
    name: str
    runs: int
    last: Row


@dataclass(frozen=True, slots=True)
class RunList:
    """Rows, newest first; ``left_out`` counts those that the index has no room for."""

    rows: Sequence[Row]
    left_out: int = 0

    def page(self, selected: Filter, number: int) -> Page:
        """A page of the selected rows; a number beyond the last page gives the last one."""
        found = [row for row in self.rows if selected.matches(row)]
        pages = max(1, -(-len(found) // PAGE_ROWS))
        number = min(max(1, number), pages)
        return Page(found[(number - 1) * PAGE_ROWS : number * PAGE_ROWS], number, pages, len(found))

    def functions(self) -> list[str]:
        """The names of all functions with runs."""
        return sorted({row.function for row in self.rows if row.function})

    def used_functions(self) -> list[UsedFunction]:
        """All functions with runs, by namespace and name."""
        counts = Counter((row.namespace, row.function) for row in self.rows if row.function)
        newest = {(row.namespace, row.function): row for row in reversed(self.rows)}
        return [UsedFunction(*key, counts[key], newest[key]) for key in sorted(counts)]

    def of_function(self, function: str, limit: int) -> list[Row]:
        """The newest finished runs of a function, newest first."""
        finished = (row for row in self.rows if row.function == function and row.ended)
        return list(islice(finished, limit))

    def queue(self, limit: int) -> Queue:
        """Counts by phase, reason and function; ``waiting`` has at most ``limit`` runs."""
        queue = Queue()
        for row in reversed(self.rows):
            if row.session:
                queue.sessions[row.phase] += 1
                continue
            queue.phases[row.phase] += 1
            if row.ended:
                continue
            queue.functions[row.namespace, row.function, row.phase] += 1
            if row.phase in WAITING_PHASES:
                queue.reasons[row.phase, row.reason] += 1
                if len(queue.waiting) < limit:
                    queue.waiting.append(row)
        return queue
