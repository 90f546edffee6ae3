"""The connection for messages: to the one server whose messages are complete.

Every node of a Redis Cluster gets all messages, but over the connections between the nodes, which
fail without an error for a subscriber. So the node with the channel's slot is used: it has the
messages as soon as the keys. Of servers with Sentinels only the master is used.
"""

from typing import Any

import redis.asyncio
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError

from nanogrid.redis_clients import RedisClient, close, connection_options, single_client
from nanogrid.redis_cluster import ClusterClient
from nanogrid.redis_url import Address, RedisServer


class Listener:
    """Opens connections for messages, one at a time.

    Args:
        server: where Redis is.
        commands: the client for commands, which knows the nodes of a Redis Cluster.
        channel: one of the channels; all of them are in one slot.
        options: of the connection. It does not retry: a reconnection must be noticed, because
            messages may be missing.
    """

    def __init__(
        self, server: RedisServer, commands: RedisClient, channel: str, **options: Any
    ) -> None:
        self._commands = commands
        self._channel = channel
        self._options = options | {"retry": Retry(NoBackoff(), 0)}
        self._server = server
        self._client: redis.asyncio.Redis | None = None
        self._node: Address | None = None  # of a Redis Cluster

    async def pubsub(self) -> PubSub:
        """A new connection to the server that has the channel now; the last one is closed.

        Raises:
            REDIS_ERRORS: no server has it.
        """
        await self.aclose()
        if isinstance(self._commands, ClusterClient):
            self._node = host, port = await _owner(self._commands, self._channel)
            found = connection_options(self._server) | {"host": host, "port": port}
            pool = redis.asyncio.ConnectionPool(**found, **self._options)
            self._client = redis.asyncio.Redis.from_pool(pool)
        else:
            self._client = single_client(self._server, **self._options)
        return self._client.pubsub()

    async def check(self) -> None:
        """Whether the channel is still where the last connection leads.

        Raises:
            REDIS_ERRORS: it is not, or no node of a Redis Cluster has it.
        """
        if isinstance(self._commands, ClusterClient):
            owner = await _owner(self._commands, self._channel)
            if owner != self._node:
                raise ConnectionError(f"the slot has moved to {owner[0]}:{owner[1]}")
            return
        pool = self._client.connection_pool if self._client else None
        if isinstance(pool, SentinelConnectionPool):
            connected = pool.master_address
            try:
                master = await pool.sentinel_manager.discover_master(pool.service_name)
            except ConnectionError:
                return  # without Sentinels the master is still the one that it was
            if connected is not None and master != connected:
                raise ConnectionError(f"the master is {master[0]}:{master[1]} now")

    async def aclose(self) -> None:
        """Close the last connection."""
        if self._client is not None:
            await close(self._client)
            self._client = None


async def _owner(commands: ClusterClient, channel: str) -> Address:
    """The node with the slot of a channel. A GET corrects what the client knows."""
    await commands.get(channel)
    return commands.owner(channel)
