"""All jobs of the namespace as rows: sorted, filtered, counted. No I/O."""

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from nanogrid.status import Phase
from nanogrid_gateway.web.plots import Part
from nanogrid_gateway.web.rows import Json, Row, row_of

MOST: Final = 20_000  # rows, some 15 MiB; beyond, the oldest that have ended are left out
PAGE: Final = 50
WAITING: Final = frozenset({Phase.PENDING, Phase.SUSPENDED, Phase.SYNCING})


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs are asked for; empty is all."""

    function: str = ""
    phase: str = ""
    text: str = ""

    def takes(self, row: Row) -> bool:
        """Whether a row is one of them; text is looked for in requestId and name, in any case."""
        if (self.phase and row.phase != self.phase) or (
            self.function and row.function != self.function
        ):
            return False
        sought = self.text.lower()
        return not sought or sought in row.request_id.lower() or sought in row.name


@dataclass(frozen=True, slots=True)
class Page:
    """One page of rows, the newest first; ``number`` from 1."""

    rows: list[Row]
    number: int
    pages: int
    found: int


@dataclass(slots=True)
class Queue:
    """How many are where, and who has waited longest."""

    phases: Counter[str] = field(default_factory=Counter)
    sessions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    functions: Counter[tuple[str, str]] = field(default_factory=Counter)
    waiting: list[Row] = field(default_factory=list)


class Board:
    """The rows; written by one thread, read by many."""

    def __init__(self, most: int = MOST) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._rows: dict[str, Row] = {}
        self._sorted: list[Row] | None = []
        self.left_out = 0

    def replace(self, jobs: Iterable[Json]) -> None:
        """Take a whole listing in."""
        rows = {row.uid: row for row in map(row_of, jobs)}
        with self._lock:
            self._rows, self._sorted, self.left_out = rows, None, 0
            self._prune()

    def put(self, job: Json) -> None:
        """Take a new or changed job in."""
        row = row_of(job)
        with self._lock:
            self._rows[row.uid] = row
            self._sorted = None
            self._prune()

    def drop(self, job: Json) -> None:
        """A job is gone."""
        with self._lock:
            if self._rows.pop(job["metadata"]["uid"], None) is not None:
                self._sorted = None

    def rows(self) -> list[Row]:
        """All, the newest first; not to be changed."""
        with self._lock:
            if self._sorted is None:
                self._sorted = sorted(self._rows.values(), key=_order, reverse=True)
            return self._sorted

    def page(self, wanted: Filter, number: int) -> Page:
        """A page of the rows that a filter takes; a number beyond the last is the last."""
        found = [row for row in self.rows() if wanted.takes(row)]
        pages = max(1, -(-len(found) // PAGE))
        number = min(max(1, number), pages)
        return Page(found[(number - 1) * PAGE : number * PAGE], number, pages, len(found))

    def functions(self) -> list[str]:
        """The names of all functions that have runs."""
        return sorted({row.function for row in self.rows() if row.function})

    def of_function(self, function: str, most: int) -> list[Row]:
        """The newest runs of a function that have ended, the newest first."""
        found = (row for row in self.rows() if row.function == function and row.ended)
        return [row for row, _ in zip(found, range(most), strict=False)]

    def queue(self, most: int) -> Queue:
        """Counts by phase, reason and function, and the jobs that have waited longest."""
        queue = Queue()
        for row in reversed(self.rows()):
            if row.session:
                queue.sessions[row.phase] += 1
                continue
            queue.phases[row.phase] += 1
            if row.ended:
                continue
            queue.functions[row.function, row.phase] += 1
            if row.phase in WAITING:
                queue.reasons[row.phase, row.reason] += 1
                if len(queue.waiting) < most:
                    queue.waiting.append(row)
        return queue

    def _prune(self) -> None:
        """Leave the oldest that have ended out, a tenth at a time."""
        if len(self._rows) <= self._most:
            return
        ended = sorted((r for r in self._rows.values() if r.ended), key=_order)
        surplus = len(self._rows) - self._most + self._most // 10
        for row in ended[:surplus]:
            del self._rows[row.uid]
            self.left_out += 1


def parts(queue: Queue) -> list[Part]:
    """The counts as a bar."""
    return [
        Part(phase.value.lower(), queue.phases[phase.value], f"{phase}: {queue.phases[phase]}")
        for phase in Phase
    ]


def _order(row: Row) -> Any:
    return row.order
