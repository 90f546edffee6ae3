"""Connections to sessions' pods: one pool per pod, so that no connection outlives its pod.

Some time after a pod is deleted, Kubernetes gives its IP to another pod. Pools keyed by address
would then reuse a connection of the old session for the new one. These pools are keyed by the
pod's uid and IP.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from nanogrid import names
from nanogrid_gateway.router.sessions import Pod

CONNECTIONS_PER_POD = 256  # the agent's own queue is far shorter
# Below the 10 s after which the agent closes an idle connection, so that the router rarely writes
# to a connection that the agent is closing.
KEEPALIVE_SECONDS = 5.0
READ_BUFFER_BYTES = 1 << 17
# Headers that aiohttp adds by itself; the agent must see only headers that the client sent.
AUTO_HEADERS = frozenset({"User-Agent", "Accept", "Accept-Encoding", "Content-Type"})

Key = tuple[str, str]  # uid and IP


class DisconnectedError(Exception):
    """An established connection broke; it is unknown whether the agent received the request."""


def origin(ip: str) -> str:
    """The base URL of an agent; ``ip`` is IPv4 or IPv6."""
    host = f"[{ip}]" if ":" in ip else ip
    return f"http://{host}:{names.SESSION_PORT}"


async def _no_automatic_retry(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Hide broken connections from aiohttp, which retries PUT and DELETE by itself."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as e:
        raise DisconnectedError(str(e) or type(e).__name__) from e


@dataclass(slots=True, eq=False)
class _Pool:
    session: aiohttp.ClientSession
    leases: int = 0
    retired: bool = False


class Upstreams:
    """The pools; timeouts in seconds, ``idle`` between two bytes of a response."""

    def __init__(self, *, connect: float, idle: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect, sock_read=idle)
        self._pools: dict[Key, _Pool] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lease(self, pod: Pod) -> AsyncIterator[aiohttp.ClientSession]:
        """A client session whose connections all lead to this pod."""
        key = (pod.uid, pod.ip)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = _Pool(self._session())
        pool.leases += 1
        try:
            yield pool.session
        finally:
            pool.leases -= 1
            if pool.retired and not pool.leases:
                await pool.session.close()

    def retire(self, pod: Pod) -> None:
        """Use the pod's connections for no new request; running requests continue."""
        pool = self._pools.pop((pod.uid, pod.ip), None)
        if pool is not None:
            pool.retired = True
            if not pool.leases:
                self._close(pool)

    def drop(self, pod: Pod) -> None:
        """Close the connections of a deleted pod, so that no client waits for its response."""
        pool = self._pools.pop((pod.uid, pod.ip), None)
        if pool is not None:
            self._close(pool)

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            self._close(pool)
        self._pools.clear()
        await asyncio.gather(*self._closing)

    def _close(self, pool: _Pool) -> None:
        task = asyncio.create_task(pool.session.close(), name="close-pool")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS_PER_POD, keepalive_timeout=KEEPALIVE_SECONDS, use_dns_cache=False
            ),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=AUTO_HEADERS,
            read_bufsize=READ_BUFFER_BYTES,
            middlewares=(_no_automatic_retry,),
        )
