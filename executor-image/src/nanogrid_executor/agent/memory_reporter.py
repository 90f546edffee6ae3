"""Posts the memory of running code to the operator, for people who watch the job.

Such a report is worth no job: nothing waits for it, and its failure is one line in the log.
"""

import math
import threading
import time
from collections.abc import Callable
from typing import Final

from nanogrid import names, wire
from nanogrid.backoff import jitter
from nanogrid.live_memory import REFRESH_SECONDS, REPORT_SECONDS, MemoryUse, worth_reporting
from nanogrid_executor.agent.report_client import post_once, url_of
from nanogrid_executor.log import warn

FIRST_SECONDS: Final = 3.0  # short jobs send no report
LOOK_SECONDS: Final = 1.0
# An operator of another version does not know the body or the path. All other refusals may be over
# soon: a new leader may not know the job yet.
USELESS: Final = (400, 404)

Post = Callable[[str, str, bytes], int | str]  # URL, token file, body
Wait = Callable[[threading.Event, float], object]  # until the event is set, or for some seconds


class MemoryReporter:
    """The reports of one execution; the newest use replaces all earlier ones."""

    def __init__(
        self,
        url: str,
        token_file: str,
        task: wire.PodTask,
        use: Callable[[], MemoryUse | None],
        *,
        post: Post = post_once,
        wait: Wait = threading.Event.wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is posted before :meth:`run`.

        Args:
            url: the operator's results endpoint; empty: nothing is ever posted.
            token_file: the pod's token.
            task: names the job and its memory limit.
            use: the newest use; None: not known.
            post: sends one request; returns the status, or an error.
            wait: waits; tests replace it.
            clock: seconds.
        """
        self._url, self._token_file, self._task = url, token_file, task
        self._use, self._post, self._wait, self._clock = use, post, wait, clock
        self._stopped = threading.Event()
        self._failed = not url
        self._failing = False
        self._last: MemoryUse | None = None
        self._refresh = math.inf

    def stop(self) -> None:
        """Post no more reports. Does not wait for one that is being sent."""
        self._stopped.set()

    def run(self) -> None:
        """Post reports until :meth:`stop`; in a daemon thread, because a request may hang."""
        due = self._clock() + FIRST_SECONDS
        while not self._failed:
            self._wait(self._stopped, max(LOOK_SECONDS, due - self._clock()))
            if self._stopped.is_set():
                return
            use = self._use()
            limit = self._task.memory_limit_bytes
            old = self._clock() >= self._refresh
            if use is not None and (old or worth_reporting(self._last, use, limit)):
                self._send(use)
                due = self._clock() + jitter(REPORT_SECONDS, 1.0, 1.2)

    def _send(self, use: MemoryUse) -> None:
        task = self._task
        report = wire.MemoryReport(
            uid=task.uid,
            attempt=task.attempt,
            memory_bytes=use.current,
            peak_memory_bytes=use.peak or 0,
        )
        url = url_of(self._url, names.MEMORY_PATH)
        try:
            answer = self._post(url, self._token_file, wire.dumps(report).encode())
        except OSError as error:  # the token file is missing
            answer = str(error)
        if isinstance(answer, int) and 200 <= answer < 300:
            self._last, self._refresh = use, self._clock() + jitter(REFRESH_SECONDS, 1.0, 1.2)
            self._failing = False
            return
        self._failed = answer in USELESS
        if not self._failing and not self._stopped.is_set():  # log once per outage
            warn("memory-not-reported", answer=answer)
        self._failing = True
