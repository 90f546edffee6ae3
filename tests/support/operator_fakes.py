"""In-memory fakes of the API server, Redis and S3, which record what they are asked.

They are subclasses, so that mypy notices when a real signature changes; no real ``__init__`` runs.
:mod:`support.operator_world` has an operator that uses them.
"""

import copy
from collections.abc import Callable
from typing import Any

from nanogrid import wire
from nanogrid.kube.client import GONE, KubeApi, Trim
from nanogrid.kube.conventions import PAGE, TOKEN_REVIEWS, KubeError
from nanogrid.reasons import Reason
from nanogrid.result_auth import NotAuthenticError
from nanogrid.s3.errors import S3Error
from nanogrid.tenancy import Area
from nanogrid.types import Json
from nanogrid_operator.decision.outcome import Delivery, Storage, same_end
from nanogrid_operator.decision.result_owner import ResultOwner
from nanogrid_operator.delivery.redis import Publisher
from nanogrid_operator.delivery.s3 import ResultStore
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.kube.server_clock import ServerClock
from nanogrid_operator.model.claim import CLAIM_SUFFIX
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.workqueue import CAP_SECONDS, WorkQueue
from support.builders import CREATED, RESULT_KEY_MASTER, merge_patch
from support.selectors import selected

PODS = "/api/v1/namespaces/team-a/pods"
EVENTS = "/api/v1/namespaces/team-a/events"
JOBS = "/apis/nanogrid.io/v1alpha1/namespaces/team-a/executionjobs"
POOLS = "/apis/nanogrid.io/v1alpha1/namespaces/team-a/executionpools"
CREATE_POD = f"POST {PODS}"
WRITE_STATUS = f"PATCH {JOBS}/sales/status"
KEYS = ResultKeys(RESULT_KEY_MASTER)


