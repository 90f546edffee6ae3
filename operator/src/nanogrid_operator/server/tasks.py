"""Gives waiting agents their tasks: ``GET /v1/task`` is answered when a job claims the pod.

The answer is a stream of lines: empty ones so that both sides notice a dead peer, and then one
:class:`nanogrid.wire.HandOver`. The agent closes the connection when it has read the task.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import web

from nanogrid import wire
from nanogrid.backoff import jitter
from nanogrid_operator.server.authentication import Sender
from nanogrid_operator.watch.agents import WaitingAgents
from nanogrid_operator.watch.pools import PoolCache
from nanogrid_operator.workqueue import WorkQueue

log = logging.getLogger("nanogrid.tasks")


class Timing(NamedTuple):
    """Seconds."""

    heartbeat: float = 10.0  # an agent believes in a dead connection after 25 s
    # Then the agent asks again. An agent that is frozen does not, and its pod gets no job.
    wait: float = 50.0
    close: float = 10.0  # for the agent to read the task
    look: float = 0.02


@dataclass(slots=True, kw_only=True)
class TaskApi:
    """Answers one request of an agent at a time.

    Attributes:
        pools: The pods that wait.
        agents: Has the requests that wait.
        queue: Is paused while this process stands by.
        task_of: The task of a pod that a job has claimed, by the pod's uid; None: it has none.
        silent: Receives the uid of a pod whose agent did not take its task.
        monotonic: Seconds of durations.
        timing: How long it waits, and for what.
    """

    pools: PoolCache
    agents: WaitingAgents
    queue: WorkQueue
    task_of: Callable[[str], wire.HandOver | None]
    silent: Callable[[str], Awaitable[None]]
    monotonic: Callable[[], float] = time.monotonic
    timing: Timing = field(default_factory=Timing)

    async def answer(self, request: web.Request, sender: Sender) -> web.StreamResponse:
        """Answer when the sender's pod has a job, or without a task after a while."""
        uid = sender.pod_uid
        if self.queue.paused:
            return _error(503, "this process stands by: only the leader has tasks")
        if not uid:
            return _error(403, "only the token of a pod proves which task it gets")
        task = self.task_of(uid)
        if task is None and self.pools.waiting_pod(uid) is None:
            # The watch has not brought the pod yet, or its job has ended.
            return _error(503, "this pod does not wait for a task")
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        response.enable_chunked_encoding()
        response.force_close()  # the end of the connection shows that the agent has read its task
        await response.prepare(request)
        try:
            if task is None:
                task = await self._wait(uid, request, response)
            if task is not None:
                await response.write(wire.dumps(task).encode() + b"\n")
            await response.write_eof()
        except ConnectionError as e:
            log.info("the agent of pod %s has gone: %s", uid, e)  # its next request gets it
            return response
        if task is not None:
            await self._check_taken(request, uid)
        return response

    async def _wait(
        self, uid: str, request: web.Request, response: web.StreamResponse
    ) -> wire.HandOver | None:
        """The task, or None after a while, or when the agent has sent a newer request."""
        until = self.monotonic() + jitter(self.timing.wait, 0.8, 1.2)
        with self.agents.request(uid, lambda: _connected(request)) as future:
            # While the answer began, a claim may have met an older request of the agent.
            if (task := self.task_of(uid)) is not None:
                return task
            while self.monotonic() < until:
                await asyncio.wait({future}, timeout=self.timing.heartbeat)
                if future.cancelled():
                    return None
                if future.done():
                    return future.result()
                await response.write(b"\n")
        # A claim may have come after the last look.
        return future.result() if future.done() and not future.cancelled() else None

    async def _check_taken(self, request: web.Request, uid: str) -> None:
        """See whether the agent has read its task: then it closes the connection."""
        until = self.monotonic() + self.timing.close
        while _connected(request):
            if self.monotonic() > until:
                await self.silent(uid)
                return
            await asyncio.sleep(self.timing.look)
        self.agents.task_read(uid)


def _connected(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
