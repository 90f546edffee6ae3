"""An in-memory cluster under the real client, for tests of the command line."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from nanogrid import names, wire
from nanogrid.client import Client, Functions
from nanogrid.client.errors import ApiError, Conflict, Forbidden, NotFound
from nanogrid.client.s3_uri import Uploaded
from nanogrid.client.timing import DEFAULT_TIMING
from nanogrid.types import Json

Objects = list[Json]
NAMESPACE = "jobs"
CREATED = "2026-01-02T03:04:05Z"


def result_of(name: str, **changes: Any) -> Json:
    """A result as in the status; by default a success that printed one line."""
    blank = wire.blank_result(
        request_id="r-1",
        function_id=None,
        status=wire.STATUS_SUCCESS,
        reason="Completed",
        job=wire.JobRef(namespace=NAMESPACE, name=name, uid=f"uid-{name}"),
        attempt=0,
        message="",
    )
    found: Json = wire.to_dict(blank)
    return found | {"exitCode": 0, "stdout": "hello\n"} | changes


def job(
    name: str, phase: str = "", reason: str = "", result: Json | None = None, **spec: Any
) -> Json:
    """An ExecutionJob; a phase adds a status."""
    status: Json = {"phase": phase, "reason": reason} if phase else {}
    if result is not None:
        status["result"] = result
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "creationTimestamp": CREATED,
        },
        "spec": {"code": {"inline": "print('hello')"}, **spec},
        "status": status,
    }


def function(name: str, memory: str | None = None, **status: Any) -> Json:
    """A Function with one version; ``status`` sets fields of its status."""
    limits = {"resources": {"limits": {"memory": memory}}} if memory else {}
    stored = {"bucket": "b", "key": "code/x.zip", "sha256": "b" * 64}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.FUNCTION_KIND,
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"uid-{name}",
            "resourceVersion": "7",
            "creationTimestamp": CREATED,
        },
        "spec": {"versions": [{"version": 1, "s3": stored, "createdAt": CREATED}], **limits},
        "status": status,
    }


def recent(peaks: list[int], limit: int = 256 << 20, **changes: Any) -> list[Json]:
    """Recent runs of a Function's status with these peaks in MiB."""
    run = {"status": "SUCCESS", "reason": "Completed", "version": 1, "time": CREATED}
    run |= {"durationMillis": 1200, "memoryLimitBytes": limit} | changes
    return [
        run
        | {"requestId": f"r-{n}", "job": f"j-{n}", "uid": f"u-{n}", "peakMemoryBytes": peak << 20}
        for n, peak in enumerate(peaks)
    ]


def ended(name: str, **changes: Any) -> Json:
    """A finished job with a result."""
    result = result_of(name, **changes)
    phase = "Succeeded" if result["status"] == wire.STATUS_SUCCESS else "Failed"
    return job(name, phase, result["reason"], result)


@dataclass(frozen=True)
class FakeResponse:
    """A response of the API server's proxy."""

    data: bytes


