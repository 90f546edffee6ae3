"""Functions and their ZIPs in memory: what uploads and deletions of the gateway use.

As the API server and S3 do, it refuses a change of what has changed since it was read, and a second
object under a key. Other coroutines run before each operation, in an order that a seed gives.
"""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from typing import IO, Any, cast

from nanogrid import names
from nanogrid.kube.conventions import KubeError
from nanogrid.threads import Threads
from nanogrid.types import Json
from nanogrid_gateway.api.async_objects import AsyncObjects
from nanogrid_gateway.api.functions.functions import Functions
from nanogrid_gateway.api.functions.upload import Uploads
from nanogrid_gateway.kube.client import Kube
from support.builders import merge_patch

PREFIX = f"root/{names.function_prefix('hello')}"
MOST_TURNS = 4
NOW = 1_760_000_000.0


def conflict(text: str) -> KubeError:
    """The API server's answer to a change that comes too late."""
    return KubeError(409, "Conflict", text)


def copied(body: Any) -> Any:
    """A copy of JSON; copy.deepcopy takes five times as long."""
    return json.loads(json.dumps(body))


class FunctionStore:
    """One namespace and its part of the bucket.

    Attributes:
        bodies: functions by name.
        jobs: all jobs.
        objects: contents by key.
        before: called before each operation, with its name, such as ``patch`` or ``put``.
        written: when objects were written, unless it was now.
        lost: probability that the answer to a change is lost.
    """

    functions, jobs_path = "functions", "jobs"

    def __init__(self, seed: int = 0, lost: float = 0.0) -> None:
        self.bodies: dict[str, Json] = {}
        self.jobs: list[Json] = []
        self.objects: dict[str, bytes] = {}
        self.written: dict[str, float] = {}
        self.before: Callable[[str], None] = lambda operation: None
        self.lost = lost
        self.refusal: KubeError | None = None  # to the next change
        self._random = random.Random(seed)
        self._version = 0

    def uploads(self) -> Uploads:
        """The uploads of a gateway."""
        parts = (cast("Kube", _Kube(self)), cast("AsyncObjects", _Objects(self)))
        threads = cast("Threads", _NoThreads())
        return Uploads(*parts, Functions(*parts, clock=lambda: NOW), {"python": ""}, threads)

    def deletions(self) -> Functions:
        """The functions of a gateway."""
        return self.uploads().functions

    def keys(self, name: str) -> set[str]:
        """The keys that a function names."""
        body = self.bodies.get(name)
        return {v["s3"]["key"] for v in body["spec"]["versions"]} if body else set()

    def touch(self, name: str) -> None:
        """A change of the function's status by the operator."""
        self.bodies[name]["metadata"]["resourceVersion"] = self.next_version()

    def next_version(self) -> str:
        """A new resourceVersion."""
        self._version += 1
        return str(self._version)

    async def turn(self, operation: str) -> None:
        """Let others run before an operation."""
        for _ in range(self._random.randrange(MOST_TURNS)):
            await asyncio.sleep(0)
        self.before(operation)

    def answer(self, body: Json) -> Json:
        """The answer to a change that was carried out."""
        if self._random.random() < self.lost:
            raise KubeError(0, "Timeout", "no answer")
        found: Json = copied(body)
        return found


class _Kube:
    def __init__(self, store: FunctionStore) -> None:
        self._store = store
        self.functions, self.jobs = store.functions, store.jobs_path

    async def get(self, path: str, name: str) -> Json | None:
        await self._store.turn("get")
        found: Json | None = copied(self._store.bodies.get(name))
        return found

    async def list(self, path: str, query: dict[str, str]) -> Json:
        assert path == self.jobs
        await self._store.turn("list")
        return {"metadata": {}, "items": list(self._store.jobs)}

    async def create(self, path: str, body: Json) -> Json:
        await self._change("create")
        name = body["metadata"]["name"]
        if name in self._store.bodies:
            raise conflict("it exists")
        version = self._store.next_version()
        meta = body["metadata"] | {"uid": f"uid-{version}", "resourceVersion": version}
        self._store.bodies[name] = copied(body | {"metadata": meta})
        return self._store.answer(self._store.bodies[name])

    async def patch(self, path: str, name: str, body: Json) -> Json:
        await self._change("patch")
        found = self._found(name)
        if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            raise conflict("it has changed")
        patched = merge_patch(found, copied(body))
        patched["metadata"]["resourceVersion"] = self._store.next_version()
        self._store.bodies[name] = patched
        return self._store.answer(patched)

    async def delete(self, path: str, body: Json) -> None:
        await self._change("delete")
        meta = body["metadata"]
        found = self._found(meta["name"])["metadata"]
        if any(meta[key] != found[key] for key in ("uid", "resourceVersion")):
            raise conflict("it has changed")
        del self._store.bodies[meta["name"]]

    async def _change(self, operation: str) -> None:
        await self._store.turn(operation)
        if self._store.refusal is not None:
            refusal, self._store.refusal = self._store.refusal, None
            raise refusal

    def _found(self, name: str) -> Json:
        found = self._store.bodies.get(name)
        if found is None:
            raise KubeError(404, "NotFound", f"no function {name}")
        return found


class _Objects:
    def __init__(self, store: FunctionStore) -> None:
        self._store = store

    def key(self, relative: str) -> str:
        return f"root/{relative}"

    async def put_new(self, key: str, body: IO[bytes], content_type: str) -> bool:
        await self._store.turn("put")
        if key in self._store.objects:
            return False
        self._store.objects[key] = body.read()
        return True

    async def written(self, prefix: str) -> dict[str, float]:
        await self._store.turn("list objects")
        at = self._store.written
        return {key: at.get(key, NOW) for key in self._store.objects if key.startswith(prefix)}

    async def delete(self, keys: Sequence[str]) -> None:
        await self._store.turn("delete objects")
        for key in keys:  # S3 deletes them one after the other
            self._store.objects.pop(key, None)
            await asyncio.sleep(0)


class _NoThreads:
    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)
