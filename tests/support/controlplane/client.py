"""A lean asynchronous client of the API server, for the load and its observer."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import aiohttp

from nanogrid.types import Json

CALL_SECONDS = 60.0
WATCH_LINE_BYTES = 1 << 20
PAUSE_SECONDS = 0.3


class CallError(RuntimeError):
    """The API server answered with an error; ``code`` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """One API server, with one token. An asynchronous context manager."""

    def __init__(self, url: str, token: str, tls: ssl.SSLContext) -> None:
        self._session = aiohttp.ClientSession(
            base_url=url,
            connector=aiohttp.TCPConnector(ssl=tls, limit=0),
            headers={"Authorization": f"Bearer {token}", "User-Agent": "bench"},
            read_bufsize=WATCH_LINE_BYTES,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Json | None = None) -> bytes:
        """Send one request; returns the body of the answer.

        Raises:
            CallError: the answer is an error.
        """
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        async with self._session.request(
            method,
            path,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": kind},
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
        ) as answer:
            text = await answer.read()
            if answer.status >= 300:
                raise CallError(answer.status, text.decode(errors="replace")[:500])
            return text

    async def version(self, path: str) -> str:
        """The resourceVersion of a collection."""
        found = json.loads(await self.call("GET", f"{path}?limit=1"))
        return str(found["metadata"]["resourceVersion"])

    async def count(self, path: str) -> int:
        """How many objects a collection has."""
        found = json.loads(await self.call("GET", f"{path}?limit=1"))
        left: int = found["metadata"].get("remainingItemCount") or 0
        return len(found["items"]) + left

    async def events(
        self, path: str, version: str, mark: bytes, **query: str
    ) -> AsyncGenerator[Json]:
        """The events of a watch that contain ``mark``, for ever.

        The server ends a watch whose client is slow; the next one continues with the last event.
        """
        query["watch"] = "true"
        while True:
            query["resourceVersion"] = version
            limits = aiohttp.ClientTimeout(total=None, connect=CALL_SECONDS)
            async with self._session.get(f"{path}?{urlencode(query)}", timeout=limits) as answer:
                if answer.status >= 300:
                    raise CallError(answer.status, await answer.text())
                async for line in answer.content:
                    if mark not in line:
                        continue
                    event: Json = json.loads(line)
                    if event["type"] == "ERROR":
                        raise CallError(event["object"].get("code", 0), line.decode()[:500])
                    version = event["object"]["metadata"]["resourceVersion"]
                    yield event

    async def until(
        self, what: str, path: str, true: Callable[[int], bool], seconds: float
    ) -> None:
        """Wait until a collection has the right number of objects.

        Raises:
            RuntimeError: it has not in time.
        """
        deadline = time.monotonic() + seconds
        while not true(found := await self.count(path)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: {path} has {found} objects after {seconds:g} s")
            await asyncio.sleep(PAUSE_SECONDS)