@dataclass
class FakeConnection:
    """A connection that answers with prepared bodies by path."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    host: str = ""

    @property
    def pool(self) -> "FakeConnection":
        return self

    def auth_headers(self) -> dict[str, str]:
        return {}

    def request(self, method: str, url: str, **_: Any) -> FakeResponse:
        return FakeResponse(self.bodies.get(url, b"no endpoints available"))


class FakeCluster:
    """Objects by path; a created job ends with the result in ``ends``."""

    def __init__(self) -> None:
        self.namespace = NAMESPACE
        self.timing = DEFAULT_TIMING
        self.objects: dict[str, Json] = {}
        self.lists: dict[str, list[Json]] = {}
        self.forbidden: set[str] = set()
        self.ends: Json = {}
        # Changes of the result of a job, by the job; None for a job that does not end.
        self.end_of: Callable[[Json], Json | None] = lambda _: self.ends
        self.before_create: Callable[[Json], None] = lambda _: None  # may raise
        self.delete_error: ApiError | None = None
        self.account_rights: dict[str, set[str]] = {}  # of service accounts: "get pods"
        self.created: list[Json] = []
        self.patches: list[tuple[str, Json]] = []
        self.deleted: list[str] = []
        self.interrupt = False
        self.denied: set[str] = set()
        self.unavailable: set[str] = set()
        self.connection = FakeConnection()

    def jobs_path(self) -> str:
        return f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/{names.PLURAL}"

    def functions_path(self) -> str:
        return f"/apis/{names.API_VERSION}/namespaces/{NAMESPACE}/{names.FUNCTION_PLURAL}"

    def add_functions(self, *found: Json) -> None:
        for one in found:
            self.objects[f"{self.functions_path()}/{one['metadata']['name']}"] = one

    def add(self, *found: Json) -> None:
        for one in found:
            self.objects[f"{self.jobs_path()}/{one['metadata']['name']}"] = one

    def get(self, path: str) -> Json:
        if path in self.unavailable:
            raise ApiError(503, "ServiceUnavailable", "no endpoints available")
        if path not in self.objects:
            raise NotFound(404, "NotFound", f"{path} not found.")
        return self.objects[path]

    def list(self, path: str, labels: str = "", fields: str = "") -> list[Json]:
        if path in self.forbidden:
            raise Forbidden(403, "Forbidden", f"you cannot list {path}.")
        jobs = [one for key, one in self.objects.items() if key.startswith(f"{self.jobs_path()}/")]
        if path in (self.jobs_path(), f"/apis/{names.API_VERSION}/{names.PLURAL}"):
            return jobs
        if path.endswith(f"/{names.FUNCTION_PLURAL}"):
            base = f"{self.functions_path()}/"
            return [one for key, one in self.objects.items() if key.startswith(base)]
        if "elbv2.k8s.aws" in path and path not in self.lists:
            raise NotFound(404, "NotFound", "the server could not find the requested resource")
        return list(self.lists.get(f"{path}?{labels}", self.lists.get(path, [])))

    def list_metadata(self, path: str, labels: str = "") -> Objects:
        return [{"metadata": one["metadata"]} for one in self.list(path, labels)]

    def create(self, path: str, body: Json) -> Json:
        name = body["metadata"]["name"]
        self.before_create(body)
        if f"{path}/{name}" in self.objects:
            raise Conflict(409, "AlreadyExists", f"{name} exists.")
        self.created.append(body)
        if body["kind"] == names.FUNCTION_KIND:
            made = function(name) | {"spec": body["spec"]}
            self.objects[f"{path}/{name}"] = made
            return made
        made = job(name) | {"spec": body["spec"]}
        made["metadata"] = made["metadata"] | body["metadata"]
        self.objects[f"{path}/{name}"] = made
        return made

    def patch(self, path: str, name: str, body: Json, subresource: str | None = None) -> Json:
        self.patches.append((name, body))
        return self.get(f"{path}/{name}")

    def delete(self, path: str, name: str, uid: str | None = None) -> None:
        self.deleted.append(f"{path}/{name}#{uid}")
        if self.delete_error is not None:
            raise self.delete_error

    def list_with_version(
        self, path: str, labels: str = "", fields: str = ""
    ) -> tuple[Objects, str]:
        return self.list(path, labels, fields), "1"

    def watch(self, path: str, fields: str = "", **_: Any) -> Iterator[Json]:
        if path.endswith("/pods"):
            return
        if self.interrupt:
            raise KeyboardInterrupt
        name = parse_qs(fields)["metadata.name"][0]
        found = self.get(f"{path}/{name}")
        changes = self.end_of(found)
        if changes is None:
            return
        done = ended(name, **changes)
        done["metadata"] = found["metadata"]
        self.objects[f"{path}/{name}"] = done
        yield {"type": "MODIFIED", "object": done}

    def pod_log(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield b"a line"

    def can(
        self,
        verb: str,
        resource: str,
        namespace: str | None = None,
        group: str = "",
        service_account: str = "",
    ) -> bool:
        if service_account:
            return f"{verb} {resource}" in self.account_rights.get(service_account, set())
        return f"{verb} {resource}" not in self.denied

    def version(self) -> Json:
        return {"gitVersion": "v1.34.4"}


class FakeClient(Client):
    """The real client over the fake cluster; uploads are only recorded."""

    def __init__(self, cluster: FakeCluster) -> None:
        super().__init__(namespace=NAMESPACE)
        self.fake = cluster
        self.uploads: list[str] = []

    @property
    def cluster(self) -> Any:
        return self.fake

    def upload(self, path: Any, key: str | None = None) -> Uploaded:
        self.uploads.append(str(path))
        return Uploaded(f"s3://bucket/{key or 'uploads/x'}", "a" * 64, 3)

    @property
    def functions(self) -> Functions:
        def put(content: bytes, key: str | None = None) -> Uploaded:
            digest = hashlib.sha256(content).hexdigest()
            return Uploaded(f"s3://bucket/code/{digest}.zip", digest, len(content))

        return Functions(self.cluster, put)
