"""An index of jobs as rows, of one namespace or of all. No I/O."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from operator import attrgetter
from typing import Final

from nanogrid.types import Json
from nanogrid_gateway.web.rows import Row, row_of
from nanogrid_gateway.web.run_list import RunList

MAX_ROWS: Final = 20_000  # some 15 MiB; beyond, the namespace with most rows loses its oldest


class RunIndex:
    """The rows; one thread writes, many read."""

    def __init__(self, max_rows: int = MAX_ROWS) -> None:
        self._lock = threading.Lock()
        self._max_rows = max_rows
        self._rows: dict[str, Row] = {}
        self._sorted: list[Row] | None = []
        self._left_out: Counter[str] = Counter()  # by namespace

    def replace(self, jobs: Iterable[Json]) -> None:
        """Replace all rows by a listing."""
        rows = {row.uid: row for row in map(row_of, jobs)}
        with self._lock:
            self._rows, self._sorted = rows, None
            self._left_out.clear()
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

    def namespaces(self) -> list[str]:
        """The namespaces with rows, that of the newest row first."""
        with self._lock:
            return list(dict.fromkeys(row.namespace for row in self._in_order()))

    def runs(self, namespaces: Set[str] | None = None) -> RunList:
        """The runs of these namespaces, newest first; None: of all."""
        with self._lock:
            rows, left_out = self._in_order(), self._left_out.copy()
        if namespaces is None:
            return RunList(rows, left_out.total())
        seen = [row for row in rows if row.namespace in namespaces]
        return RunList(seen, sum(left_out[namespace] for namespace in namespaces))

    def _in_order(self) -> list[Row]:
        """All rows, newest first; the list never changes once it is made."""
        if self._sorted is None:
            self._sorted = sorted(self._rows.values(), key=attrgetter("sort_key"), reverse=True)
        return self._sorted

    def _prune(self) -> None:
        """Leave rows out, a tenth of the limit at a time: of the largest namespaces only.

        In a namespace the oldest finished jobs go first, then the newest unfinished ones, so that
        those that have waited longest stay.
        """
        if len(self._rows) <= self._max_rows:
            return
        by_namespace: dict[str, list[Row]] = defaultdict(list)
        for row in self._rows.values():
            by_namespace[row.namespace].append(row)
        counts = {namespace: len(rows) for namespace, rows in by_namespace.items()}
        for namespace, most in shares(counts, self._max_rows - self._max_rows // 10).items():
            for row in _dispensable(by_namespace[namespace])[: counts[namespace] - most]:
                del self._rows[row.uid]
                self._left_out[namespace] += 1


def shares(counts: Mapping[str, int], room: int) -> dict[str, int]:
    """How many rows each namespace keeps: the small ones all, the others the same number.

    Args:
        counts: rows by namespace.
        room: rows of all namespaces together.
    """
    kept: dict[str, int] = {}
    ascending = sorted(counts, key=lambda namespace: (counts[namespace], namespace))
    for number, namespace in enumerate(ascending):
        kept[namespace] = min(counts[namespace], room // (len(ascending) - number))
        room -= kept[namespace]
    return kept


def _dispensable(rows: list[Row]) -> list[Row]:
    """Rows of a namespace in the order in which they are left out."""
    rows = sorted(rows, key=attrgetter("sort_key"))
    return [row for row in rows if row.ended] + [row for row in rows[::-1] if not row.ended]
