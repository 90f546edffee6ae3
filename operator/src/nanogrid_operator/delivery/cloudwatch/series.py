"""A bounded number of pairs of namespace and function: AWS bills each one. Pure."""

from collections import Counter
from typing import Final

from nanogrid_operator.delivery.cloudwatch.samples import NO_FUNCTION, OTHER, SESSION

IDLE_SECONDS: Final = 3600.0  # a metric is billed by the hour, while it gets values
NAMESPACE_SHARE: Final = 5  # a namespace has at most this part of all functions
ALWAYS: Final = frozenset({NO_FUNCTION, SESSION, OTHER})

Pair = tuple[str, str]  # namespace and function


class SeriesLimit:
    """Gives each namespace and function the pair under which they are counted.

    Further functions of a namespace are its ``_other``. If there is no room for that either, the
    pair is ``_other`` of the namespace ``_other``. A pair that was not used for an hour makes room.

    Args:
        most: pairs in an hour, besides that last one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._share = max(1, most // NAMESPACE_SHARE)
        self._used: dict[Pair, float] = {}  # when last; the oldest ones are first
        self._functions: Counter[str] = Counter()  # by namespace

    def pair(self, namespace: str, function: str, now: float) -> Pair:
        """The pair under which a job of this function counts; ``now`` is in seconds."""
        for pair in ((namespace, function), (namespace, OTHER)):
            if self._take(pair, now):
                return pair
        return OTHER, OTHER

    def _take(self, pair: Pair, now: float) -> bool:
        """Whether the pair is known, or there is room for it."""
        if self._used.pop(pair, None) is None:
            self._forget(now - IDLE_SECONDS)
            full = pair[1] not in ALWAYS and self._functions[pair[0]] >= self._share
            if full or len(self._used) >= self._most:
                return False
            self._functions[pair[0]] += pair[1] not in ALWAYS
        self._used[pair] = now
        return True

    def _forget(self, before: float) -> None:
        """Forget what was not used since then."""
        while self._used:
            pair, last = next(iter(self._used.items()))
            if last > before:
                break
            del self._used[pair]
            self._functions[pair[0]] -= pair[1] not in ALWAYS
            if not self._functions[pair[0]]:
                del self._functions[pair[0]]
