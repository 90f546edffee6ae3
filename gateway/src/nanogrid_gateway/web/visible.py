"""Which namespaces a caller sees: those in which the API server says that they may list runs.

One review with all namespaces answers for administrators. For other callers there is one review
per namespace with runs, at most :data:`MAX_REVIEWS` for one request; the rest follow with the next
requests of the page, which polls. A namespace without a valid review is not shown.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from nanogrid.backoff import jitter
from nanogrid_gateway.api.reviews import ALL_NAMESPACES, Permission, User, require

LIST_RUNS: Final = require("list")
MAX_REVIEWS: Final = 100  # for one request
CONCURRENT: Final = 8  # reviews of all callers; the API server has other clients
CALLERS: Final = 200  # whose answers are kept

NEVER: Final = (-math.inf, False)  # asked about

Review = Callable[[User, Permission], Awaitable[bool]]


@dataclass(slots=True)
class _Answers:
    """What the API server said about one caller: by namespace, until when, and the answer.

    An answer that is too old shows no namespace; it only says when to ask again.
    """

    known: dict[str, tuple[float, bool]] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def valid(self, name: str, now: float) -> bool:
        """Whether there is an answer, and it is too early to ask again."""
        return now < self.known.get(name, NEVER)[0]

    def visible(self, name: str, now: float) -> bool:
        """Whether the answer is yes, and no older than it may be; one of just now always counts."""
        until, allowed = self.known.get(name, NEVER)
        return allowed and now <= until

    def turn(self, name: str) -> tuple[bool, float]:
        """The sort key of a namespace without a valid answer: the smallest is asked about first."""
        until, allowed = self.known.get(name, NEVER)
        return not allowed, until


class VisibleNamespaces:
    """The namespaces of each caller.

    Args:
        review: asks the API server.
        seconds: that an answer is kept at most. Denials are kept as long as grants: with many
            namespaces that a caller does not see, each open page would ask for them all the time.
        clock: seconds that only increase.
    """

    def __init__(
        self, review: Review, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._review = review
        self._seconds = seconds
        self._clock = clock
        self._callers: OrderedDict[User, _Answers] = OrderedDict()
        self._slots = asyncio.Semaphore(CONCURRENT)

    async def of(self, user: User, candidates: Sequence[str]) -> frozenset[str] | None:
        """The visible ones of these namespaces; None: all namespaces are visible.

        Args:
            user: the caller.
            candidates: the namespaces to ask about, the most important first.

        Raises:
            KubeError: the API server did not answer; nothing is known then.
        """
        answers = self._callers.setdefault(user, _Answers())
        self._callers.move_to_end(user)
        if len(self._callers) > CALLERS:
            self._callers.popitem(last=False)
        async with answers.lock:  # two requests of a page do not ask the same
            now = self._clock()
            await self._ask(user, answers, [ALL_NAMESPACES], now)
            if answers.known[ALL_NAMESPACES][1]:
                return None
            wanted = dict.fromkeys((ALL_NAMESPACES, *candidates))
            answers.known = {n: answer for n, answer in answers.known.items() if n in wanted}
            unknown = [name for name in candidates if not answers.valid(name, now)]
            # First those that the caller saw before, so that an open page keeps its rows. Then
            # those that were asked about longest ago or never, so that each one has its turn.
            unknown.sort(key=answers.turn)
            await self._ask(user, answers, unknown[:MAX_REVIEWS], now)
            return frozenset(name for name in candidates if answers.visible(name, now))

    async def _ask(self, user: User, answers: _Answers, names: list[str], now: float) -> None:
        """Add the answers about these namespaces that are not known."""

        async def ask(name: str) -> None:
            async with self._slots:
                allowed = await self._review(user, LIST_RUNS.within(name))
            # Spread, so that a page with many namespaces does not ask for all again at once.
            answers.known[name] = (now + jitter(self._seconds, 0.5, 1.0), allowed)

        wanted = [name for name in names if not answers.valid(name, now)]
        try:
            async with asyncio.TaskGroup() as group:
                for name in wanted:
                    group.create_task(ask(name))
        except ExceptionGroup as e:
            raise e.exceptions[0] from None
