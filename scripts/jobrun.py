"""Apply a job and follow it to its end: what its status, its pod and Redis say, and when.

`kubectl get --watch` tells of job and pod, a subscriber of the result. All put what they see, with
its time, into one queue; :func:`run_job` reads it.
"""

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Any, Final

from redis.exceptions import RedisError

from nanogrid import names
from scripts.devaccess import AccessError, DevAccess, kubectl

MESSAGE_SECONDS: Final = 5.0  # how long a message may come after the final status

Event = tuple[str, float, Any]  # what (see JobRun.on), when, and the thing itself
Events = queue.SimpleQueue[Event]
Step = Callable[[float, str], None]  # told the seconds since `kubectl apply` began, and a text


@dataclass
class JobRun:
    """One job on its way; times are seconds after `kubectl apply` began."""

    name: str
    namespace: str
    request_id: str | None
    step: Step
    job: dict[str, Any] = field(default_factory=dict)
    pod: str = ""
    message: str | None = None
    message_seconds: float | None = None
    finished_seconds: float | None = None
    _told: set[str] = field(default_factory=set)

    @property
    def status(self) -> dict[str, Any]:
        """The job's status."""
        status: dict[str, Any] = self.job.get("status") or {}
        return status

    @property
    def result(self) -> dict[str, Any]:
        """The result in the job's status."""
        result: dict[str, Any] = self.status.get("result") or {}
        return result

    @property
    def succeeded(self) -> bool:
        """Whether the job has ended well."""
        return self.finished_seconds is not None and self.status.get("phase") == "Succeeded"

    def on(self, what: str, thing: Any, at: float) -> None:
        """Take in one event."""
        if what == "job":
            self._on_job(thing, at)
        elif what == "pod":
            self._on_pod(thing, at)
        elif what == "message":
            self.message, self.message_seconds = thing, at
            self.step(at, f"the subscriber has the result: {len(thing.encode()):,} bytes")
        elif what == "applied":
            self.step(at, f"applied: {thing}")
        elif what == "lost":
            self.step(at, f"the subscriber lost Redis: {thing}")

    def _on_job(self, job: dict[str, Any], at: float) -> None:
        self.job = job
        phase = self.status.get("phase")
        conditions = self.status.get("conditions", [])
        if any(c["type"] == "Finished" and c["status"] == "True" for c in conditions):
            code = self.result.get("exitCode")
            end = "no exit code" if code is None else f"exit code {code}"
            self._once(at, f"{phase}: {self.status['reason']}, {end}")
            self.finished_seconds = self.finished_seconds or at
        elif phase:
            self._once(at, f"status: {phase}")

    def _on_pod(self, pod: dict[str, Any], at: float) -> None:
        """Each step of the pod; the kubelet tells of them up to a second late."""
        self.pod = pod["metadata"]["name"]
        if node := pod["spec"].get("nodeName"):
            self._once(at, f"pod {self.pod} on node {node}")
        status = pod.get("status", {})
        for container in status.get("initContainerStatuses", []):
            if container["state"].get("terminated", {}).get("exitCode") == 0:
                self._once(at, f"{container['name']} is done")
        for container in status.get("containerStatuses", []):
            if container["name"] == names.CONTAINER_SANDBOX and "running" in container["state"]:
                self._once(at, "the sandbox runs")

    def _once(self, at: float, text: str) -> None:
        """Tell a step that has not been told; after the end, none."""
        if text not in self._told and self.finished_seconds is None:
            self._told.add(text)
            self.step(at, text)


def run_job(
    manifest: dict[str, Any], namespace: str, access: DevAccess, timeout: float, step: Step
) -> JobRun:
    """Apply a manifest and follow the job until it has ended, or time is up.

    With a requestId in it, a subscriber waits on Redis before the job is applied, and the run ends
    when the message has come, at most MESSAGE_SECONDS after the final status.

    Raises:
        AccessError: the job could not be applied.
    """
    name, request_id = manifest["metadata"]["name"], manifest["spec"].get("requestId")
    run = JobRun(name, namespace, request_id, step)
    events: Events = queue.SimpleQueue()
    with ExitStack() as stack:
        if request_id:
            channel = names.result_key(request_id)
            stack.enter_context(Subscriber(access, channel, events))
            step(0.0, f"a subscriber waits on Redis channel {channel}")
        one = f"--field-selector=metadata.name={name}"
        stack.enter_context(Watch("job", events, "-n", namespace, names.PLURAL, one))
        its = f"--selector={names.LABEL_JOB}={name}"
        stack.enter_context(Watch("pod", events, "-n", namespace, "pods", its))
        started = time.monotonic()
        kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(manifest))
        # By way of the queue: the pod is often there before kubectl has ended.
        events.put(("applied", time.monotonic(), f"{names.SHORT_NAME}/{name}"))
        _follow(run, events, started, timeout)
    return run


def _follow(run: JobRun, events: Events, started: float, timeout: float) -> None:
    deadline = started + timeout
    while run.finished_seconds is None or (run.request_id and run.message is None):
        try:
            what, when, thing = events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return
        run.on(what, thing, when - started)
        if run.finished_seconds is not None:
            deadline = min(deadline, started + run.finished_seconds + MESSAGE_SECONDS)


class Watch:
    """Objects from `kubectl get --watch`, put into a queue as they come; restarted if it ends."""

    def __init__(self, what: str, events: Events, *words: str) -> None:
        self._what = what
        self._events = events
        self._command = ["kubectl", "get", *words, "--watch", "-o", "json"]
        self._ended = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()  # so that none is started after the end
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ended.set()
            if self._process is not None:
                self._process.terminate()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._ended.is_set():
                    return
                self._process = subprocess.Popen(
                    self._command,
                    encoding="utf-8",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            with self._process as process:
                if process.stdout is not None:
                    self._read(process.stdout)
            self._ended.wait(0.3)  # the API server may be away for a moment

    def _read(self, stream: IO[str]) -> None:
        lines: list[str] = []
        for line in stream:
            lines.append(line)
            if line == "}\n":  # kubectl indents everything but an object's first and last line
                self._events.put((self._what, time.monotonic(), json.loads("".join(lines))))
                lines.clear()


class Subscriber:
    """Waits on a Redis channel; subscribed for certain once the context is entered."""

    def __init__(self, access: DevAccess, channel: str, events: Events) -> None:
        self._pubsub = access.redis().pubsub()  # type: ignore[no-untyped-call]
        self._channel = channel
        self._events = events
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Subscriber":
        self._pubsub.subscribe(self._channel)
        if self._pubsub.get_message(timeout=5) is None:
            raise AccessError(f"Redis did not confirm the subscription to {self._channel}")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(5)
        self._pubsub.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                found = self._pubsub.get_message(timeout=0.2)
            except RedisError as error:
                self._events.put(("lost", time.monotonic(), error))
                return
            if found is not None and found["type"] == "message":
                self._events.put(("message", time.monotonic(), found["data"]))
