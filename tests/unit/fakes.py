"""In-memory stand-ins for the API server, Redis and S3, which write down what they were asked.

They are subclasses, so that mypy notices when a real signature moves; no real ``__init__`` runs.
:class:`World` is an operator among them.
"""

import asyncio
import contextlib
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_operator.events import Events
from nanogrid_operator.facts import timestamp
from nanogrid_operator.kube import TOKEN_REVIEWS, KubeApi, KubeError, Trim
from nanogrid_operator.liveness import Liveness
from nanogrid_operator.outbox import Outbox
from nanogrid_operator.outcome import Delivery, Storage, same_end
from nanogrid_operator.publish import Publisher
from nanogrid_operator.reconcile import Reconciler
from nanogrid_operator.s3 import ResultStore, S3Error
from nanogrid_operator.secrets import S3SecretReplica
from nanogrid_operator.servertime import ServerTime
from nanogrid_operator.settings import Settings
from nanogrid_operator.store import Store
from nanogrid_operator.workers import Workers
from nanogrid_operator.workqueue import CAP_SECONDS, WorkQueue
from unit.builders import (
    CREATED,
    JOB_UID,
    Json,
    a_job_body,
    a_pod_body,
    merge_patch,
    some_settings,
)

PODS = "/api/v1/namespaces/team-a/pods"
EVENTS = "/api/v1/namespaces/team-a/events"
JOBS = "/apis/nanogrid.io/v1alpha1/namespaces/team-a/executionjobs"
CREATE_POD = f"POST {PODS}"
WRITE_STATUS = f"PATCH {JOBS}/sales/status"


