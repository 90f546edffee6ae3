"""How long clients repeat their requests until a session that starts takes one. No I/O."""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

REMEMBERED: Final = 10_000  # sessions


class StartWaits:
    """The sessions that could not take a request yet, by uid; the oldest are forgotten."""

    def __init__(
        self, observe: Callable[[float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``observe`` receives each wait in seconds, as of ``clock``."""
        self._observe = observe
        self._clock = clock
        self._since: OrderedDict[str, float] = OrderedDict()

    def refused(self, uid: str) -> None:
        """The session starts, and cannot take this request."""
        self._since.setdefault(uid, self._clock())
        if len(self._since) > REMEMBERED:
            self._since.popitem(last=False)

    def accepted(self, uid: str) -> None:
        """The session takes this request."""
        since = self._since.pop(uid, None)
        if since is not None:
            self._observe(self._clock() - since)

    def ended(self, uid: str) -> None:
        """The session has ended, or ends: it takes no more requests."""
        self._since.pop(uid, None)
