"""Whole results in memory while Redis or S3 is still to get them; the CR keeps a shortened copy.

Bounded: an outage may last, and thousands of jobs may end in it. Then the oldest are let go, and
the copy in Redis or in the CR has to do.
"""

from nanogrid import wire

HELD_BYTES = 32 << 20  # of JSON


class Held:
    """Results by their job's uid."""

    def __init__(self, cap_bytes: int = HELD_BYTES) -> None:
        self._cap = cap_bytes
        self._total = 0
        self._results: dict[str, tuple[wire.Result, int]] = {}  # the oldest first

    def put(self, uid: str, result: wire.Result) -> None:
        """Hold a job's result, and let go of older ones if there is no room."""
        self.drop(uid)
        size = len(wire.dumps(result).encode())
        self._results[uid] = result, size
        self._total += size
        while self._total > self._cap:
            self.drop(next(iter(self._results)))

    def get(self, uid: str) -> wire.Result | None:
        """A job's result, if it is held."""
        held = self._results.get(uid)
        return held[0] if held else None

    def drop(self, uid: str) -> None:
        """Let a job's result go; none there is no error."""
        _, size = self._results.pop(uid, (None, 0))
        self._total -= size