class FakeKube(KubeApi):
    """An API server with optimistic concurrency and merge patches.

    ``writes`` holds one line for each request that changes something but for events, which are in
    ``events``; ``refusals`` the errors that the next requests of a verb get instead of an answer.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}  # by path and name
        self.writes: list[str] = []
        self.events: list[Json] = []
        self.reviews: list[Json] = []
        self.review: Json = {}
        self.refusals: dict[str, list[KubeError]] = {}
        self.version = 100
        self.clock: Callable[[], float] = lambda: CREATED
        self.server_time = ServerTime()

    def refuse(self, verb: str, code: int, reason: str = "", message: str = "") -> None:
        """The next request of this verb gets this error."""
        self.refusals.setdefault(verb, []).append(KubeError(code, reason, message))

    def put(self, path: str, body: Json) -> None:
        """Place an object as it is."""
        self.objects[f"{path}/{body['metadata']['name']}"] = copy.deepcopy(body)

    def touch(self, path: str, name: str) -> None:
        """Somebody else changes an object."""
        self._store(f"{path}/{name}", self.objects[f"{path}/{name}"])

    async def list(
        self, path: str, *, labels: str = "", fields: str = "", trim: Trim | None = None
    ) -> tuple[list[Json], int]:
        self._maybe_refuse("LIST")
        found = [o for key, o in self.objects.items() if key.rpartition("/")[0] == path]
        if labels:
            found = [o for o in found if labels in o["metadata"].get("labels", {})]
        found = copy.deepcopy(found)
        return [trim(o) for o in found] if trim else found, self.version

    async def probe(self, path: str) -> None:
        self._maybe_refuse("LIST")

    async def get(self, path: str, name: str) -> Json:
        self._maybe_refuse("GET")
        return copy.deepcopy(self._find(f"{path}/{name}"))

    async def create(self, path: str, body: Json) -> Json:
        if path == TOKEN_REVIEWS:
            self._maybe_refuse("REVIEW")
            self.reviews.append(body)
            return {**body, "status": self.review}
        if path.endswith("/events"):
            self._maybe_refuse("EVENT")
            self.events.append(copy.deepcopy(body))
            return body
        self.writes.append(f"POST {path}")
        self._maybe_refuse("POST")
        key = f"{path}/{body['metadata']['name']}"
        if key in self.objects:
            raise KubeError(409, "AlreadyExists", f"{key} already exists")
        made = copy.deepcopy(body)
        created = timestamp(self.clock())
        made["metadata"] |= {"uid": f"uid-{self.version}", "creationTimestamp": created}
        return self._store(key, made)

    async def patch(self, path: str, name: str, body: Json) -> Json:
        self.writes.append(f"PATCH {path}/{name}")
        return self._patch("PATCH", f"{path}/{name}", body)

    async def patch_status(self, path: str, name: str, body: Json) -> Json:
        self.writes.append(f"PATCH {path}/{name}/status")
        return self._patch("PATCH", f"{path}/{name}", body)

    async def delete(self, path: str, name: str, uid: str | None = None) -> Json | None:
        """As the API server: a pod ends in its own time, and is answered as it is meanwhile."""
        self.writes.append(f"DELETE {path}/{name} {uid}")
        found = self.objects.pop(f"{path}/{name}", None)
        if found is None or not path.endswith("/pods"):
            return None
        self.version += 1
        found["metadata"] |= {
            "deletionTimestamp": timestamp(self.clock() + 30),
            "resourceVersion": str(self.version),
        }
        return found

    def _patch(self, verb: str, key: str, body: Json) -> Json:
        self._maybe_refuse(verb)
        found = self._find(key)
        asked = body.get("metadata", {}).get("resourceVersion")
        if asked is not None and asked != found["metadata"]["resourceVersion"]:
            raise KubeError(409, "Conflict", "the object has been modified")
        return self._store(key, merge_patch(found, body))

    def _find(self, key: str) -> Json:
        if key not in self.objects:
            raise KubeError(404, "NotFound", f"{key} not found")
        return self.objects[key]

    def _store(self, key: str, body: Json) -> Json:
        self.version += 1
        self.objects[key] = copy.deepcopy(body)
        self.objects[key]["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.objects[key])

    def _maybe_refuse(self, verb: str) -> None:
        if self.refusals.get(verb):
            raise self.refusals[verb].pop(0)


class FakePublisher(Publisher):
    """A Redis that is up or down; ``told`` holds each result that it was asked to deliver.

    ``kept`` and ``messages`` are what it has and what its subscribers got, as with SET NX.
    """

    def __init__(self) -> None:
        self.told: list[wire.Result] = []
        self.kept: dict[str, wire.Result] = {}
        self.messages: list[wire.Result] = []
        self.up = True
        self.answers = True  # False: it does what it is asked, and the answer is lost
        self.trouble = Reason.REDIS_UNAVAILABLE
        self.taken = False  # by another job's result under the same requestId

    async def publish(self, result: wire.Result) -> Delivery:
        self.told.append(result)
        if not self.up:
            return self._pending("ConnectionError: refused")
        if self.taken:
            return Delivery(state="Conflict", message="the key holds another job's result")
        fresh = result.request_id not in self.kept
        kept = self.kept.setdefault(result.request_id, result)
        self.messages += [result] if fresh else []
        if not self.answers:
            return self._pending("TimeoutError: no answer")
        if fresh:
            return Delivery(state="Delivered", receivers=1, stream_id="1-0")
        earlier = None if kept == result else kept
        return Delivery(state="Delivered", message="delivered by an earlier try", told=earlier)

    async def told_before(self, request_id: str, job_uid: str) -> wire.Result | None:
        kept = self.kept.get(request_id) if self.up and self.answers else None
        return kept if kept is not None and kept.job.uid == job_uid else None

    def _pending(self, said: str) -> Delivery:
        return Delivery(state="Pending", reason=self.trouble, message=said)


class FakeResults(ResultStore):
    """Results stored in S3, by requestId."""

    def __init__(self) -> None:
        self.bucket = "user-data"
        self.stored: dict[str, wire.Result] = {}
        self.saved: list[wire.Result] = []
        self.up = True

    async def load(self, request_id: str) -> wire.Result | None:
        if not self.up:
            raise S3Error("no answer")
        return self.stored.get(request_id)

    async def save(self, result: wire.Result) -> Storage:
        if not self.up:
            raise S3Error("no answer")
        self.saved.append(result)
        there = self.stored.get(result.request_id)
        if there is not None and there.job.uid != result.job.uid:
            return Storage(reason=Reason.REQUEST_ID_CONFLICT, message="another job's")
        if there is None or not same_end(there, result):
            self.stored[result.request_id] = result
        return Storage()


def reviewed(pod_uid: str, *, audience: str = "nanogrid-results", **changes: Any) -> Json:
    """The status of a TokenReview for the agent's token of a pod."""
    extra = {"authentication.kubernetes.io/pod-uid": [pod_uid]}
    return {
        "authenticated": True,
        "audiences": [audience],
        "user": {"username": "system:serviceaccount:team-a:default", "extra": extra},
        **changes,
    }


