"""Full results in memory until Redis and S3 have them; the status keeps a shortened copy.

The memory is bounded, because thousands of jobs may end during an outage. The oldest results are
evicted; delivery falls back to the copy in Redis or the status.
"""

from nanogrid import wire

CAP_BYTES = 32 << 20  # of JSON


class PendingResults:
    """Results by their job's uid."""

    def __init__(self, cap_bytes: int = CAP_BYTES) -> None:
        self._cap = cap_bytes
        self._total = 0
        self._results: dict[str, tuple[wire.Result, int]] = {}  # the oldest first

    def put(self, uid: str, result: wire.Result) -> None:
        """Keep a job's result, and evict older ones if there is no room."""
        self.drop(uid)
        size = len(wire.dumps(result).encode())
        self._results[uid] = result, size
        self._total += size
        while self._total > self._cap:
            self.drop(next(iter(self._results)))

    def get(self, uid: str) -> wire.Result | None:
        """A job's result; None if it is not in memory."""
        found = self._results.get(uid)
        return found[0] if found else None

    def drop(self, uid: str) -> None:
        """Remove a job's result. A result that is not in memory is not an error."""
        _, size = self._results.pop(uid, (None, 0))
        self._total -= size
