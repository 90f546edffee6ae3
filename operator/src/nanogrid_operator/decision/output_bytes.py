"""Bytes of outputs that each namespace stored in the last 24 hours. No I/O.

The numbers are in the statuses of finished jobs. The LIST at the start brings them back, except
those of jobs that are deleted. So a restart can only forget, never invent.
"""

from bisect import insort
from collections import defaultdict
from dataclasses import dataclass, field

from nanogrid.lifecycle import finished
from nanogrid.types import Json
from nanogrid_operator.kube.objects import seconds
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.model.tenant import Tenants

DAY_SECONDS = 86_400.0
MAX_BYTES = 1 << 50  # of one job; what a pod reports is not trusted


@dataclass(slots=True)
class _Stored:
    """The jobs of one namespace that stored outputs, the oldest first."""

    jobs: list[tuple[float, str, int]] = field(default_factory=list)  # end, uid, bytes
    uids: set[str] = field(default_factory=set)
    total: int = 0

    def add(self, ended: float, uid: str, count: int) -> None:
        if uid not in self.uids:
            insort(self.jobs, (ended, uid, count))
            self.uids.add(uid)
            self.total += count

    def expire(self, before: float) -> None:
        old = 0
        for ended, uid, count in self.jobs:
            if ended >= before:
                break
            self.uids.discard(uid)
            self.total -= count
            old += 1
        del self.jobs[:old]


class OutputBytes:
    """Remembers jobs only of namespaces whose tenant limits output bytes."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._stored: defaultdict[str, _Stored] = defaultdict(_Stored)

    def offer(self, job: Json) -> None:
        """Offer a job of the API server; one that has not finished is skipped."""
        count = stored_bytes(job) if finished(job) else 0
        namespace = job["metadata"]["namespace"]
        if count and self.limit(namespace) is not None:
            ended = seconds(job["status"].get("completionTime")) or 0.0
            self._stored[namespace].add(ended, job["metadata"]["uid"], count)

    def limit(self, namespace: str) -> int | None:
        """The limit of a namespace; None without one."""
        try:
            return self._tenants.of(namespace).limits.output_bytes_per_day
        except InvalidSpecError:
            return None

    def over(self, namespace: str, now: float) -> tuple[int, float] | None:
        """The sum and when it is below the limit again (epoch seconds); None if it is now."""
        limit = self.limit(namespace)
        stored = self._stored.get(namespace)
        if limit is None or stored is None:
            return None
        stored.expire(now - DAY_SECONDS)
        left = stored.total
        if left < limit:
            return None
        until = now
        for ended, _, count in stored.jobs:
            if left < limit:
                break
            left -= count
            until = ended + DAY_SECONDS
        return stored.total, until


def stored_bytes(job: Json) -> int:
    """The bytes of outputs that a finished job stored, as its status says."""
    result = (job.get("status") or {}).get("result") or {}
    count = result.get("outputBytes")
    if count is None:  # an older agent
        listed = [one for one in result.get("outputs") or [] if isinstance(one, dict)]
        count = sum(_size(one.get("bytes")) for one in listed)
    return _size(count)


def _size(value: object) -> int:
    return min(max(0, value), MAX_BYTES) if isinstance(value, int) else 0
