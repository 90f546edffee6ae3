"""In-memory stand-ins for the API server, Redis and S3, which write down what they were asked.

They are subclasses, so that mypy notices when a real signature moves; no real ``__init__`` runs.
"""

import copy
from typing import Any

from nanogrid import wire
from nanogrid_operator.kube import TOKEN_REVIEWS, KubeApi, KubeError
from nanogrid_operator.outcome import Delivery
from nanogrid_operator.publish import Publisher
from nanogrid_operator.s3 import ResultStore, S3Error
from unit.builders import CREATED_TEXT, Json, merge_patch


class FakeKube(KubeApi):
    """An API server with optimistic concurrency and merge patches.

    ``writes`` holds one line for each request that changes something, ``refusals`` the errors that
    the next requests of a verb get instead of an answer.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}  # by path and name
        self.writes: list[str] = []
        self.reviews: list[Json] = []
        self.review: Json = {}
        self.refusals: dict[str, list[KubeError]] = {}
        self.version = 100

    def refuse(self, verb: str, code: int, reason: str = "", message: str = "") -> None:
        """The next request of this verb gets this error."""
        self.refusals.setdefault(verb, []).append(KubeError(code, reason, message))

    def put(self, path: str, body: Json) -> None:
        """Place an object as it is."""
        self.objects[f"{path}/{body['metadata']['name']}"] = copy.deepcopy(body)

    def touch(self, path: str, name: str) -> None:
        """Somebody else changes an object."""
        self._store(f"{path}/{name}", self.objects[f"{path}/{name}"])

    async def list(self, path: str, *, labels: str = "") -> tuple[list[Json], int]:
        self._maybe_refuse("LIST")
        found = [o for key, o in self.objects.items() if key.rpartition("/")[0] == path]
        if labels:
            found = [o for o in found if labels in o["metadata"].get("labels", {})]
        return copy.deepcopy(found), self.version

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
        self.writes.append(f"POST {path}")
        self._maybe_refuse("POST")
        key = f"{path}/{body['metadata']['name']}"
        if key in self.objects:
            raise KubeError(409, "AlreadyExists", f"{key} already exists")
        made = copy.deepcopy(body)
        made["metadata"] |= {"uid": f"uid-{self.version}", "creationTimestamp": CREATED_TEXT}
        return self._store(key, made)

    async def patch(self, path: str, name: str, body: Json) -> Json:
        self.writes.append(f"PATCH {path}/{name}")
        return self._patch("PATCH", f"{path}/{name}", body)

    async def patch_status(self, path: str, name: str, body: Json) -> Json:
        self.writes.append(f"PATCH {path}/{name}/status")
        return self._patch("PATCH", f"{path}/{name}", body)

    async def delete(self, path: str, name: str, uid: str) -> None:
        self.writes.append(f"DELETE {path}/{name} {uid}")
        self.objects.pop(f"{path}/{name}", None)

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
    """A Redis that is up or down; ``told`` holds each result that it was asked to deliver."""

    def __init__(self) -> None:
        self.told: list[wire.Result] = []
        self.up = True

    async def publish(self, result: wire.Result) -> Delivery:
        self.told.append(result)
        if not self.up:
            return Delivery(state="Pending", message="ConnectionError: refused")
        return Delivery(state="Delivered", receivers=1, stream_id="1-0")


class FakeResults(ResultStore):
    """Results stored in S3, by requestId."""

    def __init__(self) -> None:
        self.bucket = "user-data"
        self.stored: dict[str, wire.Result] = {}
        self.up = True

    async def load(self, request_id: str) -> wire.Result | None:
        if not self.up:
            raise S3Error("no answer")
        return self.stored.get(request_id)


def reviewed(pod_uid: str, *, audience: str = "nanogrid-results", **changes: Any) -> Json:
    """The status of a TokenReview for the agent's token of a pod."""
    extra = {"authentication.kubernetes.io/pod-uid": [pod_uid]}
    return {
        "authenticated": True,
        "audiences": [audience],
        "user": {"username": "system:serviceaccount:team-a:default", "extra": extra},
        **changes,
    }
