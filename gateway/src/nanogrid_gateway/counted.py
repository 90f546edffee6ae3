"""Counts what a server of aiohttp answers: each request once, whatever its end is.

aiohttp answers some requests by itself, before the application knows of them: malformed ones, and
those with an unknown Expect header. Its access log is the one place that has them.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from nanogrid.metrics.registry import OTHER
from nanogrid.reasons import Reason
from nanogrid_gateway.metrics import CLIENT_CLOSED_REQUEST, Answers

R = TypeVar("R", bound=web.StreamResponse)

# Of an answer that is an error: why.
REASON: Final = web.ResponseKey("reason", str)
_COUNTED: Final = web.RequestKey("counted", bool)


class ContentFailedError(ConnectionResetError):
    """The server cannot complete an answer whose head it has sent, and cuts the connection."""


def with_reason(response: R, reason: str) -> R:
    """The answer of an error, which counts with its reason."""
    response[REASON] = reason
    return response


@dataclass(slots=True)
class Counted:
    """One request, until it is answered; ``status`` is 500 until another one is known."""

    answers: Answers
    route: str
    method: str
    status: int = 500
    _began: float = field(default_factory=time.monotonic)
    _is_counted: bool = False

    def head(self, status: int) -> None:
        """The head of the answer was sent; what follows does not count."""
        self.status = status
        self.count()

    def answer(self, response: web.StreamResponse) -> None:
        """The answer is known; an error is one of this server."""
        self.status = response.status
        if response.status >= 400 and REASON in response:
            self.answers.refused(response[REASON])

    def count(self) -> None:
        """Count the request, unless it is."""
        if not self._is_counted:
            self._is_counted = True
            seconds = time.monotonic() - self._began
            self.answers.answered(self.route, self.method, self.status, seconds)


@contextmanager
def counting(answers: Answers, request: web.BaseRequest, route: str) -> Iterator[Counted]:
    """Count a request at the end of the block, at the latest.

    Args:
        answers: where it counts.
        request: the request.
        route: the pattern of its path.
    """
    request[_COUNTED] = True
    counted = Counted(answers, route, request.method)
    answers.requests_in_flight.inc()
    try:
        yield counted
    except ContentFailedError:
        raise
    except (asyncio.CancelledError, ConnectionError):
        counted.status = CLIENT_CLOSED_REQUEST
        raise
    finally:
        answers.requests_in_flight.dec()
        counted.count()


def count_others(answers: Answers) -> type[AbstractAccessLogger]:
    """An access log that counts what aiohttp answered by itself, and writes nothing."""

    class Others(AbstractAccessLogger):
        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            if _COUNTED not in request:
                answers.answered(OTHER, request.method, response.status, time)
                if response.status < 500:
                    answers.refused(Reason.BAD_REQUEST)

    return Others
