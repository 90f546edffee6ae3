"""Tells the operator how the session is: on each change, at most once a second, at least every 30.

Only the newest state counts, so nothing is queued: what could not be sent is superseded.
"""

import threading
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from nanogrid import names, wire
from nanogrid_executor.deliver import post_once
from nanogrid_executor.log import log

SHORTEST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 30.0

Post = Callable[[str, str, bytes], int | str]


def sessions_url(results_url: str) -> str:
    """Where session reports go, given where results go."""
    return urlunsplit((*urlsplit(results_url)[:2], names.SESSIONS_PATH, "", ""))


class Reporter:
    """Posts the newest state from a thread of its own."""

    def __init__(
        self,
        url: str,
        token_file: str,
        state: Callable[[], wire.SessionReport],
        post: Post = post_once,
        shortest: float = SHORTEST_SECONDS,
        longest: float = LONGEST_SECONDS,
    ) -> None:
        self._url = url
        self._token_file = token_file
        self._state = state
        self._post = post
        self._shortest = shortest
        self._longest = longest
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._failing = False

    def start(self) -> None:
        """Begin, if there is an operator to tell."""
        if self._url:
            threading.Thread(target=self._serve, name="session-reports", daemon=True).start()

    def changed(self) -> None:
        """There is something new to tell."""
        self._changed.set()

    def stop(self) -> None:
        """Tell nothing more: the final report follows."""
        self._stopped.set()
        self._changed.set()

    def _serve(self) -> None:
        while True:
            self._changed.wait(self._longest)
            self._changed.clear()
            if self._stopped.is_set():
                return
            began = time.monotonic()
            self._tell()
            self._stopped.wait(max(0.0, self._shortest - (time.monotonic() - began)))

    def _tell(self) -> None:
        try:
            body = wire.dumps(self._state()).encode()
            answer = self._post(sessions_url(self._url), self._token_file, body)
        except OSError as error:  # the token's file is not there
            answer = str(error)
        taken = isinstance(answer, int) and 200 <= answer < 300
        if not taken and not self._failing:  # once per outage
            log("session-report-not-taken", answer=answer)
        if taken and self._failing:
            log("session-report-taken-again")
        self._failing = not taken
