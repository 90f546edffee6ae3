"""Posts the session's state to the operator: on each change, and after 30 s without one.

Reports are at least 1 s apart. Only the newest state matters, so nothing is queued: the next report
supersedes one that fails.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from nanogrid import names, wire
from nanogrid_executor.agent.report_client import post_once, url_of
from nanogrid_executor.log import log, warn

SHORTEST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 30.0

Post = Callable[[str, str, bytes], int | str]  # URL, token file, body
Wait = Callable[[threading.Event, float], object]  # until the event is set, or for some seconds


class SessionReporter:
    """Posts the newest state from its own thread."""

    def __init__(
        self,
        url: str,
        token_file: str,
        state: Callable[[], wire.SessionReport],
        post: Post = post_once,
        shortest: float = SHORTEST_SECONDS,
        longest: float = LONGEST_SECONDS,
        wait: Wait = threading.Event.wait,
    ) -> None:
        """Nothing is posted before :meth:`start`.

        Args:
            url: the operator's results endpoint; empty: nothing is ever posted.
            token_file: the pod's token.
            state: gives the state to post.
            post: sends one request; returns the status, or an error.
            shortest: seconds between two reports.
            longest: seconds without a change until the next report.
            wait: waits for these times; tests replace it.
        """
        self._url, self._token_file = url, token_file
        self._state, self._post = state, post
        self._shortest, self._longest = shortest, longest
        self._wait = wait
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._failing = False

    def start(self) -> None:
        """Start the thread, if there is an endpoint."""
        if self._url:
            threading.Thread(target=self._run, name="session-reports", daemon=True).start()

    def changed(self) -> None:
        """The state has changed."""
        self._changed.set()

    def stop(self) -> None:
        """Post no more reports: the final report follows."""
        self._stopped.set()
        self._changed.set()

    def _run(self) -> None:
        while self.report_next():
            pass

    def report_next(self) -> bool:
        """Wait for the next report's time and post it; False after :meth:`stop`."""
        self._wait(self._changed, self._longest)
        self._changed.clear()
        if self._stopped.is_set():
            return False
        started = time.monotonic()
        self._post_state()
        self._wait(self._stopped, max(0.0, self._shortest - (time.monotonic() - started)))
        return True

    def _post_state(self) -> None:
        try:
            body = wire.dumps(self._state()).encode()
            answer = self._post(url_of(self._url, names.SESSIONS_PATH), self._token_file, body)
        except OSError as error:  # the token file is missing
            answer = str(error)
        accepted = isinstance(answer, int) and 200 <= answer < 300
        if not accepted and not self._failing:  # log once per outage
            warn("session-report-not-taken", answer=answer)
        if accepted and self._failing:
            log("session-report-taken-again")
        self._failing = not accepted