class FakeKube(KubeApi):
    """An API server with optimistic concurrency and merge patches.

    ``writes`` has one line for each request that changes something, except for Events, which are
    in ``events``. ``refusals`` has the errors that the next requests of a verb get.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}  # by path and name
        self.writes: list[str] = []
        self.events: list[Json] = []
        self.reviews: list[Json] = []
        self.review: Json = {}
        self.refusals: dict[str, list[KubeError]] = {}
        self.version = 100
        self.deleted: set[str] = set()  # uids
        self.clock: Callable[[], float] = lambda: CREATED
        self.server_clock = ServerClock()

    def refuse(self, verb: str, code: int, reason: str = "", message: str = "") -> None:
        """Let the next request of this verb fail with this error."""
        self.refusals.setdefault(verb, []).append(KubeError(code, reason, message))

    def put(self, path: str, body: Json) -> None:
        """Store an object as it is."""
        self.objects[f"{path}/{body['metadata']['name']}"] = copy.deepcopy(body)

    def touch(self, path: str, name: str) -> None:
        """Let another client change an object."""
        self._store(f"{path}/{name}", self.objects[f"{path}/{name}"])

    async def list(
        self,
        path: str,
        *,
        labels: str = "",
        fields: str = "",
        trim: Trim | None = None,
        limit: int = PAGE,
    ) -> tuple[list[Json], str]:
        self._maybe_refuse("LIST")
        found = [o for key, o in self.objects.items() if key.rpartition("/")[0] == path]
        if fields:
            self._maybe_refuse("SELECT")
        found = [o for o in found if selected(o, labels, fields)]
        found = copy.deepcopy(found)
        return [trim(o) for o in found] if trim else found, str(self.version)

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
            claims = body["metadata"]["name"].endswith(CLAIM_SUFFIX)
            return self._create(path, body) if claims else body
        self.writes.append(f"POST {path}")
        self._maybe_refuse("POST")
        return self._create(path, body)

    def _create(self, path: str, body: Json) -> Json:
        key = f"{path}/{body['metadata']['name']}"
        if key in self.objects:
            raise KubeError(409, "AlreadyExists", f"{key} already exists")
        made = copy.deepcopy(body)
        created = timestamp(self.clock())
        made["metadata"] |= {
            "uid": f"uid-{self.version}", "creationTimestamp": created, "generation": 1
        }  # fmt: skip
        return self._store(key, made)

    async def replace(self, path: str, name: str, body: Json) -> Json:
        self.writes.append(f"PUT {path}/{name}")
        self._maybe_refuse("PUT")
        found, given = self._find(f"{path}/{name}")["metadata"], body["metadata"]
        if given.get("resourceVersion", found["resourceVersion"]) != found["resourceVersion"]:
            raise KubeError(409, "Conflict", "the object has been modified")
        kept = {"uid": found["uid"], "creationTimestamp": found["creationTimestamp"]}
        return self._store(f"{path}/{name}", {**body, "metadata": {**given, **kept}})

    async def patch(self, path: str, name: str, body: Json) -> Json:
        self.writes.append(f"PATCH {path}/{name}")
        return self._patch("PATCH", f"{path}/{name}", body)

    async def patch_status(self, path: str, name: str, body: Json) -> Json:
        self.writes.append(f"PATCH {path}/{name}/status")
        return self._patch("PATCH", f"{path}/{name}", body)

    async def delete(
        self,
        path: str,
        name: str,
        uid: str | None = None,
        *,
        version: str | None = None,
        grace_seconds: int | None = None,
        gone: frozenset[int] = GONE,
    ) -> Json | None:
        """As the API server: pods take time to end, and finalizers keep an object.

        The garbage collector deletes what has no owner any more.
        """
        self.writes.append(f"DELETE {path}/{name} {uid}")
        self._maybe_refuse("DELETE")
        key = f"{path}/{name}"
        found = self.objects.get(key)
        if found is None:
            return None
        if version not in (None, found["metadata"].get("resourceVersion")):
            if 409 in gone:
                return None
            raise KubeError(409, "Conflict", f"{name} has changed")
        if found["metadata"].get("finalizers"):
            found["metadata"]["deletionTimestamp"] = timestamp(self.clock())
            return self._store(key, found)
        self._remove(key)
        if not path.endswith("/pods"):
            return None
        self.version += 1
        found["metadata"] |= {
            "deletionTimestamp": timestamp(self.clock() + 30),
            "resourceVersion": str(self.version),
        }
        return found

    def finalize(self, path: str, name: str) -> None:
        """A controller removes its finalizers."""
        found = self.objects[f"{path}/{name}"]
        del found["metadata"]["finalizers"]
        if found["metadata"].get("deletionTimestamp"):
            self._remove(f"{path}/{name}")

    def _remove(self, key: str) -> None:
        """Remove an object, and what only it owns."""
        self.deleted.add(self.objects.pop(key)["metadata"].get("uid", ""))
        for other, body in list(self.objects.items()):
            # The APIResourceList of a group has no metadata.
            owners = {o["uid"] for o in body.get("metadata", {}).get("ownerReferences") or []}
            if other in self.objects and owners and owners <= self.deleted:
                if body["metadata"].get("finalizers"):
                    body["metadata"]["deletionTimestamp"] = timestamp(self.clock())
                elif not other.rpartition("/")[0].endswith("/pods"):  # the kubelet ends them
                    self._remove(other)

    def _patch(self, verb: str, key: str, body: Json) -> Json:
        self._maybe_refuse(verb)
        found = self._find(key)
        asked = body.get("metadata", {}).get("resourceVersion")
        if asked is not None and asked != found["metadata"]["resourceVersion"]:
            raise KubeError(409, "Conflict", "the object has been modified")
        uid = body.get("metadata", {}).get("uid")
        if uid is not None and uid != found["metadata"]["uid"]:
            raise KubeError(409, "Conflict", "the UID in the precondition is another one")
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
    """A Redis that is up or down; ``offered`` has each result that it was asked to deliver.

    ``kept`` and ``messages`` are its keys and what its subscribers received, as with SET NX.
    """

    def __init__(self) -> None:
        self.offered: list[wire.Result] = []
        self.kept: dict[str, wire.Result] = {}
        self.messages: list[wire.Result] = []
        self.up = True
        self.answers = True  # False: it acts, but its answer is lost
        self.failure = Reason.REDIS_UNAVAILABLE
        self.taken = False  # another job's result has the key of the requestId

    async def publish(self, result: wire.Result, owner: ResultOwner) -> Delivery:
        self.offered.append(result)
        if not self.up:
            return self._pending("ConnectionError: refused")
        if self.taken:
            return Delivery(state="Conflict", message="the key holds another job's result")
        kept = self.kept.get(owner.key)
        forged = kept is not None and kept != result and not _published(kept, owner)
        fresh = kept is None or forged
        if kept is None or forged:
            kept = self.kept[owner.key] = result
            self.messages.append(result)
        if not self.answers:
            return self._pending("TimeoutError: no answer")
        if fresh:
            replaced = f"{owner.key} held another value" if forged else ""
            return Delivery(state="Delivered", receivers=1, stream_id="1-0", replaced=replaced)
        previous = None if kept == result else kept
        message = "delivered by an earlier try"
        return Delivery(state="Delivered", message=message, previous_result=previous)

    async def previous_result(self, owner: ResultOwner) -> wire.Result | None:
        kept = self.kept.get(owner.key) if self.up and self.answers else None
        return kept if kept is not None and _published(kept, owner) else None

    def _pending(self, message: str) -> Delivery:
        return Delivery(state="Pending", reason=self.failure, message=message)


def _published(kept: wire.Result, owner: ResultOwner) -> bool:
    try:
        return owner.published(KEYS.read(wire.dumps(kept)))
    except NotAuthenticError:
        return False


class FakeResults(ResultStore):
    """Results stored in S3, by root and requestId."""

    def __init__(self) -> None:
        self.bucket = "user-data"
        self.stored: dict[str, wire.Result] = {}
        self.saved: list[wire.Result] = []
        self.up = True

    async def load(self, area: Area, request_id: str) -> wire.Result | None:
        if not self.up:
            raise S3Error("no answer")
        stored = self.stored.get(area.key(request_id))
        return None if stored is None else KEYS.read(wire.dumps(stored))

    async def save(self, area: Area, result: wire.Result) -> Storage:
        if not self.up:
            raise S3Error("no answer")
        self.saved.append(result)
        key = area.key(result.request_id)
        there = self.stored.get(key)
        if there is not None and there.job.uid != result.job.uid:
            return Storage(reason=Reason.REQUEST_ID_CONFLICT, message="another job's")
        if there is None or not same_end(there, result):
            self.stored[key] = result
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


class RecordingQueue(WorkQueue):
    """A work queue that records the delays that it was asked for."""

    def __init__(self, *, paused: bool = False) -> None:
        super().__init__(paused=paused)
        self.delays: list[float] = []
        self.retries: list[float] = []

    def add(self, key: str, delay: float = 0.0) -> None:
        self.delays.append(delay)
        super().add(key, delay)

    def retry(self, key: str, cap: float = CAP_SECONDS, *, at_least: float = 0.0) -> float:
        delay = super().retry(key, cap, at_least=at_least)
        self.retries.append(delay)
        return delay
