"""One run of each subject of the latency table, and what a namespace needs for it."""

import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.performance import observer as o
from bench.performance.observer import Observer
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.benchmark import subjects as s
from support.benchmark.manifests import (
    BOOT_ID,
    bare_copy,
    batch_job,
    execution_job,
    pod,
    pod_spec,
    printed_times,
)
from support.kubectl import Namespace
from support.sessions import Caller

Row = dict[str, float | None]
FILES: Final = 10
FILE_BYTES: Final = 2048
CALLS: Final = 5
POOL: Final = "bench"


class RunError(Exception):
    """A run of a subject did not do what the table shows, for example started cold on a pool."""


def boot_id() -> str:
    """The boot id of this machine; empty without /proc."""
    path = Path(BOOT_ID)
    return path.read_text().strip() if path.exists() else ""


def put_inputs(access: DevAccess, namespace: str) -> str:
    """Store the inputs of all jobs with S3 input; returns their prefix."""
    prefix = Namespace(namespace).key("bench/input/")
    for number in range(FILES):
        body = bytes([number]) * FILE_BYTES
        access.s3.put_object(Bucket=access.bucket, Key=f"{prefix}{number}.bin", Body=body)
    return prefix


@dataclass
class Runs:
    """Runs subjects in one namespace.

    Attributes:
        observer: of the namespace.
        image: of the sandboxes.
        prefix: of the inputs in S3.
        session: a caller and the path of a session, if one runs.
        pool_ready: how many pods the pool has waiting when it is full.
    """

    observer: Observer
    image: str
    prefix: str
    session: tuple[Caller, str] | None = None
    pool_ready: int = 0
    _boot_id: str = field(default_factory=boot_id)
    _templates: dict[str, Json] = field(default_factory=dict)

    def run(self, subject: s.Subject) -> Row:
        """One run; what it creates is gone when it returns.

        Raises:
            RunError: the run is not one of the subject.
            TimeoutError: it did not end.
        """
        runs: dict[s.Subject, Callable[[], Row]] = {
            s.POD: lambda: self._pod(pod_spec(self.image)),
            s.POD_VOLUME: lambda: self._pod(pod_spec(self.image, volume=True)),
            s.POD_INIT: lambda: self._pod(pod_spec(self.image, volume=True, init=True)),
            s.POD_SYNC: lambda: self._pod(*self.copy(with_init=True, with_agent=False)),
            s.BATCH: lambda: self._batch(pod_spec(self.image)),
            s.BATCH_INIT: lambda: self._batch(pod_spec(self.image, init=True)),
            s.INLINE: self._job,
            s.S3_INIT: lambda: self._job(**self.inputs()),
            s.S3_AGENT: lambda: self._job(**self.inputs(), inputStrategy="Agent"),
            s.WARM: self._warm,
            s.WARM_S3: lambda: self._warm(**self.inputs()),
            s.PROCESS: lambda: self._execute(None),
            s.CONTEXT: lambda: self._execute("bench"),
        }
        return runs[subject]()

    def inputs(self) -> Json:
        """The spec's fields for S3 input."""
        return {"inputs": [{"name": "in", "s3": {"prefix": self.prefix}, "mountPath": "/app/data"}]}

    def copy(self, *, with_init: bool, with_agent: bool) -> tuple[Json, Json]:
        """Spec and metadata of a bare copy of a job's pod; the first call runs such a job."""
        kind = "s3" if with_init else "inline"
        if kind not in self._templates:
            name = new_name()
            self.observer.create(o.JOB, execution_job(name, **(self.inputs() if with_init else {})))
            self.observer.at(o.JOB, name, o.TERMINAL)
            (self._templates[kind],) = self.observer.pods(o.JOB, name)
            self._remove(o.JOB, name, [self._templates[kind]["metadata"]["name"]])
        return bare_copy(self._templates[kind], with_init=with_init, with_agent=with_agent)

    def _code(self, printed: str, began: float) -> Row:
        found = printed_times(printed, self._boot_id)
        if found is None:
            return {}
        first, process = found
        return {s.FIRST: 1000 * (first - began), s.PROCESS_STARTED: 1000 * (process - began)}

    def _pod_steps(self, name: str, began: float) -> Row:
        """When the pod of a job was created, or claimed, and had a node."""
        wanted = {s.POD_CREATED: o.CLAIMED, s.POD_BOUND: o.BOUND}
        return {
            column: 1000 * (self.observer.at(o.POD, name, what) - began)
            for column, what in wanted.items()
        }

    def _log(self, name: str, container: str) -> str:
        path = f"{self.observer.path(o.POD, name)}/log?container={container}"
        return self.observer.api.text(path)

    def _must_succeed(self, name: str) -> None:
        """Check that a pod has succeeded.

        Raises:
            RunError: it has not; the message has the end of the container that failed.
        """
        body = self.observer.wait(o.POD, name, lambda seen: o.TERMINAL in seen.at, "ended").body
        status = body["status"]
        if status["phase"] == "Succeeded":
            return
        states = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
        ends = [(one["name"], one["state"].get("terminated") or {}) for one in states]
        bad = [
            f"{of}: {end.get('reason')} {end.get('message', '')}"
            for of, end in ends
            if end.get("exitCode")
        ]
        raise RunError(f"{name}: {status.get('message', '')} {'; '.join(bad)}"[:500])

    def _remove(self, kind: str, name: str, pods: list[str]) -> None:
        """Delete an object; returns when it and its pods are gone."""
        self.observer.delete(kind, name)
        for one in pods:
            self.observer.at(o.POD, one, o.GONE)
        if kind != o.POD:
            self.observer.at(kind, name, o.GONE)

    def _pod(self, spec: Json, metadata: Json | None = None) -> Row:
        name = new_name()
        began = self.observer.create(o.POD, pod(name, spec, metadata))
        end = self.observer.at(o.POD, name, o.TERMINAL)
        self._must_succeed(name)
        printed = self._log(name, spec["containers"][-1]["name"])
        self._remove(o.POD, name, [name])
        return {**self._code(printed, began), s.TERMINAL: 1000 * (end - began)}

    def _batch(self, spec: Json) -> Row:
        name = new_name()
        began = self.observer.create(o.BATCH, batch_job(name, spec))
        end = self.observer.at(o.BATCH, name, o.TERMINAL)
        (one,) = self.observer.pods(o.BATCH, name)
        pod_name = one["metadata"]["name"]
        self._must_succeed(pod_name)
        printed = self._log(pod_name, spec["containers"][-1]["name"])
        self._remove(o.BATCH, name, [pod_name])
        return {**self._code(printed, began), s.TERMINAL: 1000 * (end - began)}

    def _job(self, **spec: object) -> Row:
        name = new_name()
        began = self.observer.create(o.JOB, execution_job(name, **spec))
        end = self.observer.at(o.JOB, name, o.TERMINAL)
        status = self.observer.wait(o.JOB, name, lambda seen: bool(seen.body), "seen").body[
            "status"
        ]
        if status["phase"] != "Succeeded":
            self.observer.delete(o.JOB, name)
            raise RunError(f"{name}: {status.get('reason')}: {status.get('message')}")
        published = self.observer.at(o.RESULT, name, o.PUBLISHED)
        result = self.observer.wait(o.RESULT, name, lambda seen: bool(seen.body), "known").body
        pods = [one["metadata"]["name"] for one in self.observer.pods(o.JOB, name)]
        steps = self._pod_steps(pods[0], began)
        self._remove(o.JOB, name, pods)
        if ("poolRef" in spec) != (status.get("start") == "Warm"):
            started = status.get("start", "cold")
            raise RunError(f"{name} started {started}: {status.get('startMessage', '')}")
        return {
            **steps,
            **self._code(result["stdout"], began),
            s.RESULT: 1000 * (published - began),
            s.TERMINAL: 1000 * (end - began),
        }

    def _warm(self, **spec: object) -> Row:
        self.fill()
        return self.warm_at_once(**spec)

    def warm_at_once(self, **spec: object) -> Row:
        """A job on the pool, whether or not the pool is full.

        Raises:
            RunError: it started cold.
        """
        return self._job(poolRef={"name": POOL}, **spec)

    def fill(self, seconds: float = o.WAIT_SECONDS) -> None:
        """Wait until the pool has all its pods waiting."""

        def full(seen: o.Seen) -> bool:
            ready = int((seen.body.get("status") or {}).get("ready") or 0)
            # The status of a pool follows its pods by up to two seconds.
            return min(ready, self.observer.waiting_pods()) >= self.pool_ready

        self.observer.wait(o.POOL, POOL, full, f"ready with {self.pool_ready} pods", seconds)

    def _execute(self, context: str | None) -> Row:
        if self.session is None:
            raise RunError("no session runs")
        caller, path = self.session
        more = {"context": context} if context else {}
        found = []
        for _ in range(CALLS):
            began = time.monotonic()
            done = caller.execute(path, "pass", **more)
            found.append((time.monotonic() - began) * 1000 - float(done["durationMillis"]))
        return {s.RESULT: statistics.median(found)}


def new_name() -> str:
    """A name for an object that is created."""
    return f"bench-{uuid.uuid4().hex[:8]}"