@dataclass
class EagerQueue(WorkQueue):
    """Writes down the delays that were asked for; the first ten retries come at once."""

    delays: list[float] = field(default_factory=list)
    retries: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def add(self, key: str, delay: float = 0.0) -> None:
        self.delays.append(delay)
        super().add(key, delay)

    def retry(self, key: str, cap: float = CAP_SECONDS, *, at_least: float = 0.0) -> float:
        delay = super().retry(key, cap, at_least=at_least)
        self.retries.append(delay)
        if len(self.retries) < 10:
            super().add(key)
        return delay


class World:
    """One job in a cluster, and the operator's view of it."""

    def __init__(
        self, settings: Settings | None = None, body: Json | None = None, **job: Any
    ) -> None:
        self.settings = settings or some_settings(watch_namespaces="team-a", s3_secret="")
        self.kube, self.redis, self.s3 = FakeKube(), FakePublisher(), FakeResults()
        self.now = CREATED + 1
        self.kube.clock = lambda: self.now
        self.start()
        body = body or a_job_body(**job)
        self.kube.put(JOBS, body)
        self.store.put_job(copy.deepcopy(body))

    def start(self) -> None:
        """An operator that knows nothing yet."""
        self.store, self.queue = Store(), EagerQueue()
        self.operator = Reconciler(
            settings=self.settings,
            store=self.store,
            queue=self.queue,
            kube=self.kube,
            publisher=self.redis,
            results=self.s3,
            secrets=S3SecretReplica(self.kube, self.settings),
            events=Events(self.kube),
            clock=lambda: self.now + self.kube.server_time.offset,
        )
        self.outbox = Outbox(self.operator.delivering)
        self.operator.ending.outbox = self.outbox.offer
        self.liveness = Liveness(self.queue, self.settings.resync_seconds, lambda: self.now)
        self.workers = Workers(
            settings=self.settings,
            store=self.store,
            queue=self.queue,
            kube=self.kube,
            reconciler=self.operator,
            liveness=self.liveness,
        )

    async def reconcile(self) -> None:
        """One turn of a worker; events that it posted are sent."""
        await self.operator.reconcile(JOB_UID)
        await asyncio.sleep(0)

    async def work(self, seconds: float = 0.05) -> None:
        """Let a real worker run for a while."""
        self.queue.add(JOB_UID)
        worker = asyncio.create_task(self.workers.work())
        await asyncio.sleep(seconds)
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker

    async def store_late(self, seconds: float = 0.05) -> None:
        """Let the outbox run for a while."""
        task = asyncio.create_task(self.outbox.run())
        await asyncio.sleep(seconds)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def see_pod(self, **state: Any) -> None:
        """The watch brings the pod."""
        self.kube.put(PODS, a_pod_body(**state))
        self.store.put_pod(a_pod_body(**state))

    def push(self, report: wire.Report) -> None:
        """The agent POSTs a report."""
        self.store.put_report(JOB_UID, report, self.operator.clock())

    def change_spec(self, **spec: Any) -> None:
        """The user changes the job, and the watch brings it."""
        body = self.kube.objects[f"{JOBS}/sales"]
        body["spec"] |= spec
        body["metadata"]["generation"] += 1
        self.kube.touch(JOBS, "sales")
        self.store.put_job(copy.deepcopy(self.kube.objects[f"{JOBS}/sales"]))

    @property
    def events(self) -> list[str]:
        """The reasons of the events on the job, in their order."""
        return [event["reason"] for event in self.kube.events]

    @property
    def status(self) -> Json:
        status: Json = self.kube.objects[f"{JOBS}/sales"].get("status", {})
        return status

    @property
    def end(self) -> tuple[str | None, str | None, str | None]:
        """Phase, reason and delivery, as kubectl shows them."""
        delivery = self.status.get("delivery", {}).get("state")
        return self.status.get("phase"), self.status.get("reason"), delivery
