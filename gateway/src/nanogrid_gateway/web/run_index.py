"""An index of the namespace's jobs as rows: sorted, filtered, counted. No I/O."""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import Final

from nanogrid.lifecycle import Phase
from nanogrid.types import Json
from nanogrid_gateway.web.plots import Part
from nanogrid_gateway.web.rows import Row, row_of

MAX_ROWS: Final = 20_000  # some 15 MiB; beyond, the oldest finished jobs are left out
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
    """Counts by phase, reason and function, and the runs that have waited longest."""

    phases: Counter[str] = field(default_factory=Counter)
    sessions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    functions: Counter[tuple[str, str]] = field(default_factory=Counter)
    waiting: list[Row] = field(default_factory=list)

    def parts(self) -> list[Part]:
        """The counts by phase as a bar."""
        return [
            Part(phase.value.lower(), self.phases[phase.value], f"{phase}: {self.phases[phase]}")
            for phase in Phase
        ]


class RunIndex:
    """The rows; one thread writes, many read."""

    def __init__(self, max_rows: int = MAX_ROWS) -> None:
        self._lock = threading.Lock()
        self._max_rows = max_rows
        self._rows: dict[str, Row] = {}
        self._sorted: list[Row] | None = []
        self.left_out = 0

    def replace(self, jobs: Iterable[Json]) -> None:
        """Replace all rows by a listing."""
        rows = {row.uid: row for row in map(row_of, jobs)}
        with self._lock:
            self._rows, self._sorted, self.left_out = rows, None, 0
            self._prune()

    def put(self, job: Json) -> None:
        """Add or update a job."""
        row = row_of(job)
        with self._lock:
            self._rows[row.uid] = row
            self._sorted = None
            self._prune()

    def drop(self, job: Json) -> None:
        """Remove a deleted job."""
        with self._lock:
            if self._rows.pop(job["metadata"]["uid"], None) is not None:
                self._sorted = None

    def rows(self) -> list[Row]:
        """All rows, newest first; callers must not change the list."""
        with self._lock:
            if self._sorted is None:
                self._sorted = sorted(self._rows.values(), key=attrgetter("sort_key"), reverse=True)
            return self._sorted

    def page(self, selected: Filter, number: int) -> Page:
        """A page of the selected rows; a number beyond the last page gives the last one."""
        found = [row for row in self.rows() if selected.matches(row)]
        pages = max(1, -(-len(found) // PAGE_ROWS))
        number = min(max(1, number), pages)
        return Page(found[(number - 1) * PAGE_ROWS : number * PAGE_ROWS], number, pages, len(found))

    def functions(self) -> list[str]:
        """The names of all functions with runs."""
        return sorted({row.function for row in self.rows() if row.function})

    def of_function(self, function: str, limit: int) -> list[Row]:
        """The newest finished runs of a function, newest first."""
        finished = (row for row in self.rows() if row.function == function and row.ended)
        return list(islice(finished, limit))

    def queue(self, limit: int) -> Queue:
        """Counts by phase, reason and function; ``waiting`` has at most ``limit`` runs."""
        queue = Queue()
        for row in reversed(self.rows()):
            if row.session:
                queue.sessions[row.phase] += 1
                continue
            queue.phases[row.phase] += 1
            if row.ended:
                continue
            queue.functions[row.function, row.phase] += 1
            if row.phase in WAITING_PHASES:
                queue.reasons[row.phase, row.reason] += 1
                if len(queue.waiting) < limit:
                    queue.waiting.append(row)
        return queue

    def _prune(self) -> None:
        """Leave out the oldest finished jobs, a tenth of the limit at a time."""
        if len(self._rows) <= self._max_rows:
            return
        ended = sorted((r for r in self._rows.values() if r.ended), key=attrgetter("sort_key"))
        surplus = len(self._rows) - self._max_rows + self._max_rows // 10
        for row in ended[:surplus]:
            del self._rows[row.uid]
            self.left_out += 1
