"""Asks the operator for the task of a pod that waits in a pool, until there is one.

The answer is a stream of lines. An empty line shows that the operator is alive; the first other
line is the :class:`nanogrid.wire.HandOver`. The pod opens the connection, so the operator needs no
way into pods. Whatever goes wrong, the client asks again: a pod without a job has nothing else to
do, and the operator removes pods that it does not want.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nanogrid import names, wire
from nanogrid.backoff import exponential, jitter
from nanogrid_executor.agent.report_client import authorization, connect, is_refusal, url_of
from nanogrid_executor.log import log, warn

if TYPE_CHECKING:
    import http.client

CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 25.0  # the operator sends a line every 10 s
FIRST_DELAY_SECONDS: Final = 0.1
LONGEST_DELAY_SECONDS: Final = 2.0
# A refusal may be over soon: a new leader does not know the pod yet, or the token is just replaced.
LONGEST_REFUSED_SECONDS: Final = 5.0
# The JSON of a task has up to six bytes for each byte of its text.
LINE_BYTES: Final = 1 << 20


class TaskClient:
    """The requests of one pod; :meth:`wait` returns its job."""

    def __init__(
        self,
        results_url: str,
        token_file: str,
        *,
        silence_seconds: float = SILENCE_SECONDS,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is sent before :meth:`wait`.

        Args:
            results_url: the operator's results endpoint.
            token_file: the pod's token.
            silence_seconds: without a line for so long, the connection is dead.
            pause: waits between two requests; tests replace it.
            clock: seconds.
        """
        self._url = url_of(results_url, names.TASK_PATH)
        self._token_file = token_file
        self._silence_seconds = silence_seconds
        self._pause = pause
        self._clock = clock
        self._problem = ""  # of the last request, until an answer begins

    def wait(self) -> wire.HandOver:
        """Ask until the operator hands a job over; blocks for as long as the pod waits."""
        failures = 0
        while True:
            began = self._clock()
            longest = LONGEST_DELAY_SECONDS
            try:
                answer = self._ask()
                if isinstance(answer, wire.HandOver):
                    return answer
                if answer is None and self._lived(began):
                    continue  # the operator ends each answer after a while
                if answer is not None and is_refusal(answer):
                    longest = LONGEST_REFUSED_SECONDS
                problem = "no job" if answer is None else f"status {answer}"
            except (OSError, ValueError) as error:
                problem = str(error) or type(error).__name__
            self._note(problem)
            if self._lived(began):
                failures = 0  # a leader that ends is followed soon
            self._pause(jitter(exponential(failures, FIRST_DELAY_SECONDS, longest)))
            failures += 1

    def _ask(self) -> wire.HandOver | int | None:
        """One request: the job, None without one, or the status of an answer that is no stream.

        Raises:
            OSError: there is no answer, or nothing came for too long.
            ValueError: the answer has no valid HTTP, or a line that is no hand-over.
        """
        import http.client  # late, as in report_client

        connection = connect(self._url, CONNECT_SECONDS)
        try:
            connection.connect()
            connection.sock.settimeout(self._silence_seconds)
            connection.request("GET", names.TASK_PATH, headers=authorization(self._token_file))
            answer = connection.getresponse()
            return self._read(answer) if answer.status == http.client.OK else answer.status
        except http.client.HTTPException as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        finally:
            connection.close()

    def _read(self, answer: "http.client.HTTPResponse") -> wire.HandOver | None:
        while line := answer.readline(LINE_BYTES + 1):
            if len(line) > LINE_BYTES:
                raise ValueError(f"a line has more than {LINE_BYTES} bytes")
            if line.strip():
                return wire.loads(wire.HandOver, line)
            if self._problem:
                log("task-asked")
                self._problem = ""
        return None

    def _lived(self, began: float) -> bool:
        """Whether a request has taken so long that the next one needs no pause."""
        return self._clock() - began > LONGEST_DELAY_SECONDS

    def _note(self, problem: str) -> None:
        """Log a problem when it begins, not with each request of an outage of hours."""
        if problem != self._problem:
            warn("task-not-asked", why=problem)
        self._problem = problem
