"""Limits on what clients cause: token buckets, attempts with unknown credentials, cached answers.

All state belongs to one process and has a bounded size.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, TypeVar

from nanogrid.addresses import client_key

V = TypeVar("V")

REMEMBERED: Final = 10_000  # buckets
ENTRIES: Final = 2000  # cached answers, and as many denials
DENIED_SECONDS: Final = 5.0  # a permission that was just granted counts soon

ADDRESS_RATE: Final = 10.0  # attempts per second with credentials that are not known to be valid
ADDRESS_BURST: Final = 100  # the pods of one node that report at once may share an address
TOTAL_RATE: Final = 50.0
TOTAL_BURST: Final = 300


class Buckets:
    """One token bucket for each key; the least recent ones are forgotten.

    Args:
        rate: tokens per second.
        burst: the most tokens of a bucket.
        clock: seconds.
    """

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, when

    def take(self, key: str) -> int:
        """Take a token; 0 if there was one, else the whole seconds until there is one."""
        now = self._clock()
        tokens, since = self._buckets.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        pause = 0 if tokens >= 1 else max(1, math.ceil((1 - tokens) / self._rate))
        self._put(key, tokens if pause else tokens - 1, now)
        return pause

    def give_back(self, key: str) -> None:
        """Return a token that was taken."""
        if key in self._buckets:
            tokens, since = self._buckets[key]
            self._put(key, min(self._burst, tokens + 1), since)

    def _put(self, key: str, tokens: float, now: float) -> None:
        self._buckets[key] = (tokens, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)


class Attempts:
    """Limits attempts with credentials that are not known to be valid: per address and in total.

    A caller takes an attempt before it checks credentials, and gives it back if they are valid. So
    callers with valid credentials use none up, however many share an address.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._addresses = Buckets(ADDRESS_RATE, ADDRESS_BURST, clock)
        self._total = Buckets(TOTAL_RATE, TOTAL_BURST, clock)

    def begin(self, address: str) -> int:
        """Take an attempt; 0, or the seconds to wait when there are too many."""
        key = client_key(address)
        # The address is first: a client above its own limit uses nothing of the others'.
        if pause := self._addresses.take(key):
            return pause
        if pause := self._total.take(""):
            self._addresses.give_back(key)
        return pause

    def succeeded(self, address: str) -> None:
        """Give the attempt back: the credentials are valid."""
        self._addresses.give_back(client_key(address))
        self._total.give_back("")


class TTLCache(Generic[V]):
    """The most recent answers, each for ``seconds``; falsy ones are denials and expire sooner.

    Denials have their own room, so that many wrong tokens displace no valid one.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._granted: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()
        self._denied: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()

    async def get(self, key: Hashable, load: Callable[[], Awaitable[V]]) -> V:
        """The cached value, or what ``load`` returns; two callers may load at the same time."""
        for entries in (self._granted, self._denied):
            entry = entries.get(key)
            if entry is not None and self._clock() < entry[0]:
                return entry[1]
        value = await load()
        self._granted.pop(key, None)
        self._denied.pop(key, None)
        entries = self._granted if value else self._denied
        seconds = self._seconds if value else min(self._seconds, DENIED_SECONDS)
        entries[key] = (self._clock() + seconds, value)
        if len(entries) > ENTRIES:
            entries.popitem(last=False)
        return value

    def known(self, key: Hashable) -> V | None:
        """The cached value, unless it is a denial; None if there is none."""
        entry = self._granted.get(key)
        return entry[1] if entry is not None and self._clock() < entry[0] else None

    def was_granted(self, key: Hashable) -> bool:
        """Whether the last answer for a key was no denial, even if it has expired."""
        return key in self._granted
