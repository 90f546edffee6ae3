"""The Kubernetes API in a few verbs on plain dicts, asynchronous.

:mod:`nanogrid.kube.transport` sends the requests and has the retry rule.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Final
from urllib.parse import quote, urlencode

import aiohttp

from nanogrid.kube.conventions import (
    CORE,
    PAGE,
    KubeError,
    collection,
    selectors,
    watch_error,
    watch_query,
)
from nanogrid.kube.transport import CONNECTIONS, Answered, Observer, Transport, api_client
from nanogrid.types import Json

Page = list[Json]
Trim = Callable[[Json], Json]

FRESH_LISTS: Final = 3  # tries at a LIST whose pages expire while it is read
WATCH_GRACE_SECONDS: Final = 10.0  # a watch that the server should have ended by then hangs
LOG_IDLE_SECONDS: Final = 3600.0  # code may print nothing for long
GONE: Final = frozenset({404, 409})  # there is no such object, or it is another one


class KubeApi:
    """One API server; close it when done."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @classmethod
    async def connect(
        cls,
        timeout_seconds: float,
        *,
        user_agent: str,
        connections: int = CONNECTIONS,
        observe: Observer | None = None,
        answered: Answered | None = None,
    ) -> "KubeApi":
        """A client with the credentials of :func:`api_client`; nothing is sent yet."""
        transport = Transport(
            api=await api_client(connections),
            timeout_seconds=timeout_seconds,
            user_agent=user_agent,
            observe=observe,
            answered=answered,
        )
        return cls(transport)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def probe(self, path: str) -> None:
        """Whether a collection can be listed; reads one object at most."""
        await self.page(path, {"limit": "1"})

    async def page(self, path: str, query: Mapping[str, str]) -> Json:
        """One page of a collection, as the API server gives it."""
        return await self._transport.call("GET", f"{path}?{urlencode(query)}")

    async def list(
        self,
        path: str,
        *,
        labels: str = "",
        fields: str = "",
        trim: Trim | None = None,
        limit: int = PAGE,
    ) -> tuple[Page, str]:
        """All objects of a collection, and the resourceVersion of the list.

        The pages of one LIST expire with etcd's compaction (410): then it starts from the
        beginning.

        Args:
            path: the collection's.
            labels: label selector.
            fields: field selector.
            trim: applied to each object as it comes, so that the rest is freed page by page.
            limit: objects per request.
        """
        for _ in range(FRESH_LISTS - 1):
            try:
                return await self._pages(path, selectors(labels, fields), trim, limit)
            except KubeError as e:
                if e.code != 410:
                    raise
        return await self._pages(path, selectors(labels, fields), trim, limit)

    async def _pages(
        self, path: str, query: dict[str, str], trim: Trim | None, limit: int
    ) -> tuple[Page, str]:
        items: Page = []
        query["limit"] = str(limit)
        while True:
            page = await self.page(path, query)
            items += map(trim, page["items"]) if trim else page["items"]
            more = page["metadata"].get("continue")
            if not more:
                return items, page["metadata"]["resourceVersion"]
            query["continue"] = more

    async def watch(
        self,
        path: str,
        version: str,
        seconds: float,
        *,
        labels: str = "",
        fields: str = "",
        trim: Trim | None = None,
        opened: Callable[[], None] | None = None,
    ) -> AsyncIterator[Json]:
        """The events after a resourceVersion, bookmarks included, for ``seconds`` at most.

        Args:
            path: the collection's.
            version: the resourceVersion.
            seconds: then the server ends the watch.
            labels: label selector.
            fields: field selector.
            trim: applied to the object of each event but of a bookmark.
            opened: called when the server has accepted the watch.

        Raises:
            KubeError: also for an event of type ERROR, with its code (410: the version is too old).
        """
        query = watch_query(version, round(seconds), labels, fields)
        total = seconds + WATCH_GRACE_SECONDS
        limits = aiohttp.ClientTimeout(total=total, sock_connect=self._transport.timeout_seconds)
        async with self._transport.stream(f"{path}?{urlencode(query)}", limits) as content:
            if opened is not None:
                opened()
            async for line in _lines(content):
                yield _event(line, trim)

    async def pod_log(
        self, namespace: str, pod: str, container: str
    ) -> AsyncGenerator[bytes, None]:
        """What a container prints, from its beginning, live, until it ends.

        Raises:
            KubeError: there is no such log (yet).
        """
        query = urlencode({"container": container, "follow": "true"})
        path = f"{_object(collection(CORE, 'pods', namespace), pod)}/log?{query}"
        # The kubelet answers with the first bytes of the log, so silence may come before headers.
        limits = aiohttp.ClientTimeout(
            sock_connect=self._transport.timeout_seconds, sock_read=LOG_IDLE_SECONDS
        )
        async with self._transport.stream(path, limits) as content:
            async for chunk in content.iter_any():
                yield chunk

    async def get(self, path: str, name: str) -> Json:
        """One object."""
        return await self._transport.call("GET", _object(path, name))

    async def create(self, path: str, body: Json) -> Json:
        """Create an object; 409 when there is one of that name."""
        return await self._transport.call("POST", path, body)

    async def replace(self, path: str, name: str, body: Json) -> Json:
        """Replace an object; 409 when metadata.resourceVersion in the body is outdated."""
        return await self._transport.call("PUT", _object(path, name), body)

    async def patch_status(self, path: str, name: str, body: Json) -> Json:
        """Merge-patch the status; 409 when metadata.resourceVersion in the body is outdated."""
        return await self._transport.call("PATCH", f"{_object(path, name)}/status", body)

    async def patch(self, path: str, name: str, body: Json) -> Json:
        """Merge-patch an object; 409 when metadata.resourceVersion in the body is outdated."""
        return await self._transport.call("PATCH", _object(path, name), body)

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
        """Delete an object, with ``uid`` only if it still is that one.

        Args:
            path: the collection's.
            name: of the object.
            uid: of the object.
            version: its resourceVersion: only if it has not changed since.
            grace_seconds: instead of the object's own.
            gone: codes that mean that there is nothing to delete, which is a success.

        Returns:
            The object while it terminates, or None when it is gone.
        """
        try:
            given = {"uid": uid, "resourceVersion": version}
            only = {key: value for key, value in given.items() if value is not None}
            body: Json = {"preconditions": only} if only else {}
            if grace_seconds is not None:
                body["gracePeriodSeconds"] = grace_seconds
            answer = await self._transport.call("DELETE", _object(path, name), body or None)
        except KubeError as e:
            if e.code not in gone:
                raise
            return None
        return answer if "deletionTimestamp" in answer.get("metadata", {}) else None


def _object(path: str, name: str) -> str:
    return f"{path}/{quote(name, safe='')}"


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines of any length; the reader's own have an upper bound."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line


def _event(line: bytes, trim: Trim | None) -> Json:
    try:
        event: Json = json.loads(line)
    except ValueError as e:
        raise KubeError(0, "NotJson", f"a watch event is not JSON: {e}") from e
    if event["type"] == "ERROR":
        raise watch_error(event["object"])
    if trim is not None and event["type"] != "BOOKMARK":
        event["object"] = trim(event["object"])
    return event
