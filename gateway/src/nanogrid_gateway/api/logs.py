"""What a run prints, as server-sent events: live from its sandbox, at the end from its result.

``log`` events hold text; ``end`` holds the run as ``GET /runs/ID`` gives it, without its streams.
"""

import codecs
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Final

from nanogrid import names
from nanogrid_gateway.api import jobs
from nanogrid_gateway.api.errors import ApiError
from nanogrid_gateway.api.jobs import Json
from nanogrid_gateway.api.kube import Kube
from nanogrid_gateway.api.runs import Answer, Runs
from nanogrid_gateway.router.cluster import KubeError

log = logging.getLogger("nanogrid.gateway.logs")

EVENTS: Final = "text/event-stream"
POLL_SECONDS: Final = 1.0
HEARTBEAT: Final = ": heartbeat\n\n"
HEARTBEAT_SECONDS: Final = 15.0
MAX_SECONDS: Final = 3600.0
SILENT: Final = ("stdout", "stderr")


def encode(name: str, data: object) -> str:
    """One server-sent event; JSON has no line breaks of its own."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n"


def follow(
    runs: Runs,
    kube: Kube,
    request_id: str,
    stopping: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """The events of one run, until it has ended or the gateway stops."""
    shown = False
    started = beat = time.monotonic()
    try:
        while not stopping() and time.monotonic() - started < MAX_SECONDS:
            answer = runs.look(request_id)
            if answer.done:
                yield from _last(answer, shown)
                return
            if not shown:
                for event in _live(kube, runs.job(request_id), stopping):
                    shown = shown or event != HEARTBEAT
                    yield event
            if time.monotonic() - beat > HEARTBEAT_SECONDS:
                beat = time.monotonic()
                yield HEARTBEAT
            sleep(POLL_SECONDS)
        yield encode("gone", {"message": "The gateway ends this stream. Ask again."})
    except ApiError as e:
        yield encode("error", e.body()["error"])


def _last(answer: Answer, shown: bool) -> Iterator[str]:
    if not shown:
        for stream in SILENT:
            if text := answer.body.get(stream):
                yield encode("log", {"stream": stream, "text": text})
    yield encode("end", {k: v for k, v in answer.body.items() if k not in SILENT})


def _live(kube: Kube, job: Json, stopping: Callable[[], bool]) -> Iterator[str]:
    """The sandbox's log, from its beginning; nothing when there is none yet."""
    pod = jobs.status_of(job).get("podName")
    if not pod:
        return
    # A character may lie across two chunks.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        for chunk in kube.log(pod, names.CONTAINER_SANDBOX):
            if stopping():
                return
            text = decoder.decode(chunk) if chunk is not None else ""
            yield encode("log", {"text": text}) if text else HEARTBEAT
    except KubeError as e:
        # 400: the container waits to start; 404: the pod is gone, and the result follows.
        if e.code not in (400, 404):
            log.warning("the log of pod %s: %s", pod, e)


def headers() -> dict[str, str]:
    """No cache and no proxy may hold events back."""
    return {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
