"""The Kubernetes API of the gateway, in one namespace, on the asynchronous client of the SDK."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, Final, TypeVar

from nanogrid import names
from nanogrid.kube.client import KubeApi
from nanogrid.kube.conventions import JOBS, KubeError, collection
from nanogrid.kube.transport import Answered
from nanogrid.types import Json

T = TypeVar("T")

USER_AGENT: Final = "nanogrid-gateway"
CONNECTIONS: Final = 64
GRACE_SECONDS: Final = 2.0  # beyond two requests' timeouts
LOG_IDLE_SECONDS: Final = 1.0
MESSAGE_CHARS: Final = 1000  # of the API server, in an answer to a client
NOT_FOUND: Final = 404


class Kube:
    """A client for jobs, functions, reviews and logs; ``seconds`` is the timeout per request.

    Raises:
        KubeError: from every method: any other answer than those it names, or none.
    """

    def __init__(self, cluster: KubeApi, namespace: str, seconds: float) -> None:
        self.namespace = namespace
        self.cluster = cluster
        self._seconds = seconds
        self.jobs = collection(JOBS, names.PLURAL, namespace)
        self.functions = collection(JOBS, names.FUNCTION_PLURAL, namespace)

    @classmethod
    async def connect(cls, namespace: str, seconds: float, answered: Answered) -> "Kube":
        """A client with the credentials of the pod or of a kubeconfig."""
        cluster = await KubeApi.connect(
            seconds, user_agent=USER_AGENT, connections=CONNECTIONS, answered=answered
        )
        return cls(cluster, namespace, seconds)

    def within(self, namespace: str) -> "Kube":
        """The same client in another namespace; it shares the connections."""
        return Kube(self.cluster, namespace, self._seconds)

    async def get(self, path: str, name: str) -> Json | None:
        """An object, or None if there is none."""
        try:
            return await self._call(self.cluster.get(path, name))
        except KubeError as e:
            if e.code == NOT_FOUND:
                return None
            raise

    async def list(self, path: str, query: dict[str, str]) -> Json:
        """One page of a collection, as the API server gives it."""
        return await self._call(self.cluster.page(path, query))

    async def create(self, path: str, body: Json) -> Json:
        """Create an object: 409 if its name exists, 422 if the API server finds it invalid."""
        return await self._call(self.cluster.create(path, body))

    async def patch(self, path: str, name: str, body: Json) -> Json:
        """A merge patch; with metadata.resourceVersion in it, 409 if the object has changed."""
        return await self._call(self.cluster.patch(path, name, body))

    async def delete(self, path: str, body: Json) -> None:
        """Delete an object: 409 if it has changed since it was read, 404 if it is gone."""
        meta = body["metadata"]
        uid, version = meta["uid"], meta["resourceVersion"]
        await self._call(
            self.cluster.delete(path, meta["name"], uid, version=version, gone=frozenset())
        )

    async def check(self) -> None:
        """Whether the API server answers and knows our kinds."""
        for path in (self.jobs, self.functions):
            await self._call(self.cluster.probe(path))

    async def log(self, pod: str, container: str) -> AsyncGenerator[bytes | None, None]:
        """The output of a container from its beginning, live; None for each second of silence.

        Raises:
            KubeError: there is no such log (yet).
        """
        async with aclosing(self.cluster.pod_log(self.namespace, pod, container)) as source:
            while True:
                # A task, because a generator ends when its next item is cancelled.
                chunk = asyncio.create_task(_next(source))
                try:
                    while not (await asyncio.wait([chunk], timeout=LOG_IDLE_SECONDS))[0]:
                        yield None
                    data = await chunk
                finally:
                    chunk.cancel()
                    await asyncio.wait([chunk])
                if data is None:
                    return
                yield data

    async def close(self) -> None:
        """Close the connections."""
        await self.cluster.close()

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        limit = 2 * self._seconds
        try:
            async with asyncio.timeout(limit + GRACE_SECONDS):
                return await work
        except TimeoutError as e:
            raise KubeError(0, "Timeout", f"no answer within {limit:g} s") from e
        except KubeError as e:
            raise KubeError(e.code, e.reason, e.message[:MESSAGE_CHARS], e.retry_after) from e


async def _next(source: AsyncGenerator[bytes, None]) -> bytes | None:
    """The next chunk, or None at the end."""
    return await anext(source, None)
