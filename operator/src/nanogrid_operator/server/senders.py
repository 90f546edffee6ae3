"""Who sends a request: reviews of tokens, cached, and bounded for those without a valid one.

A token that was not valid before needs an attempt: of the pod that it names, if that pod exists,
else of its address. So clients without a valid token cause few reviews, and they use up no attempts
of other pods.
"""

import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from aiohttp import web

from nanogrid.addresses import plain
from nanogrid.kube.conventions import KubeError
from nanogrid.reasons import Reason, sentence
from nanogrid.throttle import Attempts, Buckets, TTLCache
from nanogrid_operator.server.authentication import Authenticator, Sender
from nanogrid_operator.watch.cache import JobCache

log = logging.getLogger("nanogrid.results")

# A sender can report for its own job only. So a token may count for a short time after its pod was
# deleted.
CACHE_SECONDS: Final = 30.0
# Requests that come all the time keep tokens longer and share a number of reviews per second.
FREQUENT_CACHE_SECONDS: Final = 600.0
# An agent needs one attempt, and one more when its token is replaced or the operator restarts.
SENDER_RATE: Final = 0.2
SENDER_BURST: Final = 5
MAX_TOKEN: Final = 16_384


class Frequent(Enum):
    """Requests that come all the time."""

    MEMORY = "memory"  # each running job may report its memory
    TASK = "task"  # each pod of a pool asks for its task


class Rate(NamedTuple):
    """Reviews per second, and at once."""

    per_second: float
    burst: int


# All pods of a pool may start together.
REVIEWS: Final = {Frequent.MEMORY: Rate(5.0, 20), Frequent.TASK: Rate(50.0, 200)}


class Refused(Exception):
    """The request is answered with this error."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.response = web.json_response({"error": message}, status=status, headers=headers)


@dataclass(slots=True, kw_only=True)
class Senders:
    """Authenticates requests; see the module's docstring."""

    authenticator: Authenticator
    cache: JobCache
    monotonic: Callable[[], float] = time.monotonic
    _senders: TTLCache[Sender | None] = field(init=False)
    _frequent: dict[Frequent, TTLCache[Sender | None]] = field(init=False)
    _reviews: dict[Frequent, Buckets] = field(init=False)
    _attempts: Attempts = field(init=False)
    _attempts_of_senders: Buckets = field(init=False)

    def __post_init__(self) -> None:
        clock = self.monotonic
        self._senders = TTLCache(CACHE_SECONDS, clock)
        self._frequent = {kind: TTLCache(FREQUENT_CACHE_SECONDS, clock) for kind in Frequent}
        self._reviews = {kind: Buckets(*rate, clock) for kind, rate in REVIEWS.items()}
        self._attempts = Attempts(clock)
        self._attempts_of_senders = Buckets(SENDER_RATE, SENDER_BURST, clock)

    async def of(self, request: web.Request, frequent: Frequent | None = None) -> Sender:
        """Who sent a request.

        Args:
            request: The request.
            frequent: If such requests come all the time.

        Raises:
            Refused: The token is not valid, cannot be checked now, or there are too many tries.
        """
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        sender = None
        if 0 < len(token) <= MAX_TOKEN and token.isascii():
            key = hashlib.sha256(token.encode()).digest()
            address = plain(request.remote or "-")
            try:
                sender = await self._sender(key, token, address, frequent)
            except KubeError as e:
                log.warning("TokenReview failed: %s", e)
                raise Refused(503, "cannot check the token now") from e
        if sender is None:
            raise Refused(401, "the token is not valid")
        return sender

    async def _sender(
        self, key: bytes, token: str, address: str, frequent: Frequent | None
    ) -> Sender | None:
        """The sender of a token, from a cache or from the authenticator."""
        waited = self._frequent[Frequent.TASK].known(key)
        if waited is not None:
            return waited  # a pod of a pool, which was reviewed while it waited

        def ask() -> Awaitable[Sender | None]:
            return self._senders.get(key, lambda: self._limited(key, token, address, frequent))

        return await (self._frequent[frequent].get(key, ask) if frequent else ask())

    async def _limited(
        self, key: bytes, token: str, address: str, frequent: Frequent | None
    ) -> Sender | None:
        """The sender of a token; an attempt, unless the token was valid the last time."""
        if self._senders.was_granted(key):
            self._take_review(frequent)
            return await self.authenticator.sender(token)
        claimed = self.authenticator.claimed(token, self.cache)
        take = self._attempts_of_senders.take
        if pause := take(claimed) if claimed else self._attempts.begin(address):
            detail = "Too many requests without a valid token come from this pod or address"
            raise Refused(429, sentence(Reason.RATE_LIMITED, detail), pause)
        self._take_review(frequent)
        sender = await self.authenticator.sender(token)
        if sender is not None and not claimed:
            self._attempts.succeeded(address)
        return sender

    def _take_review(self, frequent: Frequent | None) -> None:
        """Take one of the reviews that frequent requests may cause."""
        if frequent and (pause := self._reviews[frequent].take("")):
            detail = f"Too many pods begin to ask at the same time ({frequent.value})"
            raise Refused(429, sentence(Reason.RATE_LIMITED, detail), pause)
