"""Apply a job and follow it to its end: the changes of its status, its pod and Redis, with times.

`kubectl get --watch` reports job and pod, a subscriber reports the result. They put events with
their times into one queue; :func:`run_job` reads it.
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

MESSAGE_SECONDS: Final = 5.0  # wait for the message after the final status

Event = tuple[str, float, Any]  # kind (see JobRun.handle), time, payload
Events = queue.SimpleQueue[Event]
Step = Callable[[float, str], None]  # receives seconds since the start of `kubectl apply`, text


@dataclass
class JobRun:
    """The state of one job; times are seconds since the start of `kubectl apply`."""

    name: str
    namespace: str
    request_id: str | None
    step: Step
    job: dict[str, Any] = field(default_factory=dict)
    pod: str = ""
    message: str | None = None
    message_seconds: float | None = None
    finished_seconds: float | None = None
    _reported: set[str] = field(default_factory=set)

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
        """Whether the job has succeeded."""
        return self.finished_seconds is not None and self.status.get("phase") == "Succeeded"

    def handle(self, kind: str, payload: Any, at: float) -> None:
        """Handle one event."""
        if kind == "job":
            self._on_job(payload, at)
        elif kind == "pod":
            self._on_pod(payload, at)
        elif kind == "message":
            self.message, self.message_seconds = payload, at
            self.step(at, f"the subscriber received the result: {len(payload.encode()):,} bytes")
        elif kind == "applied":
            self.step(at, f"applied: {payload}")
        elif kind == "lost":
            self.step(at, f"the subscriber lost its Redis connection: {payload}")

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
        """Report each step of the pod; the kubelet reports them up to a second late."""
        self.pod = pod["metadata"]["name"]
        if node := pod["spec"].get("nodeName"):
            self._once(at, f"pod {self.pod} on node {node}")
        status = pod.get("status", {})
        for container in status.get("initContainerStatuses", []):
            if container["state"].get("terminated", {}).get("exitCode") == 0:
                self._once(at, f"{container['name']} has finished")
        for container in status.get("containerStatuses", []):
            if container["name"] == names.CONTAINER_SANDBOX and "running" in container["state"]:
                self._once(at, "the sandbox is running")

    def _once(self, at: float, text: str) -> None:
        """Report a step once, and none after the end."""
        if text not in self._reported and self.finished_seconds is None:
            self._reported.add(text)
            self.step(at, text)


def run_job(
    manifest: dict[str, Any], namespace: str, access: DevAccess, timeout: float, step: Step
) -> JobRun:
    """Apply a manifest and follow the job until its end or the timeout.

    If the manifest has a requestId, a subscriber waits on Redis before the job is applied. The run
    then ends with the message, at most MESSAGE_SECONDS after the final status.

    Raises:
        AccessError: kubectl apply failed.
    """
    name, request_id = manifest["metadata"]["name"], manifest["spec"].get("requestId")
    run = JobRun(name, namespace, request_id, step)
    events: Events = queue.SimpleQueue()
    with ExitStack() as stack:
        if request_id:
            channel = access.area(namespace).result_key(request_id)
            stack.enter_context(Subscriber(access, channel, events))
            step(0.0, f"a subscriber waits on Redis channel {channel}")
        by_name = f"--field-selector=metadata.name={name}"
        stack.enter_context(Watch("job", events, "-n", namespace, names.PLURAL, by_name))
        by_label = f"--selector={names.LABEL_JOB}={name}"
        stack.enter_context(Watch("pod", events, "-n", namespace, "pods", by_label))
        started = time.monotonic()
        kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(manifest))
        # Through the queue, because the pod often exists before kubectl has exited.
        events.put(("applied", time.monotonic(), f"{names.SHORT_NAME}/{name}"))
        _follow(run, events, started, timeout)
    return run


def _follow(run: JobRun, events: Events, started: float, timeout: float) -> None:
    deadline = started + timeout
    while run.finished_seconds is None or (run.request_id and run.message is None):
        try:
            kind, when, payload = events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return
        run.handle(kind, payload, when - started)
        if run.finished_seconds is not None:
            deadline = min(deadline, started + run.finished_seconds + MESSAGE_SECONDS)


class Watch:
    """Puts the objects of `kubectl get --watch` into a queue; restarts kubectl if it exits."""

    def __init__(self, kind: str, events: Events, *args: str) -> None:
        self._kind = kind
        self._events = events
        self._command = ["kubectl", "get", *args, "--watch", "-o", "json"]
        self._ended = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()  # no process starts after __exit__
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
            self._ended.wait(0.3)  # the API server may be unavailable for a moment

    def _read(self, stream: IO[str]) -> None:
        lines: list[str] = []
        for line in stream:
            lines.append(line)
            if line == "}\n":  # kubectl indents all lines of an object except the first and last
                self._events.put((self._kind, time.monotonic(), json.loads("".join(lines))))
                lines.clear()


class Subscriber:
    """Waits on a Redis channel; inside the context the subscription is confirmed."""

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
                received = self._pubsub.get_message(timeout=0.2)
            except RedisError as error:
                self._events.put(("lost", time.monotonic(), error))
                return
            if received is not None and received["type"] == "message":
                self._events.put(("message", time.monotonic(), received["data"]))
