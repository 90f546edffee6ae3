"""The output of a run as server-sent events: live from its sandbox, at the end from its result.

``log`` events hold text; ``end`` holds the run as ``GET /runs/ID`` answers it, without its streams.
"""

import asyncio
import codecs
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Final

from aiohttp import web

from nanogrid import names
from nanogrid.connection_limits import Shares, Slots
from nanogrid.hints import Surface
from nanogrid.kube.conventions import KubeError
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.job_fields import status_of
from nanogrid_gateway.api.responses import send_stream
from nanogrid_gateway.api.routing import CALLER
from nanogrid_gateway.api.runs.jobs import RunAnswer
from nanogrid_gateway.api.runs.runs import Runs
from nanogrid_gateway.kube.client import Kube

log = logging.getLogger("nanogrid.gateway.logs")

EVENTS: Final = "text/event-stream"
POLL_SECONDS: Final = 1.0
HEARTBEAT: Final = ": heartbeat\n\n"
HEARTBEAT_SECONDS: Final = 15.0
MAX_SECONDS: Final = 3600.0
STREAMS: Final = ("stdout", "stderr")
# No cache and no proxy may hold events back.
HEADERS: Final = {"Content-Type": EVENTS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class LogStreams:
    """Streams the logs of runs to clients, a bounded number at a time.

    A caller has at most half of them, because callers of other namespaces share this gateway.
    """

    def __init__(self, count: int, stopping: Callable[[], bool]) -> None:
        self._slots = Slots(count)
        self._callers = Shares((count + 1) // 2)
        self._stopping = stopping

    async def send(
        self,
        request: web.Request,
        runs: Runs,
        request_id: str,
        surface: Surface = Surface.HTTP,
    ) -> web.StreamResponse:
        """Send the events of one run; an error event has the words of ``surface``.

        Raises:
            ApiError: 404 no such run, 429 too many streams.
        """
        await runs.look(request_id)  # a 404 as an error, not as an event
        with self._callers.slot(request[CALLER].name, _too_many_of_caller):
            if not self._slots.take():
                raise _too_many("Too many log streams are open in this gateway. Try again later.")
            try:
                async with aclosing(self._events(runs, request_id, surface)) as events:
                    return await send_stream(request, web.StreamResponse(headers=HEADERS), events)
            finally:
                self._slots.give_back()

    async def _events(
        self, runs: Runs, request_id: str, surface: Surface
    ) -> AsyncGenerator[bytes, None]:
        async with aclosing(follow(runs, request_id, self._stopping, surface)) as events:
            async for event in events:
                yield event.encode("utf-8", "replace")


def _too_many(message: str) -> ApiError:
    return ApiError(429, Reason.RATE_LIMITED, message, retry_after=5)


def _too_many_of_caller() -> ApiError:
    return _too_many("This caller has too many open log streams. Close one of them.")


def encode(name: str, data: object) -> str:
    """One server-sent event; JSON has no line breaks of its own."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n"


async def follow(
    runs: Runs, request_id: str, stopping: Callable[[], bool], surface: Surface
) -> AsyncGenerator[str, None]:
    """The events of one run, until it has ended or the gateway stops."""
    shown = False
    started = beat = time.monotonic()
    try:
        while not stopping() and time.monotonic() - started < MAX_SECONDS:
            answer = await runs.look(request_id)
            if answer.done:
                for event in _last(answer, shown):
                    yield event
                return
            if not shown:
                async with aclosing(_live(runs.kube, await runs.job(request_id), stopping)) as live:
                    async for text in live:
                        if text:
                            shown, beat = True, time.monotonic()
                            yield encode("log", {"text": text})
                        elif _due(beat):
                            beat = time.monotonic()
                            yield HEARTBEAT
            if _due(beat):
                beat = time.monotonic()
                yield HEARTBEAT
            await asyncio.sleep(POLL_SECONDS)
        yield encode("gone", {"message": "The gateway ends this stream. Open it again."})
    except ApiError as e:
        yield encode("error", e.body(surface)["error"])


def _due(beat: float) -> bool:
    return time.monotonic() - beat > HEARTBEAT_SECONDS


def _last(answer: RunAnswer, shown: bool) -> Iterator[str]:
    if not shown:
        for stream in STREAMS:
            if text := answer.body.get(stream):
                yield encode("log", {"stream": stream, "text": text})
    yield encode("end", {k: v for k, v in answer.body.items() if k not in STREAMS})


async def _live(kube: Kube, job: Json, stopping: Callable[[], bool]) -> AsyncGenerator[str, None]:
    """The sandbox's log from its beginning, empty text for silence; nothing if there is no log."""
    pod = status_of(job).get("podName")
    if not pod:
        return
    # A character may be split across two chunks.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        async with aclosing(kube.log(pod, names.CONTAINER_SANDBOX)) as chunks:
            async for chunk in chunks:
                if stopping():
                    return
                yield decoder.decode(chunk) if chunk is not None else ""
    except KubeError as e:
        # 400: the container waits to start; 404: the pod is gone, and the result follows.
        if e.code not in (400, 404):
            log.warning("the log of pod %s cannot be read: %s", pod, e)
