"""Takes a report that reaches a standby to the leader.

Agents report to a Service that selects all operators. Only the leader notes reports. A standby
knows the leader's address from the election, so the agent need not try again.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import aiohttp
from aiohttp import web

from nanogrid import names
from nanogrid_operator.kube.leader_address import LeaderAddress
from nanogrid_operator.server.authentication import Sender

log = logging.getLogger("nanogrid.forwarder")

CONNECT_SECONDS: Final = 1.0
SLOT_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 3.0  # after that; an agent waits for 5 s
# A leader that did not answer may be lost, or a firewall drops what is sent to it. Then few agents
# wait for a timeout: the others get an answer at once, and try again.
PAUSE_SECONDS: Final = 5.0
MOST: Final = 32  # at the same time
# Of one sender: an agent sends a few at most. So none keeps the slots from the others, and few
# bodies wait for one.
MOST_OF_SENDER: Final = 4
MOST_ANSWER_BYTES: Final = 65_536
# A process that gets this header forwards no more: two standbys could name each other for a moment.
HEADER: Final = "X-NanoGrid-Forwarded"


class ReportForwarder:
    """Sends reports to the leader, one request each, and tries none again: the agent does."""

    def __init__(
        self,
        leader: Callable[[], LeaderAddress | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``leader`` is None while this process leads, and while no leader is known."""
        self._leader = leader
        self._clock = clock
        self._slots = asyncio.Semaphore(MOST)
        self._of_sender: Counter[Sender] = Counter()
        self._silent: tuple[LeaderAddress | None, float] = (None, 0.0)

    async def forward(self, request: web.Request, sender: Sender) -> web.Response:
        """The leader's answer; 503 if no leader answers: then the agent tries again soon.

        429 if there are too many requests of the sender at the same time.

        Args:
            request: A report with a token that this process has found to be valid. The leader
                checks both itself.
            sender: Whom the token belongs to.
        """
        if self._of_sender[sender] >= MOST_OF_SENDER:
            body = {"error": "too many reports of this pod at the same time"}
            return web.json_response(body, status=429, headers={"Retry-After": "1"})
        self._of_sender[sender] += 1
        try:
            return await self._forward(request)
        finally:
            self._of_sender[sender] -= 1
            if not self._of_sender[sender]:
                del self._of_sender[sender]

    async def _forward(self, request: web.Request) -> web.Response:
        level = logging.INFO if request.path == names.RESULTS_PATH else logging.DEBUG
        leader = None if HEADER in request.headers else self._answering()
        answer = None if leader is None else await self._ask(leader, request)
        if answer is None:
            log.log(level, "a report was not taken: this process stands by, no leader answers")
            return web.json_response({"error": "no leader takes reports now"}, status=503)
        log.log(level, "the leader at %s has answered a report with %d", leader, answer.status)
        return answer

    def _answering(self) -> LeaderAddress | None:
        """The leader, unless it has not answered a short time ago."""
        leader = self._leader()
        silent, until = self._silent
        return None if leader == silent and self._clock() < until else leader

    async def _ask(self, leader: LeaderAddress, request: web.Request) -> web.Response | None:
        """Its answer, or None; see :data:`PAUSE_SECONDS`."""
        body = await request.read()
        try:
            async with asyncio.timeout(SLOT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            return None  # nothing is known of the leader
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await _post(leader, request.path, request.headers["Authorization"], body)
        except (TimeoutError, aiohttp.ClientError, OSError) as e:
            log.warning("the leader at %s takes no report: %s %s", leader, type(e).__name__, e)
            self._silent = (leader, self._clock() + PAUSE_SECONDS)
            return None
        finally:
            self._slots.release()


async def _post(leader: LeaderAddress, path: str, authorization: str, body: bytes) -> web.Response:
    headers = {"Authorization": authorization, "Content-Type": "application/json", HEADER: "1"}
    async with (
        # A connection of its own: one that is kept may end at the leader when it is used again.
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(connect=CONNECT_SECONDS, total=ANSWER_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as session,
        session.post(
            f"http://{leader}{path}", data=body, headers=headers, allow_redirects=False
        ) as answer,
    ):
        text = b""
        async for part in answer.content.iter_any():
            text += part
            if len(text) > MOST_ANSWER_BYTES:
                raise aiohttp.ClientPayloadError("the answer is too long")
        after = answer.headers.get("Retry-After")
        return web.Response(
            body=text,
            status=answer.status,
            content_type="application/json",
            headers={} if after is None else {"Retry-After": after},
        )
