"""HTTP load: a number of requests over some connections, each of which waits for its answers."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttp

SECONDS = 180  # for one request


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and the status of its answer."""

    url: str
    method: str
    body: bytes | None
    headers: dict[str, str] = field(repr=False)
    status: int = 200


def a_client() -> aiohttp.ClientSession:
    """A client with as many connections as there are requests at a time, without cookies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=SECONDS),
    )


async def send(client: aiohttp.ClientSession, request: Request) -> bytes:
    """Send one request; returns the body of the answer.

    Raises:
        RuntimeError: the answer has another status.
    """
    async with client.request(
        request.method, request.url, data=request.body, headers=request.headers
    ) as answer:
        body = await answer.read()
        if answer.status != request.status:
            raise RuntimeError(f"{request.method} {request.url}: {answer.status} {body[:300]!r}")
        return body


async def load(
    client: aiohttp.ClientSession, requests: Iterable[Request], at_once: int
) -> tuple[list[float], float]:
    """Send requests over ``at_once`` connections; seconds of each one and in total."""
    times: list[float] = []
    left = iter(requests)

    async def one_connection() -> None:
        for request in left:
            began = time.perf_counter()
            await send(client, request)
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(one_connection() for _ in range(at_once)))
    return times, time.perf_counter() - began
