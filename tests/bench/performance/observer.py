"""The one observer: watches pods, Jobs and ExecutionJobs, and subscribes to results in Redis.

It notes when it sees something, by one monotonic clock. Each watch has a thread; nothing is polled.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from nanogrid import names, pod_identity
from nanogrid.types import Json
from scripts.devaccess import DevAccess

POD, BATCH, JOB, POOL, RESULT = "pod", "batch", "job", "pool", "result"
TERMINAL, GONE, PUBLISHED, CHANGED = "terminal", "gone", "published", "changed"
CLAIMED, BOUND = "claimed", "bound"  # a pod has a job, and a node
WAIT_SECONDS: Final = 60.0
WATCH_SECONDS: Final = 300  # of one request; then it is repeated
READ_SECONDS: Final = 330.0
CONNECT_SECONDS: Final = 10.0
HTTP_ERROR: Final = 400
RETRY_SECONDS: Final = 0.2
PATHS: Final = {
    POD: "/api/v1/namespaces/{}/pods",
    BATCH: "/apis/batch/v1/namespaces/{}/jobs",
    JOB: f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.PLURAL}",
    POOL: f"/apis/{names.API_VERSION}/namespaces/{{}}/{names.POOL_PLURAL}",
}


def _batch_job_of(pod: Json) -> str:
    labels = pod["metadata"].get("labels") or {}
    return str(labels.get("batch.kubernetes.io/job-name", ""))


# A bare pod has no owner.
OWNER_OF: Final[dict[str, Callable[[Json], str]]] = {
    JOB: pod_identity.job_name, BATCH: _batch_job_of, POD: lambda _: ""
}  # fmt: skip


def ended(kind: str, body: Json) -> bool:
    """Whether an object is in a terminal state."""
    status = body.get("status") or {}
    if kind == BATCH:
        conditions = status.get("conditions") or []
        return any(
            one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions
        )
    return status.get("phase") in ("Succeeded", "Failed")


@dataclass(slots=True)
class Seen:
    """What was observed of one object or one result: times in seconds, and its last state."""

    at: dict[str, float] = field(default_factory=dict)
    body: Json = field(default_factory=dict)


class Api:
    """Requests to the API server with the credentials of the kubeconfig."""

    def __init__(self) -> None:
        settings: Any = client.Configuration.get_default_copy()
        settings.connection_pool_maxsize = 32
        settings.retries = False
        self._client: Any = client.ApiClient(settings)

    def send(self, method: str, path: str, body: Any = None, seconds: float = 60.0) -> Any:
        """The decoded answer.

        Raises:
            ApiException: the API server has refused the request.
        """
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = self._request(method, path, body, kind, seconds)
        return json.loads(answer.data or b"null")

    def text(self, path: str) -> str:
        """The answer of a GET as text: a log, or metrics."""
        found: bytes = self._request("GET", path, None, "", 60.0).data
        return found.decode()

    def stream(self, path: str) -> Iterator[Json]:
        """The events of a watch until the API server ends it."""
        answer = self._request("GET", path, None, "", READ_SECONDS)
        try:
            for line in _lines(answer):
                yield json.loads(line)
        finally:
            answer.close()

    def _request(self, method: str, path: str, body: Any, kind: str, seconds: float) -> Any:
        headers = {"Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = kind
        call = self._client.param_serialize(
            method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        found = self._client.call_api(*call, _request_timeout=(CONNECT_SECONDS, seconds))
        if found.status >= HTTP_ERROR:
            text = found.read().decode(errors="replace")
            raise ApiException(status=found.status, reason=f"{method} {path}: {text[:500]}")
        return found.response


def _lines(answer: Any) -> Iterator[bytes]:
    rest = b""
    for chunk in answer.stream(amt=None, decode_content=False):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


class Observer:
    """Watches one namespace until it is closed."""

    def __init__(self, namespace: str, access: DevAccess, api: Api, kinds: tuple[str, ...]) -> None:
        self.namespace, self.api, self._access = namespace, api, access
        self._seen: dict[tuple[str, str], Seen] = {}
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._broken: BaseException | None = None
        self._ready = [threading.Event() for _ in (*kinds, RESULT)]
        targets: list[Callable[[], None]] = [
            partial(self._watch, kind, up) for kind, up in zip(kinds, self._ready, strict=False)
        ]
        targets.append(partial(self._subscribe, self._ready[-1]))
        self._threads = [
            threading.Thread(target=self._guarded(target), daemon=True) for target in targets
        ]

    def __enter__(self) -> "Observer":
        for thread in self._threads:
            thread.start()
        for up in self._ready:
            up.wait(WAIT_SECONDS)
        if self._broken is not None or not all(up.is_set() for up in self._ready):
            raise RuntimeError("the observer cannot watch the cluster") from self._broken
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()  # the threads are daemons: a watch may not end soon

    def path(self, kind: str, name: str = "") -> str:
        """The path of a collection, or of an object."""
        return PATHS[kind].format(self.namespace) + (f"/{name}" if name else "")

    def create(self, kind: str, body: Json) -> float:
        """Create an object; returns the time just before the request."""
        began = time.monotonic()
        self.api.send("POST", self.path(kind), body)
        return began

    def delete(self, kind: str, name: str) -> None:
        """Delete an object with what it owns."""
        options = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
        self.api.send("DELETE", self.path(kind, name), options)

    def at(self, kind: str, name: str, what: str, seconds: float = WAIT_SECONDS) -> float:
        """When something was first observed; waits for it.

        Raises:
            TimeoutError: it was not within ``seconds``.
        """
        return self.wait(kind, name, lambda seen: what in seen.at, what, seconds).at[what]

    def wait(
        self, kind: str, name: str, check: Callable[[Seen], bool], what: str,
        seconds: float = WAIT_SECONDS,
    ) -> Seen:  # fmt: skip
        """Wait until what was observed of an object satisfies a check.

        Raises:
            TimeoutError: it did not within ``seconds``.
            RuntimeError: a watch has ended with an error.
        """

        def fulfilled() -> bool:
            return self._broken is not None or check(self._seen.setdefault((kind, name), Seen()))

        with self._changed:
            done = self._changed.wait_for(fulfilled, seconds)
            if self._broken is not None:
                raise RuntimeError("the observer has failed") from self._broken
            if not done:
                raise TimeoutError(f"{kind} {name}: not {what} within {seconds:.0f} s")
            return self._seen[(kind, name)]

    def pods(self, kind: str, owner: str) -> list[Json]:
        """The last observed state of the pods of an ExecutionJob or a Job, also of deleted ones."""
        with self._changed:
            bodies = [one.body for (seen, _), one in self._seen.items() if seen == POD]
        return [body for body in bodies if body and OWNER_OF[kind](body) == owner]

    def waiting_pods(self) -> int:
        """How many pods of pools run without a job now."""
        with self._changed:
            pods = [seen for (kind, _), seen in self._seen.items() if kind == POD and seen.body]
        return sum(
            GONE not in seen.at
            and "deletionTimestamp" not in seen.body["metadata"]
            and bool((seen.body["metadata"].get("labels") or {}).get(names.LABEL_POOL))
            and not pod_identity.job_uid(seen.body)
            and (seen.body.get("status") or {}).get("phase") == "Running"
            for seen in pods
        )

    def note(self, kind: str, name: str, what: str, body: Json) -> None:
        """Note a state that is observed now."""
        now = time.monotonic()
        with self._changed:
            seen = self._seen.setdefault((kind, name), Seen())
            seen.body = body
            seen.at.setdefault(what, now)
            if kind != RESULT and ended(kind, body):
                seen.at.setdefault(TERMINAL, now)
            if kind == POD and pod_identity.job_name(body):
                seen.at.setdefault(CLAIMED, now)
            if kind == POD and body["spec"].get("nodeName"):
                seen.at.setdefault(BOUND, now)
            self._changed.notify_all()

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                work()
            except Exception as error:
                if self._closed.is_set():
                    return
                with self._changed:  # it is raised where the main thread waits
                    self._broken = error
                    self._changed.notify_all()
                for up in self._ready:
                    up.set()

        return run

    def _watch(self, kind: str, up: threading.Event) -> None:
        """Observe a kind; a watch that ends is continued with a new list."""
        while not self._closed.is_set():
            listed = self.api.send("GET", self.path(kind))
            there = {body["metadata"]["name"]: body for body in listed["items"]}
            for name, body in there.items():
                self.note(kind, name, CHANGED, body)
            self._note_gone(kind, set(there))
            up.set()
            version = listed["metadata"]["resourceVersion"]
            query = f"?watch=true&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}"
            try:
                for event in self.api.stream(self.path(kind) + query):
                    if event["type"] == "ERROR":
                        break
                    body = event["object"]
                    what = GONE if event["type"] == "DELETED" else CHANGED
                    self.note(kind, body["metadata"]["name"], what, body)
            except HTTPError:
                self._closed.wait(RETRY_SECONDS)

    def _note_gone(self, kind: str, there: set[str]) -> None:
        """Note objects that were deleted between two watches."""
        with self._changed:
            gone = [
                (name, one.body)
                for (of, name), one in self._seen.items()
                if of == kind and one.body and name not in there and GONE not in one.at
            ]
        for name, body in gone:
            self.note(kind, name, GONE, body)

    def _subscribe(self, up: threading.Event) -> None:
        """Observe the results of the namespace, as a subscriber with a pattern."""
        connection: Any = self._access.redis(socket_timeout=None)
        pubsub = connection.pubsub(ignore_subscribe_messages=False)
        prefix = self._access.area(self.namespace).result_key("")
        pubsub.psubscribe(prefix + "*")
        while not self._closed.is_set():
            message = pubsub.get_message(timeout=1)
            if message is None:
                continue
            if message["type"] == "psubscribe":
                up.set()
            elif message["type"] == "pmessage":
                name = message["channel"].removeprefix(prefix)
                self.note(RESULT, name, PUBLISHED, json.loads(message["data"]))
